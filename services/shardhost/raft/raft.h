#pragma once

/* Raft as a function: (state, event, now) -> (state', ready).
 *
 * No I/O, clock, thread, global or hidden randomness: the host passes `now_ms` and a seed, so the
 * same events give the same readies on every machine.  One node is one member of one group.
 *
 * Source: Ongaro, "Consensus: Bridging Theory and Practice", 2014 ("thesis" below). */

#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/base/text.h"

typedef uint64_t raft_index; /* 1-based; 0 means "none" */
typedef uint64_t raft_term;  /* 0 means "before any term" */
typedef uint64_t raft_id;    /* a member; unique for all time, never reused; 0 means "nobody" */

#define RAFT_VOTERS_MAX ((size_t)7)
#define RAFT_READS_MAX  ((size_t)1024) /* reads that wait for confirmation */

enum raft_role {
    RAFT_ROLE_FOLLOWER,
    RAFT_ROLE_PRE_CANDIDATE,
    RAFT_ROLE_CANDIDATE,
    RAFT_ROLE_LEADER,
};

enum raft_entry_kind {
    RAFT_ENTRY_NOOP = 1,    /* a leader's first entry of its term (thesis 6.4); empty payload */
    RAFT_ENTRY_COMMAND = 2, /* for the state machine */
};

struct raft_entry {
    raft_index index;
    raft_term term;
    enum raft_entry_kind kind;
    struct nk_bytes payload;
};

#define RAFT_ENTRY_BYTES (sizeof(struct raft_entry)) /* what an entry costs besides its payload */

enum raft_message_type {
    RAFT_MESSAGE_PRE_VOTE = 1, /* thesis 9.6; does not raise anybody's term */
    RAFT_MESSAGE_PRE_VOTE_REPLY = 2,
    RAFT_MESSAGE_VOTE = 3,
    RAFT_MESSAGE_VOTE_REPLY = 4,
    RAFT_MESSAGE_APPEND = 5, /* also the heartbeat */
    RAFT_MESSAGE_APPEND_REPLY = 6,
};

/* Fields that a type does not use are 0. */
struct raft_message {
    enum raft_message_type type;
    raft_id from;
    raft_id to;
    raft_term term;
    bool reject;          /* replies */
    raft_index index;     /* vote: last entry; append: entry before; append reply: match, or hint */
    raft_term index_term; /* term of `index`; on a rejected append: the conflicting term */
    raft_index commit;    /* append */
    uint64_t read_round;  /* append and its reply: the leader's round of confirmations */
    const struct raft_entry *entries; /* append; index + 1 onward */
    size_t entry_count;
};

struct raft_options {
    raft_id id;
    raft_id voters[RAFT_VOTERS_MAX]; /* includes id */
    size_t voter_count;              /* >= 1 */
    uint64_t seed;                   /* election jitter; same seed, same run */
    uint32_t election_timeout_min_ms;
    uint32_t election_timeout_max_ms; /* > min */
    uint32_t heartbeat_interval_ms;   /* < election_timeout_min_ms */
    uint32_t lease_ms;                /* < election_timeout_min_ms: checked by the configuration */
    uint32_t entries_per_append_max;
    uint32_t bytes_per_append_max;
    size_t unapplied_bytes_max; /* proposals beyond it are NK_BUSY */
    size_t retained_bytes_max;  /* applied entries kept for slower members; one voter keeps none */
};

/* What a node knew before its process ended. */
struct raft_restore {
    raft_term term;
    raft_id voted_for;
    raft_index applied;     /* state machine's position: entries up to here are in it for good */
    raft_term applied_term; /* their last term */
    const struct raft_entry *entries; /* applied + 1 onward, contiguous; copied */
    size_t entry_count;
};

