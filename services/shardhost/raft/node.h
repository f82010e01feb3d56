#pragma once

/* The parts of a node and what its files call in each other.
 *
 *   node.c       open, close, status
 *   step.c       raft_step: one event in, one ready out; terms of messages
 *   election.c   followers, candidates, votes
 *   replicate.c  a leader's appends and their answers; a follower's side; commit
 *   reads.c      rounds of confirmation: heartbeats, read index, lease, check-quorum
 *   log, progress, persists, quorum: the data they work on
 *
 * A step only changes state and queues messages; step.c turns that into the ready. */

#include "common/base/prng.h"

#include "log.h"
#include "persists.h"
#include "progress.h"
#include "raft.h"

/* Terms and indexes from the network beyond this are garbage; below it nothing overflows. */
#define RAFT_NUMBER_LIMIT ((uint64_t)1 << 62)

/* Rounds whose start is remembered: an answer later than this many rounds is of no use. */
#define RAFT_ROUNDS_MAX   ((uint64_t)16)

/* Messages queued by the running step.  `entries` is filled in when the step ends: until then the
 * log may move. */
struct raft_outbox {
    struct raft_message *messages;
    size_t count;
    size_t capacity;
};

/* A round is one question to all voters, "do you still follow me?", carried by every append. Rounds
 * never restart in the life of a node. */
struct raft_rounds {
    uint64_t started;                     /* the newest */
    uint64_t confirmed;                   /* the newest that a majority has answered; <= started */
    bool confirmed_in_term;               /* `confirmed` was started in this term */
    uint64_t started_ms[RAFT_ROUNDS_MAX]; /* by round modulo RAFT_ROUNDS_MAX */
};

/* Reads in order of arrival: answered [0, answered), waiting for `round` [answered, asked), waiting
 * for the round after that [asked, count). */
struct raft_reads {
    struct raft_read *items;
    size_t answered; /* 0 <= answered <= asked <= count <= capacity */
    size_t asked;
    size_t count;
    size_t capacity;
    uint64_t round;
};

struct raft_node {
    struct raft_options options; /* constant after raft_open */
    size_t self;                 /* constant; position of options.id in options.voters */
    struct nk_prng prng;
    uint64_t now_ms; /* of the newest step */

    raft_term term;
    raft_id voted_for;       /* in `term`; 0: nobody */
    bool hard_state_changed; /* in this step: term or voted_for */
    uint64_t hard_state_id;  /* the persist id that carries term and voted_for */
    struct raft_log log;
    struct raft_persists persists;

    enum raft_role role;
    raft_id leader;                /* of `term`, 0: not known */
    uint64_t loyal_until_ms;       /* no votes for others before: a leader may hold a lease */
    uint64_t election_deadline_ms; /* not a leader: campaign then */
    uint32_t votes_granted;        /* (pre-)candidate: one bit a voter, by position */
    uint32_t votes_rejected;

    raft_index term_first;          /* leader: its noop, the first entry of its term */
    uint64_t heartbeat_deadline_ms; /* leader */
    uint64_t quorum_contact_ms;     /* leader: a majority followed it at this time */
    struct raft_rounds rounds;
    struct raft_reads reads;

    struct raft_outbox messages_now;
    struct raft_outbox messages_after_sync;

    struct raft_progress progress[]; /* by position; of itself only `match` counts */
};

/* --- step.c --- */

/* Queues a message from this node with its `type`, `to` and `term` set, the rest 0. */
struct raft_message *raft_send_now(struct raft_node *node, enum raft_message_type type, raft_id to,
                                   raft_term term);
struct raft_message *raft_send_after_sync(struct raft_node *node, enum raft_message_type type,
                                          raft_id to, raft_term term);

/* Whether term and voted_for are durable. */
static inline bool raft_hard_state_durable(const struct raft_node *node)
{
    return !node->hard_state_changed && node->hard_state_id <= node->persists.done;
}

/* --- election.c --- */

/* `veteran`: it has been a member before and may have promised something to a leader. */
void raft_election_open(struct raft_node *node, bool veteran);
void raft_election_tick(struct raft_node *node);

/* Becomes a follower in `term` >= node->term.  `leader` 0: not known. */
void raft_follow(struct raft_node *node, raft_term term, raft_id leader);

/* Starts a pre-vote.  Not for leaders. */
void raft_campaign(struct raft_node *node);
void raft_campaign_asked(struct raft_node *node);     /* RAFT_EVENT_CAMPAIGN */
void raft_election_persisted(struct raft_node *node); /* RAFT_EVENT_PERSISTED */
uint64_t raft_election_next_tick(const struct raft_node *node);

/* A leader of this term was heard: no campaign and no vote for another for a while. */
void raft_leader_heard(struct raft_node *node);

/* Whether this node must not help to elect anybody now, since the leader that it follows or is may
 * hold a lease. */
bool raft_loyal(const struct raft_node *node);

/* Each with a checked message whose term has been dealt with. */
void raft_receive_pre_vote(struct raft_node *node, const struct raft_message *message);
void raft_receive_pre_vote_reply(struct raft_node *node, const struct raft_message *message);
void raft_receive_vote(struct raft_node *node, const struct raft_message *message);
void raft_receive_vote_reply(struct raft_node *node, const struct raft_message *message);

/* --- replicate.c --- */

/* The vote is won and durable: lead, beginning with a noop. */
void raft_lead(struct raft_node *node);
void raft_replicate_all(struct raft_node *node);
void raft_send_heartbeat(struct raft_node *node, const struct raft_progress *peer);
void raft_log_persisted(struct raft_node *node); /* RAFT_EVENT_PERSISTED: log.persisted has moved */
void raft_release(struct raft_node *node);       /* applied entries that nobody needs */
NK_MUST_CHECK enum nk_err raft_propose(struct raft_node *node, const struct nk_bytes *payloads,
                                       size_t count, raft_index *out_first);
void raft_receive_append(struct raft_node *node, const struct raft_message *message);
void raft_receive_append_reply(struct raft_node *node, const struct raft_message *message);

/* --- reads.c --- */

void raft_rounds_lead(struct raft_node *node); /* leadership begins */
void raft_reads_fail(struct raft_node *node);  /* leadership ends */
void raft_reads_forget_answered(struct raft_node *node);
void raft_leader_tick(struct raft_node *node);
uint64_t raft_leader_next_tick(const struct raft_node *node);
void raft_round_answered(struct raft_node *node, struct raft_progress *peer, uint64_t round);
NK_MUST_CHECK enum nk_err raft_read_ask(struct raft_node *node, uint64_t id);
bool raft_lease_valid(const struct raft_node *node, uint64_t now_ms);

/* --- node.c --- */

/* Position of `id` in the voters; voter_count when it is none. */
size_t raft_position(const struct raft_node *node, raft_id id);
bool raft_node_check(const struct raft_node *node);
