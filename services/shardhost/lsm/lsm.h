#pragma once

/* A log-structured merge tree as a library: no thread, no write-ahead log, no clock.  How it works:
 * README.md; what it keeps on disk: FORMAT.md.
 *
 * Durability comes from the owner's log: records enter the memtable in the order of that log, each
 * with its version; a flush makes them durable together with the position they reach, and after a
 * crash the owner replays its log from there (lsm_applied).
 *
 * Many databases share one engine: one file system, one block cache, one budget for memtables.
 *
 * Threads: one loop thread calls everything; besides it, lsm_work, lsm_view_get and iterators may
 * run on worker threads at any time.  No thread waits for another one here, neither at a lock
 * nor spinning: what is busy is done without.  The loop touches the disk only where a comment says
 * so.
 *
 * Sources: O'Neil et al., "The Log-Structured Merge-Tree", 1996; LevelDB's table format. */

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/text.h"
#include "common/base/units.h"
#include "common/env/fs.h"
#include "common/env/meter.h"

/* The position in the owner's log of the record that wrote a key.  Ordered by index; of two
 * versions of one key the one with the higher index is newer. */
struct lsm_version {
    uint64_t term;
    uint64_t index;
};

enum lsm_compression {
    LSM_COMPRESSION_NONE = 0,
    LSM_COMPRESSION_LZ4 = 1,
    LSM_COMPRESSION_ZSTD = 2,
};

/* What a memtable holds fits one table, and its keys one filter of any allowed size. */
#define LSM_MEMTABLE_BYTES_MAX ((size_t)(512 * NK_MIB))
#define LSM_VALUE_BYTES_MAX    ((size_t)(32 * NK_MIB))
#define LSM_FILTER_BITS_MAX    32

struct lsm_options {
    size_t memtable_bytes;           /* cap of one memtable; 1..LSM_MEMTABLE_BYTES_MAX */
    size_t write_buffer_total_bytes; /* of memtables, over all databases of the engine */
    size_t block_cache_bytes;
    size_t open_files_max;        /* tables open at once, over all databases; 0: 4096 */
    uint32_t filter_bits_per_key; /* 0: no filter; at most LSM_FILTER_BITS_MAX */
    enum lsm_compression compression;

    /* Of compaction; 0 stands for the default. */
    size_t table_bytes;              /* a new table is closed at this size: 16 MiB */
    uint32_t fanout;                 /* how much larger a level is than the one above: 10 */
    uint32_t level_count;            /* 2..7: 7 */
    uint32_t l0_slowdown_files;      /* from here on writers should wait (lsm_write_wait_us): 6 */
    uint32_t l0_stop_files;          /* and here for as long as it takes: 12 */
    uint32_t max_background_jobs;    /* permits out at once, and open compactions: 2 */
    uint64_t rate_limit_bytes_per_s; /* of what compaction writes; 0: no limit */
};

#define LSM_LEVEL_COUNT 7

struct lsm_engine;
struct lsm_db;

/* What went wrong last, for logs and people. */
struct lsm_fault {
    enum nk_err err;
    char file[128];
    uint64_t offset;
    const char *what; /* constant text */
};

struct lsm_stats {
    /* Blocks that gets and iterators needed: found in memory, or read from disk.  A get that ends
     * with NK_WOULD_BLOCK counts nothing: its second step, with LSM_DISK, does. */
    struct nk_counter cache_hits;
    struct nk_counter cache_misses;
    struct nk_gauge memtable_bytes; /* all databases */
    struct nk_gauge cache_bytes;
    struct nk_counter flushes;
    struct nk_counter flushed_bytes;
    struct nk_counter compactions;     /* installed; moves and drops too */
    struct nk_counter compacted_bytes; /* written by them */

    /* From pick to end, in microseconds, by the level they go to; [1]: failed.  Bounds: the
     * owner's. */
    struct nk_histogram compaction_us[LSM_LEVEL_COUNT][2];
    struct nk_gauge compaction_debt_bytes;
    struct nk_counter read_blocks; /* from disk, one by one; by compactions too */
};

