#pragma once

/* What the host was asked to make durable and has not reported yet: which id carries the log up to
 * where.  Ids rise; the host persists in order, so a report covers all smaller ids. */

#include "raft.h"

#define RAFT_PERSISTS_MAX ((size_t)16)

struct raft_persist {
    uint64_t id;
    raft_index last; /* durable up to here once `id` is; lowered when the log is truncated */
};

struct raft_persists {
    uint64_t issued; /* done <= issued */
    uint64_t done;
    size_t first; /* a ring, by rising id */
    size_t count;
    struct raft_persist ring[RAFT_PERSISTS_MAX];
};

static inline bool raft_persists_pending(const struct raft_persists *persists)
{
    return persists->done < persists->issued;
}

/* A new id, for the log up to `last`.  When the ring is full its newest element takes the new id,
 * so what that one covered is only known durable a little later. */
uint64_t raft_persists_issue(struct raft_persists *persists, raft_index last);

/* Everything up to `id` is durable; asserts id <= issued.  Returns the index up to which the log
 * is, as far as this report tells; 0: nothing new. */
raft_index raft_persists_report(struct raft_persists *persists, uint64_t id);

/* Entries from `first` on are void: no earlier id can make their successors durable. */
void raft_persists_truncate(struct raft_persists *persists, raft_index first);
