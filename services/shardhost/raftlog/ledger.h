#pragma once

/* Who still needs which segment.  Private to raftlog; loop thread.
 *
 * A segment is needed while a shard has unreleased entries in it (a hold), or until the STATE of a
 * shard is written again: since it is there, or since entries are there that were released and the
 * STATE does not tell so yet.  There is at most one hold per shard and segment, and one state per
 * shard, so the ledger is bounded by shards times segments whatever the number of records.
 *
 * Invariants: segments are consecutive, and records only ever go to the newest; along the holds of
 * a shard, oldest segment first, index_max rises, and released < index_max. */

#include "common/base/list.h"
#include "common/base/map.h"

#include "services/shardhost/raftlog/raftlog.h"

struct raftlog_segment {
    struct nk_list link; /* in raftlog_ledger.segments */
    uint64_t sequence;
    struct nk_list holds;
    struct nk_list states; /* of the shards whose STATE is to be written again before it goes */
};

struct raftlog_shard {
    uint32_t id;
    uint64_t released;       /* entries up to here are not needed, as this process knows */
    uint64_t told;           /* and as the newest STATE tells */
    struct nk_list holds;    /* oldest segment first */
    struct nk_list state;    /* in raftlog_segment.states; unlinked: the log has no state of it */
    uint64_t state_sequence; /* of that segment */
    uint64_t state_term;
    uint64_t state_vote;
};

struct raftlog_hold {
    struct nk_list of_segment;
    struct nk_list of_shard;
    struct raftlog_segment *segment;
    struct raftlog_shard *shard;
    uint64_t index_max; /* the highest index of the shard in the segment that is not void */
};

struct raftlog_ledger {
    struct nk_map shards;    /* id -> raftlog_shard */
    struct nk_list segments; /* oldest first */
    size_t segment_count;
};

void raftlog_ledger_init(struct raftlog_ledger *ledger);
void raftlog_ledger_deinit(struct raftlog_ledger *ledger);

/* A new newest segment. */
void raftlog_ledger_grow(struct raftlog_ledger *ledger, uint64_t sequence);

/* `record` was laid out in the newest segment. */
void raftlog_ledger_note(struct raftlog_ledger *ledger, const struct raftlog_record *record);

void raftlog_ledger_release(struct raftlog_ledger *ledger, uint32_t shard, uint64_t index);

/* What a STATE of the shard tells that is written now. */
uint64_t raftlog_ledger_released(const struct raftlog_ledger *ledger, uint32_t shard);

/* Whether the log knows the shard at all. */
bool raftlog_ledger_knows(const struct raftlog_ledger *ledger, uint32_t shard);

/* The oldest segment if it is not the newest and no shard has entries to lose in it; else NULL. */
struct raftlog_segment *raftlog_ledger_unheld(const struct raftlog_ledger *ledger);

/* Whether dropping all that could be dropped now is worth a round for its own sake: it frees at
 * least twice what it takes to write the states again, so rounds that make room never chase
 * themselves. */
bool raftlog_ledger_worth_dropping(const struct raftlog_ledger *ledger, uint64_t segment_bytes);

/* A STATE to be written again before `segment` goes; false: there is none. */
bool raftlog_ledger_state_in(const struct raftlog_segment *segment,
                             struct raftlog_record *out_record);

/* The oldest segment, without holds and states, goes. */
void raftlog_ledger_drop(struct raftlog_ledger *ledger, struct raftlog_segment *segment);

/* A hold on the oldest segment but the newest that has any of a shard that is not to be skipped
 * (`skip` NULL: none is); NULL: there is none. */
const struct raftlog_hold *raftlog_ledger_oldest_hold(const struct raftlog_ledger *ledger,
                                                      bool (*skip)(void *ctx, uint32_t shard),
                                                      void *ctx);

/* Asserts the invariants; true. */
bool raftlog_ledger_check(const struct raftlog_ledger *ledger);
