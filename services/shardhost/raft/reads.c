/* Rounds of confirmation: what a leader may believe about still being the leader.
 *
 * Every append carries the number of the newest round, every answer gives it back.  When a majority
 * has answered round R (the leader itself always has), it followed this leader at some time after R
 * was started.  One mechanism serves four:
 *
 *   heartbeats    a round each heartbeat_interval_ms
 *   read index    a read arriving now is answered by any round started from now on; reads that
 *   (6.4)         arrive while one is under way share the next, so there is at most one for reads
 *   lease (6.4.1) counts from the start of the newest confirmed round
 *   check-quorum  no confirmed round younger than election_timeout_max_ms: step down (6.2)
 *
 * The index of a read is the commit index at its arrival, but at least this term's noop: what
 * earlier leaders committed lies below the noop even if we have not learned yet that it is
 * committed (6.4, step 1, without the waiting). */

#include "node.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/units.h"

#include "quorum.h"

#define RAFT_READS_IDLE ((size_t)16)

static void round_start(struct raft_node *node);
static void rounds_update(struct raft_node *node);
static void heartbeat(struct raft_node *node);
static void reads_advance(struct raft_node *node);

void raft_rounds_lead(struct raft_node *node)
{
    node->rounds.confirmed = node->rounds.started;
    node->rounds.confirmed_in_term = false;
    node->quorum_contact_ms = node->now_ms; /* the majority that voted */
    round_start(node);
}

void raft_leader_tick(struct raft_node *node)
{
    if (node->options.voter_count == 1) {
        return;
    }
    if (node->now_ms >= node->quorum_contact_ms + node->options.election_timeout_max_ms) {
        raft_follow(node, node->term, 0);
    } else if (node->now_ms >= node->heartbeat_deadline_ms) {
        heartbeat(node);
    }
}

uint64_t raft_leader_next_tick(const struct raft_node *node)
{
    if (node->options.voter_count == 1) {
        return UINT64_MAX;
    }
    return nk_min_u64(node->heartbeat_deadline_ms,
                      node->quorum_contact_ms + node->options.election_timeout_max_ms);
}

void raft_round_answered(struct raft_node *node, struct raft_progress *peer, uint64_t round)
{
    if (round > node->rounds.started || round <= peer->round_acked) {
        return;
    }
    peer->round_acked = round;
    rounds_update(node);
    reads_advance(node);
}

bool raft_lease_valid(const struct raft_node *node, uint64_t now_ms)
{
    if (node->role != RAFT_ROLE_LEADER || node->log.commit < node->term_first) {
        return false;
    }
    if (node->options.voter_count == 1) {
        return true; /* nobody else can ever lead */
    }
    return node->rounds.confirmed_in_term &&
           now_ms < node->quorum_contact_ms + node->options.lease_ms;
}

enum nk_err raft_read_ask(struct raft_node *node, uint64_t id)
{
    struct raft_reads *reads = &node->reads;
    if (node->role != RAFT_ROLE_LEADER) {
        return NK_NOT_LEADER;
    }
    if (reads->count >= RAFT_READS_MAX) {
        return NK_BUSY;
    }
    if (reads->count == reads->capacity) {
        reads->capacity = nk_max_size(2 * reads->capacity, RAFT_READS_IDLE);
        reads->items = nk_realloc(reads->items, reads->capacity * sizeof *reads->items);
    }
    reads->items[reads->count] = (struct raft_read){
        .id = id,
        .index = nk_max_u64(node->log.commit, node->term_first),
    };
    reads->count++;
    reads_advance(node);
    return NK_OK;
}

void raft_reads_fail(struct raft_node *node)
{
    for (size_t i = node->reads.answered; i < node->reads.count; i++) {
        node->reads.items[i].index = 0;
    }
    node->reads.answered = node->reads.count;
    node->reads.asked = node->reads.count;
}

void raft_reads_forget_answered(struct raft_node *node)
{
    struct raft_reads *reads = &node->reads;
    if (reads->answered == 0) {
        return;
    }
    reads->count -= reads->answered;
    reads->asked -= reads->answered;
    memmove(reads->items, reads->items + reads->answered, reads->count * sizeof *reads->items);
    reads->answered = 0;
    if (reads->count == 0 && reads->capacity > RAFT_READS_IDLE) {
        nk_free(reads->items);
        reads->items = NULL;
        reads->capacity = 0;
    }
}

/* Answers what the newest confirmed round answers, and starts a round for those that wait for one.
 * On one voter a round is confirmed as it starts, hence the loop; it ends since `count` is fixed.
 */
static void reads_advance(struct raft_node *node)
{
    struct raft_reads *reads = &node->reads;
    for (;;) {
        if (reads->asked > reads->answered) {
            if (node->rounds.confirmed < reads->round) {
                return;
            }
            while (reads->answered < reads->asked) {
                reads->items[reads->answered].confirmed = true;
                reads->answered++;
            }
        }
        if (reads->asked == reads->count) {
            return;
        }
        heartbeat(node);
        reads->asked = reads->count;
        reads->round = node->rounds.started;
    }
}

static void heartbeat(struct raft_node *node)
{
    round_start(node);
    for (size_t i = 0; i < node->options.voter_count; i++) {
        if (i != node->self) {
            raft_send_heartbeat(node, &node->progress[i]);
        }
    }
}

static void round_start(struct raft_node *node)
{
    node->rounds.started++;
    node->rounds.started_ms[node->rounds.started % RAFT_ROUNDS_MAX] = node->now_ms;
    node->heartbeat_deadline_ms = node->now_ms + node->options.heartbeat_interval_ms;
    rounds_update(node);
}

static void rounds_update(struct raft_node *node)
{
    NK_ASSERT(node->role == RAFT_ROLE_LEADER);
    struct raft_rounds *rounds = &node->rounds;
    uint64_t answered[RAFT_VOTERS_MAX];
    for (size_t i = 0; i < node->options.voter_count; i++) {
        answered[i] = i == node->self ? rounds->started : node->progress[i].round_acked;
    }
    uint64_t majority = raft_quorum_value(answered, node->options.voter_count);
    if (majority <= rounds->confirmed) {
        return;
    }
    rounds->confirmed = majority;
    rounds->confirmed_in_term = true;
    if (rounds->started - majority < RAFT_ROUNDS_MAX) {
        node->quorum_contact_ms = rounds->started_ms[majority % RAFT_ROUNDS_MAX];
    }
}
