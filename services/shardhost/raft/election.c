/* Who leads: followers, pre-candidates, candidates.
 *
 *     follower --timeout--> pre-candidate --majority would vote--> candidate
 *     candidate --own vote durable, majority of votes--> leader (raft_lead)
 *     any --higher term, or a leader of this term--> follower
 *
 * Pre-vote (thesis 9.6): a node asks first whether an election could be won; terms do not change,
 * so a node that was cut off does not disturb the others when it returns.
 *
 * Loyalty (thesis 4.2.3, 6.4.1): a node that heard from a leader less than election_timeout_min_ms
 * ago helps nobody into office, not even itself.  A leader's lease is shorter than that, counts
 * from when it asked, and needs a majority, so while a lease holds there is no majority for
 * another.  A restarted node has forgotten whom it heard, so it is loyal to nobody-knows-whom for
 * as long.
 *
 * A vote counts only when durable, the candidate's own like any other; requests for votes leave
 * only after that.  Otherwise a candidate that crashes could campaign twice in one term with two
 * different logs, and the votes given to the first would elect the second. */

#include "node.h"

#include "common/base/assert.h"

#include "quorum.h"

static void pre_vote_count(struct raft_node *node);
static void vote_count(struct raft_node *node);
static void become_candidate(struct raft_node *node);
static void give_up(struct raft_node *node);
static void timer_reset(struct raft_node *node);
static bool up_to_date(const struct raft_node *node, const struct raft_message *message);
static bool answer_count(struct raft_node *node, const struct raft_message *message);

static uint32_t bit(size_t position)
{
    return (uint32_t)1 << position;
}

void raft_election_open(struct raft_node *node, bool veteran)
{
    if (veteran && node->options.voter_count > 1) {
        node->loyal_until_ms = node->now_ms + node->options.election_timeout_min_ms;
    }
    timer_reset(node);
}

void raft_election_tick(struct raft_node *node)
{
    if (node->now_ms >= raft_election_next_tick(node)) {
        raft_campaign(node);
    }
}

uint64_t raft_election_next_tick(const struct raft_node *node)
{
    if (node->role == RAFT_ROLE_CANDIDATE && node->options.voter_count == 1) {
        return UINT64_MAX; /* it waits for its own disk only */
    }
    return node->election_deadline_ms;
}

void raft_follow(struct raft_node *node, raft_term term, raft_id leader)
{
    NK_ASSERT(term >= node->term);
    if (term > node->term) {
        node->term = term;
        node->voted_for = 0;
        node->hard_state_changed = true;
    }
    if (node->role == RAFT_ROLE_LEADER) {
        raft_reads_fail(node);
        timer_reset(node);
    }
    node->role = RAFT_ROLE_FOLLOWER;
    node->leader = leader;
}

void raft_leader_heard(struct raft_node *node)
{
    node->loyal_until_ms = node->now_ms + node->options.election_timeout_min_ms;
    timer_reset(node);
}

bool raft_loyal(const struct raft_node *node)
{
    return node->role == RAFT_ROLE_LEADER || node->now_ms < node->loyal_until_ms;
}

void raft_campaign_asked(struct raft_node *node)
{
    if (node->role == RAFT_ROLE_LEADER || node->role == RAFT_ROLE_CANDIDATE) {
        return;
    }
    if (raft_loyal(node)) {
        node->election_deadline_ms = node->loyal_until_ms;
    } else {
        raft_campaign(node);
    }
}

void raft_campaign(struct raft_node *node)
{
    NK_ASSERT(!raft_loyal(node));
    timer_reset(node);
    node->leader = 0;
    if (node->term + 1 >= RAFT_NUMBER_LIMIT) {
        return; /* a hostile member used up the terms */
    }
    node->role = RAFT_ROLE_PRE_CANDIDATE;
    node->votes_granted = bit(node->self);
    node->votes_rejected = 0;
    for (size_t i = 0; i < node->options.voter_count; i++) {
        if (i != node->self) {
            struct raft_message *ask =
                raft_send_now(node, RAFT_MESSAGE_PRE_VOTE, node->options.voters[i], node->term + 1);
            ask->index = raft_log_last(&node->log);
            ask->index_term = raft_log_last_term(&node->log);
        }
    }
    pre_vote_count(node);
}