/* `fs` is borrowed for the engine's life. */
void lsm_engine_open(const struct nk_fs *fs, const struct lsm_options *options,
                     struct lsm_engine **out_engine);
void lsm_engine_close(struct lsm_engine **engine); /* all its databases are closed (asserted) */
struct lsm_stats *lsm_engine_stats(struct lsm_engine *engine);

/* Opens the database below `directory`.  A directory that does not exist is an empty database and
 * stays so until the first flush.  Reads the manifest: may block, any thread, as long as the engine
 * and the directory are used by nobody else in that way.  Removes orphan files.
 * NK_CORRUPT, NK_FORMAT_TOO_NEW: nothing was changed; *out_fault (may be NULL) says where. */
NK_MUST_CHECK
enum nk_err lsm_open(struct lsm_engine *engine, const char *directory, struct lsm_db **out_db,
                     struct lsm_fault *out_fault);

/* Drops what is in memory only.  No view, work or read may be under way (asserted). */
void lsm_close(struct lsm_db **db);

/* Removes a database that is not open, checkpoints too, or what is left of one; NK_OK if there is
 * none.  It is gone in one step: a crash later on leaves files that the next lsm_open or lsm_remove
 * removes.  May block, any thread.  NK_IO: call it again before the directory is used for another
 * one. */
NK_MUST_CHECK enum nk_err lsm_remove(struct lsm_engine *engine, const char *directory);

const struct lsm_fault *lsm_last_fault(const struct lsm_db *db);

/* What the owner wants to find again from a database that lsm_engine_pick returned. */
void lsm_set_user(struct lsm_db *db, void *user);
void *lsm_user(const struct lsm_db *db); /* NULL before */

/* ---- Writing: loop thread, in the order of the owner's log, memory only ---- */

#define LSM_STATE_BYTES_MAX ((size_t)64)

struct lsm_record {
    struct nk_bytes key; /* 1..NK_KEY_BYTES_MAX + 1 bytes */
    struct nk_bytes value;
    struct lsm_version version;
    uint64_t expire_at_ms; /* 0: never; see lsm_commit */
    bool tombstone;        /* value empty */
};

/* Adds one record.  Versions' indexes never go down (asserted); two records of one index have
 * different keys (the later one wins otherwise). */
void lsm_write(struct lsm_db *db, const struct lsm_record *record);

/* Everything up to `applied` has been written.  `state` is a small image of the owner's own (at
 * most LSM_STATE_BYTES_MAX bytes, copied) that becomes durable in the same step as the records:
 * after a crash lsm_applied returns a position and exactly the state that was given with it.
 * Called once per log entry, also for entries that wrote nothing.
 *
 * `time_ms` is the owner's time, which is part of his log and never goes down (asserted): from this
 * commit on, records whose expire_at_ms it has reached are missing to him for ever.  Compaction
 * drops them once the commit is durable and not before: a crash takes the owner back to the durable
 * position, and what was alive there must be found when he applies his log again. */
void lsm_commit(struct lsm_db *db, struct lsm_version applied, uint64_t time_ms,
                struct nk_bytes state);

/* The position and state of the last lsm_commit, or of the last flush after an open; {0,0} and
 * empty for a new database.  `state` is borrowed until the next commit. */
void lsm_applied(const struct lsm_db *db, struct lsm_version *out_applied,
                 struct nk_bytes *out_state);

/* The owner's time that goes with it. */
uint64_t lsm_applied_time_ms(const struct lsm_db *db);

/* Index up to which everything is durable in tables: the owner's log may forget it. */
uint64_t lsm_durable_index(const struct lsm_db *db);

/* ---- Background work ----
 *
 * Flush, compaction and the removal of files happen only in lsm_work.  The loop hands it out:
 *
 *     lsm_engine_pick    loop     a permit for one job of one database
 *     lsm_work           anyone   one slice of one job of that database
 *     lsm_work_ended     loop     the permit comes back, results are taken
 *
 * A database has up to one flush, one clean-up and several compactions under way at once: of
 * different levels, of disjoint key ranges, or parts of one that is large.  So the same database is
 * picked again while other permits for it are out.  Which job a call of lsm_work does is settled
 * when it is called: a flush before all else, and never one that somebody else is doing.
 *
 * A job that is not finished when its slice ends keeps its state and is picked again.  Memory:
 * max_background_jobs permits are out and as many compactions (or parts of one) are open at most,
 * each with a few MiB of buffers. */