enum raft_event_type {
    RAFT_EVENT_TICK,      /* time has passed; nothing else */
    RAFT_EVENT_MESSAGE,   /* from another member; never trusted */
    RAFT_EVENT_PROPOSE,   /* commands from clients; leader only */
    RAFT_EVENT_PERSISTED, /* the host made everything up to ready.persist_id durable */
    RAFT_EVENT_APPLIED,   /* the state machine has taken entries up to `index` */
    RAFT_EVENT_READ,      /* ask for a linearizable read point (thesis 6.4); leader only */
    RAFT_EVENT_CAMPAIGN,  /* start an election without waiting for the timeout: now, or as soon as
                           * the lease of the last leader heard of must have ended */
};

struct raft_event {
    enum raft_event_type type;
    union {
        const struct raft_message *message;
        struct {
            const struct nk_bytes *payloads; /* copied */
            size_t count;
        } propose;
        uint64_t persist_id;
        raft_index applied;
        uint64_t read_id; /* chosen by the host; comes back in ready.reads */
    } u;
};

struct raft_read {
    uint64_t id;
    bool confirmed;   /* false: leadership was lost; ask whoever leads now */
    raft_index index; /* confirmed: serve once the state machine has applied this entry */
};

/* What the host owes after a step, in this order:
 *   1. messages_now may leave at once (a leader's appends and heartbeats: they promise nothing
 *      about this disk);
 *   2. if persist_id != 0: make term and voted_for, then entries, durable.  Entries start at the
 *      first index that is new or overwritten: what the disk has from there on is void;
 *   3. messages_after_sync leave only after 2 (votes, acks);
 *   4. committed: apply in order, then report RAFT_EVENT_APPLIED;
 *   5. reads: answer each as it says.
 * After 2 report RAFT_EVENT_PERSISTED with this persist_id; ids grow, and one report covers all
 * smaller ones.  All pointers are borrowed until the next raft_step, except that payloads in
 * `committed` stay valid until the host reports them applied. */
struct raft_ready {
    uint64_t persist_id; /* 0: nothing to persist */
    raft_term term;
    raft_id voted_for;
    const struct raft_entry *entries;
    size_t entry_count;
    const struct raft_message *messages_now;
    size_t messages_now_count;
    const struct raft_message *messages_after_sync;
    size_t messages_after_sync_count;
    const struct raft_entry *committed;
    size_t committed_count;
    const struct raft_read *reads;
    size_t read_count;
    raft_index proposed_first; /* PROPOSE: index of the first payload, all in `term` */
    uint64_t next_tick_ms;     /* absolute, same clock as now_ms; UINT64_MAX: no need */
};

struct raft_status {
    enum raft_role role;
    raft_term term;
    raft_id leader; /* 0: not known */
    raft_index last;
    raft_index persisted; /* commit may run ahead of it, never the other way on one voter */
    raft_index commit;
    raft_index applied;
    bool lease_valid; /* leader that a majority confirmed less than lease_ms ago, and whose noop of
                       * this term is committed: it may answer reads at `commit` without asking */
    size_t unapplied_bytes; /* entries above `applied`: payloads and RAFT_ENTRY_BYTES for each */
};

struct raft_node;

/* Options and restore are copied.  Asserts what the host computed itself (contiguous entries,
 * options in range).  Caller closes. */
void raft_open(const struct raft_options *options, const struct raft_restore *restore,
               uint64_t now_ms, struct raft_node **out_node);
void raft_close(struct raft_node **node);

/* Advance the node by one event.
 *
 * `now_ms`  monotonic, never less than in the previous call (asserted).
 * Returns   NK_OK; NK_NOT_LEADER (propose, read: nothing changed); NK_BUSY (propose:
 *           unapplied_bytes_max is reached; read: RAFT_READS_MAX wait already; nothing changed).
 *           *out_ready is written in every case.
 *           Messages from the network never cause an assertion. */
NK_MUST_CHECK
enum nk_err raft_step(struct raft_node *node, const struct raft_event *event, uint64_t now_ms,
                      struct raft_ready *out_ready);

void raft_get_status(const struct raft_node *node, uint64_t now_ms, struct raft_status *out_status);

/* One line for traces, scripts and `norikvctl inspect`. */
void raft_describe(const struct raft_node *node, struct nk_text *out);
void raft_describe_message(const struct raft_message *message, struct nk_text *out);
