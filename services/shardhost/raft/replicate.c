/* The log from leader to followers, and what is committed.
 *
 * Leader: entries travel to the others while its own disk writes them (thesis 10.2.1); it counts
 * itself like any other voter, by what is durable.  An entry is committed by counting only if it is
 * of the leader's own term; earlier ones with it (thesis 3.6.2).  The commit index travels with the
 * next append or heartbeat.
 *
 * Follower: an append whose previous entry matches is taken, after cutting off what conflicts
 * (3.5). One that does not match is refused with a hint, the last of our entries that could match,
 * and its term, so that one round trip skips a whole term on either side (3.5 end; the search runs
 * on both sides as in etcd).
 *
 * An acknowledgement promises that the entries are durable.  One for new entries leaves after the
 * sync.  One for nothing new, as for heartbeats, promises only what is durable already and leaves
 * at once, so that rounds never wait for a disk. */

#include "node.h"

#include "common/base/assert.h"
#include "common/base/units.h"

#include "quorum.h"

static void replicate(struct raft_node *node, struct raft_progress *peer);
static void append_send(struct raft_node *node, const struct raft_progress *peer,
                        size_t entry_count);
static void commit_count(struct raft_node *node);
static bool meets(const struct raft_node *node, const struct raft_message *message);
static bool contradicts_commit(const struct raft_node *node, const struct raft_message *message);
static size_t known_count(const struct raft_node *node, const struct raft_message *message);
static size_t room_count(const struct raft_node *node, const struct raft_entry *entries,
                         size_t count);
static void refuse(struct raft_node *node, const struct raft_message *message);
static struct raft_message *append_reply(struct raft_node *node, const struct raft_message *message,
                                         bool after_sync);

void raft_lead(struct raft_node *node)
{
    NK_ASSERT(node->role == RAFT_ROLE_CANDIDATE);
    NK_ASSERT(raft_hard_state_durable(node));
    node->role = RAFT_ROLE_LEADER;
    node->leader = node->options.id;
    node->term_first = raft_log_last(&node->log) + 1;
    for (size_t i = 0; i < node->options.voter_count; i++) {
        raft_progress_reset(&node->progress[i], node->term_first);
    }
    node->progress[node->self].match = node->log.persisted;
    const struct nk_bytes empty = {NULL, 0};
    raft_log_append_payloads(&node->log, node->term, RAFT_ENTRY_NOOP, &empty, 1);
    raft_rounds_lead(node);
    raft_replicate_all(node);
}

enum nk_err raft_propose(struct raft_node *node, const struct nk_bytes *payloads, size_t count,
                         raft_index *out_first)
{
    NK_ASSERT(count > 0);
    if (node->role != RAFT_ROLE_LEADER) {
        return NK_NOT_LEADER;
    }
    size_t bytes = count * RAFT_ENTRY_BYTES;
    for (size_t i = 0; i < count; i++) {
        bytes += payloads[i].size;
    }
    /* A batch that is too large by itself may pass when nothing waits, or it never could. */
    size_t unapplied = node->log.unapplied_bytes;
    if (unapplied > 0 && unapplied + bytes > node->options.unapplied_bytes_max) {
        return NK_BUSY;
    }
    *out_first = raft_log_last(&node->log) + 1;
    raft_log_append_payloads(&node->log, node->term, RAFT_ENTRY_COMMAND, payloads, count);
    raft_replicate_all(node);
    return NK_OK;
}

void raft_replicate_all(struct raft_node *node)
{
    for (size_t i = 0; i < node->options.voter_count; i++) {
        if (i != node->self) {
            replicate(node, &node->progress[i]);
        }
    }
}

void raft_send_heartbeat(struct raft_node *node, const struct raft_progress *peer)
{
    append_send(node, peer, 0);
}

void raft_log_persisted(struct raft_node *node)
{
    if (node->role == RAFT_ROLE_LEADER) {
        node->progress[node->self].match = node->log.persisted;
        commit_count(node);
    }
}

void raft_release(struct raft_node *node)
{
    if (node->options.voter_count == 1) {
        raft_log_release(&node->log, node->log.applied, 0);
        return;
    }
    raft_index needless = 0;
    if (node->role == RAFT_ROLE_LEADER) {
        needless = node->log.applied;
        for (size_t i = 0; i < node->options.voter_count; i++) {
            needless = nk_min_u64(needless, node->progress[i].match);
        }
    }
    raft_log_release(&node->log, needless, node->options.retained_bytes_max);
}

void raft_receive_append_reply(struct raft_node *node, const struct raft_message *message)
{
    NK_ASSERT(message->term == node->term);
    if (node->role != RAFT_ROLE_LEADER) {
        return;
    }
    struct raft_progress *peer = &node->progress[raft_position(node, message->from)];
    raft_round_answered(node, peer, message->read_round);
    if (message->reject) {
        raft_progress_rejected(
            peer, raft_log_last_not_after(&node->log, message->index, message->index_term));
    } else if (message->index <= raft_log_last(&node->log)) {
        if (raft_progress_acked(peer, message->index, message->read_round)) {
            commit_count(node);
        }
    }
    replicate(node, peer);
}

