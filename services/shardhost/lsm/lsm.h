#pragma once

/* A log-structured merge tree as a library: no thread, no write-ahead log, no clock.  Format of
 * what it keeps on disk: FORMAT.md.
 *
 * Durability comes from the owner's log: records enter the memtable in the order of that log, each
 * with its version; a flush makes them durable together with the position they reach, and after a
 * crash the owner replays its log from there (lsm_applied).
 *
 * Many databases share one engine: one file system, one block cache, one budget for memtables.
 *
 * Threads: one loop thread calls everything; besides it, lsm_work of a database and lsm_view_get
 * may run on worker threads at any time (one lsm_work per database at once).  Nothing here blocks
 * on a lock; the loop touches the disk only where a comment says so.
 *
 * Sources: O'Neil et al., "The Log-Structured Merge-Tree", 1996; LevelDB's table format. */

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/text.h"
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

struct lsm_options {
    size_t memtable_bytes;           /* cap of one memtable */
    size_t write_buffer_total_bytes; /* over all databases of the engine */
    size_t block_cache_bytes;
    uint32_t filter_bits_per_key; /* 0: no filter */
    enum lsm_compression compression;
};

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
    struct nk_counter cache_hits;
    struct nk_counter cache_misses;
    struct nk_gauge memtable_bytes; /* all databases */
    struct nk_gauge cache_bytes;
    struct nk_counter flushes;
    struct nk_counter flushed_bytes;
    struct nk_counter read_blocks; /* from disk */
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

const struct lsm_fault *lsm_last_fault(const struct lsm_db *db);

/* ---- Writing: loop thread, in the order of the owner's log, memory only ---- */

#define LSM_STATE_BYTES_MAX ((size_t)64)

struct lsm_record {
    struct nk_bytes key; /* 1..NK_KEY_BYTES_MAX + 1 bytes */
    struct nk_bytes value;
    struct lsm_version version;
    uint64_t expire_at_ms; /* 0: never.  Opaque here but for collection in compaction */
    bool tombstone;        /* value empty */
};

/* Adds one record.  Versions' indexes never go down (asserted); two records of one index have
 * different keys (the later one wins otherwise). */
void lsm_write(struct lsm_db *db, const struct lsm_record *record);

/* Everything up to `applied` has been written.  `state` is a small image of the owner's own (at
 * most LSM_STATE_BYTES_MAX bytes, copied) that becomes durable in the same step as the records:
 * after a crash lsm_applied returns a position and exactly the state that was given with it.
 * Called once per log entry, also for entries that wrote nothing. */
void lsm_commit(struct lsm_db *db, struct lsm_version applied, struct nk_bytes state);

/* The position and state of the last lsm_commit, or of the last flush after an open; {0,0} and
 * empty for a new database.  `state` is borrowed until the next commit. */
void lsm_applied(const struct lsm_db *db, struct lsm_version *out_applied,
                 struct nk_bytes *out_state);

/* Index up to which everything is durable in tables: the owner's log may forget it. */
uint64_t lsm_durable_index(const struct lsm_db *db);

/* ---- Background work ---- */

/* The database that most needs lsm_work now, or NULL: one with a full memtable, or the best victim
 * while the budget is exceeded.  It is not returned again until its lsm_work ended.  Loop thread.
 */
struct lsm_db *lsm_engine_pick(struct lsm_engine *engine);

/* Asks that everything written so far becomes durable soon; lsm_engine_pick will return the
 * database if there is something to do.  Loop thread. */
void lsm_request_flush(struct lsm_db *db);

/* Does about `budget_bytes` of flushing; *out_more tells whether some is left.  Flush happens only
 * here.  Any thread; one call per database at a time; only for a database that lsm_engine_pick
 * returned.  After a fault the database stays readable and keeps its memtables; the owner decides.
 * NK_NO_SPACE: nothing was installed, try again later. */
NK_MUST_CHECK enum nk_err lsm_work(struct lsm_db *db, size_t budget_bytes, bool *out_more);

/* Tells the engine on the loop thread that the work of a picked database ended. */
void lsm_work_ended(struct lsm_db *db);

/* True while writers should wait: budget exceeded by half although work is under way. */
bool lsm_engine_stalled(const struct lsm_engine *engine);

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

/* Forward iteration over the newest record of each key, tombstones included, in bytewise order.
 * May block.  The iterator uses the view from one thread. */
struct lsm_iter;
void lsm_iter_open(struct lsm_view *view, struct nk_bytes start, struct lsm_iter **out_iter);
void lsm_iter_close(struct lsm_iter **iter);
/* NK_NOT_FOUND at the end.  Key and value are borrowed until the next call. */
NK_MUST_CHECK
enum nk_err lsm_iter_next(struct lsm_iter *iter, struct nk_bytes *out_key,
                          struct lsm_entry *out_entry, struct nk_bytes *out_value);

/* ---- Looking inside ---- */

struct lsm_shape {
    size_t memtable_bytes; /* active and immutable */
    size_t immutable_count;
    size_t table_count; /* level 0 until there is compaction */
    uint64_t table_bytes;
};
void lsm_get_shape(const struct lsm_db *db, struct lsm_shape *out_shape);
void lsm_describe(const struct lsm_db *db, struct nk_text *out);