/* The database that most needs work now, or NULL.  In this order: a full memtable, or the best
 * victim while the budget is exceeded; files to remove; compactions under way; a new compaction
 * where it is needed most.  Loop thread.
 *
 * `now_us`  monotonic; never less than before (asserted).  Only the rate limit and the throttle
 *           look at it. */
struct lsm_db *lsm_engine_pick(struct lsm_engine *engine, uint64_t now_us);

/* When lsm_engine_pick should be called again although nothing else has happened: the rate limit
 * holds work back until then, or memory of memtables waits to be given back, which each call does a
 * little of.  UINT64_MAX: no need. */
uint64_t lsm_engine_next_us(const struct lsm_engine *engine);

/* Asks that everything written so far becomes durable soon; lsm_engine_pick will return the
 * database if there is something to do.  Loop thread. */
void lsm_request_flush(struct lsm_db *db);
bool lsm_flush_pending(const struct lsm_db *db); /* a full or requested one is not durable yet */

/* Does about `budget_bytes` (of output) of one job, or removes a few files; *out_more tells whether
 * some of that job is left.  Any thread; at most one call at a time for each permit that is out for
 * the database.  More calls may follow under the same permit, but what another job is in the way of
 * goes on only after lsm_work_ended.  A call that finds no job to do, because the permit's one is
 * done or has failed, does nothing: NK_OK and no more.
 *
 * After a fault or NK_NO_SPACE the database stays readable, keeps its memtables and gives up the
 * compaction that failed; nothing of that was installed.  It is held (below).
 * NK_NO_SPACE; NK_IO; NK_CORRUPT: lsm_last_fault names file and offset of what is damaged. */
NK_MUST_CHECK enum nk_err lsm_work(struct lsm_db *db, size_t budget_bytes, bool *out_more);

/* Gives one permit back, after lsm_work or without it.  `now_us` as in lsm_engine_pick.  Loop
 * thread. */
void lsm_work_ended(struct lsm_db *db, uint64_t now_us);

/* While a database is held, nothing of it is picked but what lets go of files and memory.  A failed
 * lsm_work holds it.  Loop thread. */
void lsm_hold_work(struct lsm_db *db);
void lsm_resume_work(struct lsm_db *db);

/* How long whoever wants to write to the database should wait first; 0: not at all.  It grows bit
 * by bit from l0_slowdown_files on, and when memory gets short, until what comes in is no more than
 * what work takes away; what was written since the last answer counts.  LSM_WRITE_WAIT_US_MAX: ask
 * again then, at l0_stop_files and at the budget nobody should write at all.
 *
 * Only a hint: lsm_write takes whatever comes.  `now_us` as in lsm_engine_pick, but of its own: it
 * may be called in between.  Loop thread. */
#define LSM_WRITE_WAIT_US_MAX ((uint64_t)100000)
uint64_t lsm_write_wait_us(struct lsm_db *db, uint64_t now_us);

/* ---- Reading ---- */

/* What the newest record of a key says. */
struct lsm_entry {
    struct lsm_version version;
    uint64_t expire_at_ms;
    bool tombstone;
};

enum lsm_reach {
    LSM_MEMORY, /* memtables, filters and cached blocks; NK_WOULD_BLOCK if that does not decide */
    LSM_DISK,   /* may block */
};

/* The newest record of `key`; a tombstone is found like any other.  *out_value (may be NULL) is
 * replaced.  NK_NOT_FOUND; NK_WOULD_BLOCK; NK_CORRUPT and NK_IO with lsm_last_fault.  Loop
 * thread. */
NK_MUST_CHECK
enum nk_err lsm_get(struct lsm_db *db, struct nk_bytes key, enum lsm_reach reach,
                    struct lsm_entry *out_entry, struct nk_buf *out_value);

/* A stable snapshot: what was committed when it was taken, kept readable until released.
 * Acquire and release on the loop thread. */
