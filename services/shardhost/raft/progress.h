#pragma once

/* What a leader knows about one voter's log, and what is on its way there.
 *
 * PROBE: where the logs meet is not known; one append with entries at a time, then silence until an
 * answer.  REPLICATE: entries up to `match` are there for good, up to `next` - 1 sent; appends go
 * out without waiting, up to RAFT_INFLIGHT_MAX of them (pipelining, thesis 10.2.1). */

#include "raft.h"

#define RAFT_INFLIGHT_MAX ((size_t)16)

enum raft_progress_state {
    RAFT_PROGRESS_PROBE,
    RAFT_PROGRESS_REPLICATE,
};

struct raft_progress {
    raft_id id;
    enum raft_progress_state state;
    raft_index match;     /* 0 <= match < next; durable at the voter */
    raft_index next;      /* the first entry to send */
    uint64_t round_acked; /* the newest round that it answered */
    bool probe_sent;      /* PROBE: entries from `next` on are out; sent again only when ... */
    uint64_t probe_round; /* ... a later round than that of the probe was answered */

    /* REPLICATE: the last index of each unanswered append, rising, all < next; a ring. */
    size_t inflight_first;
    size_t inflight_count;
    raft_index inflight[RAFT_INFLIGHT_MAX];
};

/* A new leader assumes that the voter has everything before its own first entry, `next`. */
void raft_progress_reset(struct raft_progress *progress, raft_index next);

bool raft_progress_may_send(const struct raft_progress *progress);

/* Entries next .. last have been sent, in an append of `round`. */
void raft_progress_sent(struct raft_progress *progress, raft_index last, uint64_t round);

/* The voter has everything up to `index`, as an answer in `round` says.  Returns whether `match`
 * moved. */
bool raft_progress_acked(struct raft_progress *progress, raft_index index, uint64_t round);

/* The voter's log can meet ours at `meeting` at the latest: try from the entry behind.  A refusal
 * that tells nothing new is ignored: it is late or came twice. */
void raft_progress_rejected(struct raft_progress *progress, raft_index meeting);