void raft_receive_pre_vote(struct raft_node *node, const struct raft_message *message)
{
    bool grant = !raft_loyal(node) && message->term > node->term && up_to_date(node, message);
    /* A grant names the term that was asked for, which is not entered; a refusal our own, so that a
     * node left behind learns it. */
    struct raft_message *reply = raft_send_now(node, RAFT_MESSAGE_PRE_VOTE_REPLY, message->from,
                                               grant ? message->term : node->term);
    reply->reject = !grant;
}

void raft_receive_pre_vote_reply(struct raft_node *node, const struct raft_message *message)
{
    bool current = message->reject ? message->term == node->term : message->term == node->term + 1;
    if (node->role == RAFT_ROLE_PRE_CANDIDATE && current && answer_count(node, message)) {
        pre_vote_count(node);
    }
}

void raft_receive_vote(struct raft_node *node, const struct raft_message *message)
{
    NK_ASSERT(message->term == node->term);
    NK_ASSERT(!raft_loyal(node));
    bool free_to_vote =
        node->voted_for == message->from || (node->voted_for == 0 && node->leader == 0);
    if (!free_to_vote || !up_to_date(node, message)) {
        raft_send_now(node, RAFT_MESSAGE_VOTE_REPLY, message->from, node->term)->reject = true;
        return;
    }
    if (node->voted_for == 0) {
        node->voted_for = message->from;
        node->hard_state_changed = true;
        timer_reset(node);
    }
    (void)raft_send_after_sync(node, RAFT_MESSAGE_VOTE_REPLY, message->from, node->term);
}

void raft_receive_vote_reply(struct raft_node *node, const struct raft_message *message)
{
    NK_ASSERT(message->term == node->term);
    if (node->role == RAFT_ROLE_CANDIDATE && answer_count(node, message)) {
        vote_count(node);
    }
}

void raft_election_persisted(struct raft_node *node)
{
    if (node->role == RAFT_ROLE_CANDIDATE && raft_hard_state_durable(node)) {
        node->votes_granted |= bit(node->self);
        vote_count(node);
    }
}

/* Notes an answer to the running (pre-)vote; false: this voter has answered before. */
static bool answer_count(struct raft_node *node, const struct raft_message *message)
{
    uint32_t voter = bit(raft_position(node, message->from));
    if (((node->votes_granted | node->votes_rejected) & voter) != 0) {
        return false;
    }
    if (message->reject) {
        node->votes_rejected |= voter;
    } else {
        node->votes_granted |= voter;
    }
    return true;
}

static void pre_vote_count(struct raft_node *node)
{
    if (raft_quorum_reached(node->votes_granted, node->options.voter_count)) {
        become_candidate(node);
    } else if (raft_quorum_reached(node->votes_rejected, node->options.voter_count)) {
        give_up(node);
    }
}

static void vote_count(struct raft_node *node)
{
    bool own_vote_durable = (node->votes_granted & bit(node->self)) != 0;
    if (own_vote_durable && raft_quorum_reached(node->votes_granted, node->options.voter_count)) {
        raft_lead(node);
    } else if (raft_quorum_reached(node->votes_rejected, node->options.voter_count)) {
        give_up(node);
    }
}

static void become_candidate(struct raft_node *node)
{
    node->role = RAFT_ROLE_CANDIDATE;
    node->term++;
    node->voted_for = node->options.id;
    node->hard_state_changed = true;
    node->votes_granted = 0; /* its own is added when durable */
    node->votes_rejected = 0;
    timer_reset(node);
    for (size_t i = 0; i < node->options.voter_count; i++) {
        if (i != node->self) {
            struct raft_message *ask =
                raft_send_after_sync(node, RAFT_MESSAGE_VOTE, node->options.voters[i], node->term);
            ask->index = raft_log_last(&node->log);
            ask->index_term = raft_log_last_term(&node->log);
        }
    }
}

/* A majority refused: wait for the timeout as a follower, which may vote for a better one. */
static void give_up(struct raft_node *node)
{
    raft_follow(node, node->term, 0);
}

/* Random, so that two candidates rarely split the votes twice (thesis 3.4). */
static void timer_reset(struct raft_node *node)
{
    node->election_deadline_ms =
        node->now_ms + nk_prng_between(&node->prng, node->options.election_timeout_min_ms,
                                       node->options.election_timeout_max_ms);
}

/* Thesis 3.6.1: the sender's log ends in a later term, or in the same and is at least as long. */
static bool up_to_date(const struct raft_node *node, const struct raft_message *message)
{
    raft_term last_term = raft_log_last_term(&node->log);
    if (message->index_term != last_term) {
        return message->index_term > last_term;
    }
    return message->index >= raft_log_last(&node->log);
}
