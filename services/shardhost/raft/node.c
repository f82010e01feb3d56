/* A node's life from open to close, and what others may see of it.  Map of the files: node.h. */

#include "node.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/plant.h"

static void check_options(const struct raft_options *options);

void raft_open(const struct raft_options *options, const struct raft_restore *restore,
               uint64_t now_ms, struct raft_node **out_node)
{
    check_options(options);
    NK_ASSERT(restore->applied_term <= restore->term);
    struct raft_node *node =
        nk_alloc_zero(1, sizeof *node + options->voter_count * sizeof node->progress[0]);
    node->options = *options;
    node->self = raft_position(node, options->id);
    NK_ASSERT(node->self < options->voter_count);
    for (size_t i = 0; i < options->voter_count; i++) {
        node->progress[i].id = options->voters[i];
    }
    nk_prng_init(&node->prng, options->seed + options->id);
    node->now_ms = now_ms;
    node->term = restore->term;
    node->voted_for = restore->voted_for;
    raft_log_init(&node->log, restore->applied, restore->applied_term);
    raft_log_append_entries(&node->log, restore->entries, restore->entry_count);
    node->log.handed = raft_log_last(&node->log);
    node->log.persisted = raft_log_last(&node->log);
    NK_ASSERT(raft_log_last_term(&node->log) <= node->term);
    if (NK_PLANTED(NK_PLANT_VERSION_REUSED)) {
        /* The next campaign enters the term of the last entry again: what was appended in that term
         * and lost with the unsynced tail gets its (term, index) a second time. */
        node->term = raft_log_last_term(&node->log) > 0 ? raft_log_last_term(&node->log) - 1 : 0;
        node->voted_for = 0;
    }
    raft_election_open(node, restore->term > 0);
    NK_INVARIANT(raft_node_check(node));
    *out_node = node;
}

void raft_close(struct raft_node **node)
{
    if (node == NULL || *node == NULL) {
        return;
    }
    raft_log_deinit(&(*node)->log);
    nk_free((*node)->reads.items);
    nk_free((*node)->messages_now.messages);
    nk_free((*node)->messages_after_sync.messages);
    nk_free(*node);
    *node = NULL;
}

void raft_get_status(const struct raft_node *node, uint64_t now_ms, struct raft_status *out_status)
{
    *out_status = (struct raft_status){
        .role = node->role,
        .term = node->term,
        .leader = node->leader,
        .last = raft_log_last(&node->log),
        .persisted = node->log.persisted,
        .commit = node->log.commit,
        .applied = node->log.applied,
        .lease_valid = raft_lease_valid(node, now_ms),
        .unapplied_bytes = node->log.unapplied_bytes,
    };
}

size_t raft_position(const struct raft_node *node, raft_id id)
{
    size_t position = 0;
    while (position < node->options.voter_count && node->options.voters[position] != id) {
        position++;
    }
    return position;
}

bool raft_node_check(const struct raft_node *node)
{
    if (!raft_log_check(&node->log)) {
        return false;
    }
    if (raft_log_last_term(&node->log) > node->term && !NK_PLANTED(NK_PLANT_VERSION_REUSED)) {
        return false;
    }
    if ((node->role == RAFT_ROLE_LEADER) != (node->leader == node->options.id)) {
        return false;
    }
    if (node->role != RAFT_ROLE_LEADER) {
        return node->reads.answered == node->reads.count;
    }
    for (size_t i = 0; i < node->options.voter_count; i++) {
        const struct raft_progress *peer = &node->progress[i];
        if (i != node->self &&
            (peer->match >= peer->next || peer->next > raft_log_last(&node->log) + 1)) {
            return false;
        }
    }
    return node->progress[node->self].match == node->log.persisted;
}

static void check_options(const struct raft_options *options)
{
    NK_ASSERT(options->id != 0);
    NK_ASSERT(options->voter_count >= 1);
    NK_ASSERT(options->voter_count <= RAFT_VOTERS_MAX);
    for (size_t i = 0; i < options->voter_count; i++) {
        NK_ASSERT(options->voters[i] != 0);
        for (size_t j = 0; j < i; j++) {
            NK_ASSERT(options->voters[j] != options->voters[i]);
        }
    }
    NK_ASSERT(options->heartbeat_interval_ms > 0);
    NK_ASSERT(options->heartbeat_interval_ms < options->election_timeout_min_ms);
    NK_ASSERT(options->election_timeout_min_ms < options->election_timeout_max_ms);
    NK_ASSERT(options->lease_ms < options->election_timeout_min_ms);
    NK_ASSERT(options->entries_per_append_max > 0);
    NK_ASSERT(options->unapplied_bytes_max > 0);
}