struct lsm_view;
struct lsm_view *lsm_view_acquire(struct lsm_db *db);
void lsm_view_release(struct lsm_view **view);

/* Like lsm_get, on the snapshot; any thread, several at once. */
NK_MUST_CHECK
enum nk_err lsm_view_get(struct lsm_view *view, struct nk_bytes key, enum lsm_reach reach,
                         struct lsm_entry *out_entry, struct nk_buf *out_value);

/* Iteration over the newest record of each key, tombstones included, in bytewise order, forward and
 * backward.  An iterator stands between two records: next() returns the one behind it and passes
 * it, prev() the one before it.  May block.  The iterator uses the view from one thread.
 *
 * Keys from `start` on and before `limit`; empty: no bound.  It begins before the first of them.  A
 * fault ends it for good. */
struct lsm_iter;
void lsm_iter_open(struct lsm_view *view, struct nk_bytes start, struct nk_bytes limit,
                   struct lsm_iter **out_iter);
void lsm_iter_close(struct lsm_iter **iter);

/* NK_NOT_FOUND at the end, or the start.  Key and value are borrowed until the next call. */
NK_MUST_CHECK
enum nk_err lsm_iter_next(struct lsm_iter *iter, struct nk_bytes *out_key,
                          struct lsm_entry *out_entry, struct nk_bytes *out_value);
NK_MUST_CHECK
enum nk_err lsm_iter_prev(struct lsm_iter *iter, struct nk_bytes *out_key,
                          struct lsm_entry *out_entry, struct nk_bytes *out_value);

/* To before the first key at or after `key`, but not out of the bounds; to behind the last. */
void lsm_iter_seek(struct lsm_iter *iter, struct nk_bytes key);
void lsm_iter_seek_end(struct lsm_iter *iter);

/* ---- Checkpoints ----
 *
 * A checkpoint is a database of its own in another directory of the same file system: hard links of
 * the tables, and a manifest.  It takes time by the number of tables, not by their size, and
 * nobody waits for it: begin and end on the loop, write on any thread.  It holds what was durable
 * when it began (lsm_request_flush before, to have everything). */

struct lsm_checkpoint;
struct lsm_checkpoint *lsm_checkpoint_begin(struct lsm_db *db);
void lsm_checkpoint_end(struct lsm_checkpoint **checkpoint);

/* The position and state that it holds; borrowed until its end. */
void lsm_checkpoint_applied(const struct lsm_checkpoint *checkpoint,
                            struct lsm_version *out_applied, struct nk_bytes *out_state);

/* Makes `directory`, which must be new.  When it returns NK_OK all of it is durable.  May block;
 * any thread.  NK_CONFLICT: the directory is there; NK_NO_SPACE, NK_IO: lsm_remove what is left. */
NK_MUST_CHECK enum nk_err lsm_checkpoint_write(struct lsm_checkpoint *checkpoint,
                                               const char *directory);

/* Puts the contents of the checkpoint in `directory`, which nobody has open, in the place of all
 * that the database holds, in one step; the position is then the checkpoint's, at or above the
 * durable one.  The directory is not needed any more afterwards.
 *
 * The work is a job: until lsm_ingesting is false nothing may be written or committed (asserted).
 * If its lsm_work failed before anything was changed, it is given up: everything is as before, or
 * behind only what was not durable.  NK_CORRUPT: no checkpoint, or a damaged one; NK_CONFLICT: it
 * is older.  Loop thread, not between a record and its commit (asserted). */
void lsm_ingest(struct lsm_db *db, const char *directory);
bool lsm_ingesting(const struct lsm_db *db);

/* ---- Looking inside ---- */

struct lsm_shape {
    size_t memtable_bytes; /* active and immutable */
    size_t immutable_count;
    size_t table_count;
    uint64_t table_bytes;
    uint64_t debt_bytes; /* what compaction has to write, about */
    struct {
        size_t table_count;
        uint64_t bytes;
    } levels[LSM_LEVEL_COUNT];
};
void lsm_get_shape(const struct lsm_db *db, struct lsm_shape *out_shape);
void lsm_describe(const struct lsm_db *db, struct nk_text *out);
