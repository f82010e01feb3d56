#pragma once

/* One log for all shards of a host: the only write-ahead log of the store.  Format: FORMAT.md.
 *
 * Records of all shards interleave in numbered segment files below `raft/` of the fs.  A round is
 * what was staged when it began: it is written with one write and made durable by one sync (group
 * commit).  The library owns no thread: the loop stages and begins rounds, a worker writes them.
 *
 * Threads: one loop thread for everything but raftlog_write, which may run on another thread while
 * the loop goes on staging.  At most one round at a time. */

#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/base/text.h"
#include "common/env/fs.h"
#include "common/env/meter.h"

struct raftlog;

struct raftlog_options {
    uint64_t segment_bytes; /* a segment that would grow beyond is closed; no record is ever cut */
    uint32_t recycled_max;  /* old segments kept for reuse; the rest are removed */
};

/* One durable fact about one shard. */
enum raftlog_kind {
    RAFTLOG_ENTRY = 1,  /* voids all earlier entries of the shard with the same or a higher index */
    RAFTLOG_STATE = 2,  /* term, vote, what was released; the last one counts */
    RAFTLOG_FORGET = 3, /* voids everything of the shard before it; raftlog_forget makes it */
};

struct raftlog_record {
    enum raftlog_kind kind;
    uint32_t shard;
    uint64_t term;           /* of the entry; of the state; else 0 */
    uint64_t index;          /* entry: its index, > 0; state: who got the vote, 0 nobody; else 0 */
    uint8_t entry_kind;      /* entry: opaque to the log; else 0 */
    struct nk_bytes payload; /* entry: opaque; else empty */
    uint64_t released;       /* state: entries up to here may be gone from the log, since they were
                              * released: what has them must be there.  The log fills it in */
};

/* What went wrong last, for logs and people.  Valid after a call returned a fault. */
struct raftlog_fault {
    enum nk_err err;
    char file[64];
    uint64_t offset;
    const char *what; /* constant text */
};

/* What the last open cut off the end of the log. */
struct raftlog_cut {
    char file[64];
    uint64_t offset;
    uint64_t size_bytes; /* up to the last of it that could be told from a former use of the file */
};

/* *out_exists: a segment, or what was one, is below `directory`; without, an open makes a new log.
 * Changes nothing. */
NK_MUST_CHECK enum nk_err raftlog_exists(const struct nk_fs *fs, const char *directory,
                                         bool *out_exists);

/* Opens the log below `directory` of `fs`, created if missing, and hands every valid record to
 * `visit` in the order in which it was written; payloads are borrowed for the call.  What was
 * visited is durable once the open has succeeded.
 *
 * Released records may come again, and entries that a later record voids may come without those
 * before them.  So the visitor lets an entry void what is above it even where it needs neither, and
 * judges a gap between indexes only at the end.
 *
 * A torn tail (the unsynced end of the last round) is cut off, durably, before anything else is
 * written.  A bad record with synced data behind it, or a segment that is missing, is NK_CORRUPT
 * and changes nothing on disk.
 * NK_FORMAT_TOO_NEW likewise.  *out_fault (may be NULL) is filled on any failure. */
NK_MUST_CHECK
enum nk_err raftlog_open(const struct nk_fs *fs, const char *directory,
                         const struct raftlog_options *options,
                         void (*visit)(void *visitor, const struct raftlog_record *record),
                         void *visitor, struct raftlog **out_log, struct raftlog_fault *out_fault);

/* What the open cut; NULL: the log ended as a log ends.  A crash in the middle of a write leaves
 * such a tail, and so does damage of the last round, which nothing tells from it.  Damage of the
 * head of a batch goes unseen in a segment that was used before. */
const struct raftlog_cut *raftlog_cut(const struct raftlog *log);

/* NULL is a no-op; nulls *log.  What is staged is lost.  No write may be executing. */
void raftlog_close(struct raftlog **log);

/* Adds a record to the next round; the payload is copied.  Loop thread. */
void raftlog_stage(struct raftlog *log, const struct raftlog_record *record);

/* Bytes staged for the next round. */
size_t raftlog_staged_bytes(const struct raftlog *log);

/* Turns what is staged into the running round; segments that are no longer needed go with it, and
 * are a round by themselves when nothing is staged.  False: there is nothing to do.  Asserts that
 * no round runs.  Loop thread. */
bool raftlog_begin(struct raftlog *log);

/* Writes and syncs the running round, rolling to a new segment where needed.  Worker thread.
 * NK_NO_SPACE: the round stays as it is and is to be tried again; until that succeeds, what of it
 * is on disk is unknown.  After any other failure the log is dead: every later write fails with the
 * same error, and the process should end, because what a failed sync left on disk is unknown. */
NK_MUST_CHECK enum nk_err raftlog_write(struct raftlog *log);

/* Closes the round after a successful write.  Loop thread. */
void raftlog_end(struct raftlog *log);

/* Everything of `shard` up to `index` is durable elsewhere and no longer needed here.  Segments in
 * which no shard needs anything are recycled or removed by the next raftlog_write; their newest
 * STATE records are carried over first.  So before a released entry leaves the log the shard's
 * STATE tells of it, if the shard has one.  Loop thread. */
void raftlog_release(struct raftlog *log, uint32_t shard, uint64_t index);

/* Drops everything of `shard`, its state too; durable with the next round (a FORGET record).  Loop
 * thread. */
void raftlog_forget(struct raftlog *log, uint32_t shard);

/* The shard whose unreleased entries hold the oldest closed segment, and the index to release for
 * it to go.  Shards that `skip` names are passed over (NULL: none is).  False: no closed segment is
 * held by another one. */
bool raftlog_oldest_holder(const struct raftlog *log, bool (*skip)(void *ctx, uint32_t shard),
                           void *ctx, uint32_t *out_shard, uint64_t *out_index);

struct raftlog_stats {
    struct nk_counter records;
    struct nk_counter bytes;
    struct nk_counter syncs;
    struct nk_gauge segments;
};
struct raftlog_stats *raftlog_stats(struct raftlog *log); /* fields may be read by any thread */

const struct raftlog_fault *raftlog_last_fault(const struct raftlog *log);
void raftlog_describe(const struct raftlog *log, struct nk_text *out);
