#pragma once

/* A round: records laid out as they will lie in the files, before anything is written.  Private to
 * raftlog.  The layout is decided while staging, so a round that was begun is only bytes and
 * places. */

#include "services/shardhost/raftlog/layout.h"

/* Where the log will end when everything laid out so far is written. */
struct raftlog_end {
    uint64_t sequence; /* of the last segment */
    uint64_t offset;   /* in it; whole sectors */
    bool closed;       /* nothing is added to that segment, whatever room it has */
};

/* What one segment gets of a round: one write and one sync. */
struct raftlog_part {
    uint64_t sequence;
    uint64_t previous_length; /* where the segment before ends */
    uint64_t offset;          /* in the file */
    size_t start;             /* in `bytes`; it ends where the next part starts */
};

struct raftlog_round {
    struct nk_buf bytes; /* batches, each padded to whole sectors except for the open one */
    struct raftlog_part *parts;
    size_t part_count;
    size_t part_capacity;
    size_t batch_start;     /* of the open batch in `bytes`; SIZE_MAX: none is open */
    uint32_t batch_records; /* in the open batch */
    uint64_t record_count;
    size_t parts_done; /* by raftlog_write, which may need several attempts */
    size_t drops_done;
    uint64_t *drops; /* segments that nobody needs once the round is durable; rising */
    size_t drop_count;
    size_t drop_capacity;
};

void raftlog_round_init(struct raftlog_round *round);
void raftlog_round_deinit(struct raftlog_round *round);

/* Empty again; keeps memory of a usual size. */
void raftlog_round_clear(struct raftlog_round *round);

/* Lays `record` out behind `*end` and moves it.  Segments are closed where they would grow beyond
 * `segment_bytes`. */
void raftlog_round_add(struct raftlog_round *round, const struct raftlog_record *record,
                       uint64_t segment_bytes, struct raftlog_end *end);

void raftlog_round_add_drop(struct raftlog_round *round, uint64_t sequence);

/* Closes the open batch; nothing is added any more until the round is cleared. */
void raftlog_round_finish(struct raftlog_round *round, struct raftlog_end *end);

/* The bytes of a part of a finished round, sealed. */
struct nk_bytes raftlog_round_seal(struct raftlog_round *round, size_t part);