void raft_receive_append(struct raft_node *node, const struct raft_message *message)
{
    NK_ASSERT(message->term == node->term);
    bool second_leader = node->leader != 0 && node->leader != message->from;
    if (second_leader || contradicts_commit(node, message)) {
        return; /* not possible among honest members */
    }
    raft_follow(node, node->term, message->from);
    raft_leader_heard(node);
    struct raft_log *log = &node->log;
    if (!meets(node, message)) {
        refuse(node, message);
        return;
    }
    size_t known = known_count(node, message);
    size_t fresh_count = message->entry_count - known;
    size_t taken = 0;
    if (fresh_count > 0) {
        const struct raft_entry *fresh = &message->entries[known];
        if (fresh->index <= raft_log_last(log)) {
            raft_log_truncate(log, fresh->index);
            raft_persists_truncate(&node->persists, fresh->index);
        }
        taken = room_count(node, fresh, fresh_count);
        raft_log_append_entries(log, fresh, taken);
    }
    raft_index match = nk_max_u64(message->index + known + taken, log->commit);
    log->commit = nk_max_u64(log->commit, nk_min_u64(message->commit, match));
    if (taken > 0) {
        append_reply(node, message, true)->index = match;
    } else if (fresh_count == 0) {
        append_reply(node, message, false)->index = nk_min_u64(match, log->persisted);
    }
    /* Else there was no room for any: silence, as if the append were lost.  The leader tries again
     * when a heartbeat has been answered; by then the host may have applied something. */
}

/* Sends what there is and the window allows. */
static void replicate(struct raft_node *node, struct raft_progress *peer)
{
    while (peer->next > node->log.base && peer->next <= raft_log_last(&node->log) &&
           raft_progress_may_send(peer)) {
        size_t count = raft_log_batch(&node->log, peer->next, node->options.entries_per_append_max,
                                      node->options.bytes_per_append_max);
        append_send(node, peer, count);
        raft_progress_sent(peer, peer->next + count - 1, node->rounds.started);
    }
}

static void append_send(struct raft_node *node, const struct raft_progress *peer,
                        size_t entry_count)
{
    /* A voter that needs entries which are no longer in memory gets heartbeats at the oldest place
     * that we can name; it refuses them, but knows its leader. */
    raft_index previous = nk_max_u64(peer->next - 1, node->log.base);
    struct raft_message *append = raft_send_now(node, RAFT_MESSAGE_APPEND, peer->id, node->term);
    append->index = previous;
    append->index_term = raft_log_term(&node->log, previous);
    append->commit = node->log.commit;
    append->read_round = node->rounds.started;
    append->entry_count = entry_count;
}

static void commit_count(struct raft_node *node)
{
    raft_index durable[RAFT_VOTERS_MAX];
    for (size_t i = 0; i < node->options.voter_count; i++) {
        durable[i] = node->progress[i].match;
    }
    raft_index majority = raft_quorum_value(durable, node->options.voter_count);
    if (majority > node->log.commit && raft_log_term(&node->log, majority) == node->term) {
        node->log.commit = majority;
    }
}

/* Whether the entry before the message's first is in our log.  What is committed is in every later
 * leader's log too, so the message meets ours there without looking. */
static bool meets(const struct raft_node *node, const struct raft_message *message)
{
    if (message->index <= node->log.commit) {
        return true;
    }
    return message->index <= raft_log_last(&node->log) &&
           raft_log_term(&node->log, message->index) == message->index_term;
}

/* Whether the message claims another term for a committed entry. */
static bool contradicts_commit(const struct raft_node *node, const struct raft_message *message)
{
    const struct raft_log *log = &node->log;
    if (message->index >= log->base && message->index <= log->commit &&
        raft_log_term(log, message->index) != message->index_term) {
        return true;
    }
    for (size_t i = 0; i < message->entry_count; i++) {
        raft_index index = message->entries[i].index;
        if (index > log->commit) {
            break;
        }
        if (index >= log->base && raft_log_term(log, index) != message->entries[i].term) {
            return true;
        }
    }
    return false;
}

/* How many of the message's entries, from the first on, our log has already. */
static size_t known_count(const struct raft_node *node, const struct raft_message *message)
{
    const struct raft_log *log = &node->log;
    size_t count = 0;
    while (count < message->entry_count) {
        const struct raft_entry *entry = &message->entries[count];
        if (entry->index > raft_log_last(log)) {
            break;
        }
        if (entry->index > log->commit && raft_log_term(log, entry->index) != entry->term) {
            break;
        }
        count++;
    }
    return count;
}

/* How many entries to take.  Beyond twice what a leader accepts from its clients, a follower waits
 * for its host to apply what is committed.  When nothing of that kind is left it must take more: a
 * commit may need it, and what a leader has not committed is bounded by the leader. */
static size_t room_count(const struct raft_node *node, const struct raft_entry *entries,
                         size_t count)
{
    if (node->log.applied == node->log.commit) {
        return count;
    }
    size_t limit = 2 * node->options.unapplied_bytes_max;
    size_t bytes = node->log.unapplied_bytes;
    size_t taken = 0;
    while (taken < count) {
        bytes += raft_entry_bytes(&entries[taken]);
        if (bytes > limit) {
            break;
        }
        taken++;
    }
    return taken;
}

static void refuse(struct raft_node *node, const struct raft_message *message)
{
    const struct raft_log *log = &node->log;
    raft_index hint = raft_log_last_not_after(log, message->index, message->index_term);
    hint = nk_max_u64(hint, log->commit); /* there the logs must meet */
    struct raft_message *reply = append_reply(node, message, false);
    reply->reject = true;
    reply->index = hint;
    reply->index_term = raft_log_term(log, hint);
}

/* An answer confirms the leader's round, and a term that is not durable yet could be forgotten and
 * the promise in it broken; so such an answer waits as well. */
static struct raft_message *append_reply(struct raft_node *node, const struct raft_message *message,
                                         bool after_sync)
{
    struct raft_message *reply;
    if (after_sync || !raft_hard_state_durable(node)) {
        reply = raft_send_after_sync(node, RAFT_MESSAGE_APPEND_REPLY, message->from, node->term);
    } else {
        reply = raft_send_now(node, RAFT_MESSAGE_APPEND_REPLY, message->from, node->term);
    }
    reply->read_round = message->read_round;
    return reply;
}
