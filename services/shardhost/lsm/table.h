#pragma once

/* One immutable table file (FORMAT.md): what the manifest says about it, its file once somebody had
 * to read it, and reading.  Blocks come from the cache or from disk, and every block from disk is
 * checked before anybody sees it.
 *
 * Any thread; references are counted. */

#include "common/base/mpsc.h"
#include "services/shardhost/lsm/block.h"
#include "services/shardhost/lsm/cache.h"
#include "services/shardhost/lsm/fault.h"
#include "services/shardhost/lsm/files.h"

/* What tables need of their engine. */
struct lsm_io {
    const struct nk_fs *fs;
    struct lsm_cache *cache;
    struct lsm_files *files;
    struct lsm_stats *stats;
};

#define LSM_TABLE_BYTES_MAX ((uint64_t)1 << 62) /* any offset in it is one that a file can have */

/* What the manifest keeps of a table. */
struct lsm_table_meta {
    uint64_t number; /* names the file; never used twice in one database */
    uint64_t size_bytes;
    uint32_t digest; /* of the contents: another table has another one; 0 in version 1 */
    uint64_t record_count;
    uint64_t tombstone_count;
    uint64_t index_min; /* of the versions in it */
    uint64_t index_max;
    uint64_t expire_count;  /* records that expire and are no tombstones */
    uint64_t expire_min_ms; /* earliest and latest expiry of them, 0: none expires */
    uint64_t expire_max_ms;
    struct nk_bytes smallest;
    struct nk_bytes largest;
};

struct lsm_handle {
    uint64_t offset;
    uint64_t size; /* stored bytes, without the trailer; 0: there is no such block */
};

struct lsm_footer {
    struct lsm_handle index;
    struct lsm_handle filter;
    struct lsm_handle properties;
    uint64_t file_size;
    uint64_t start;   /* of the footer: where the blocks end */
    uint32_t version; /* decoded; what is written has the newest */
    uint32_t digest;  /* 0 in version 1 */
};

/* One step of reading: how far it may go, and what it met so far. */
struct lsm_lookup {
    enum lsm_reach reach;
    uint32_t hits;   /* blocks found in memory */
    uint32_t misses; /* read from disk */
};

/* The step is over, with `err`.  Counts its blocks, unless they will be needed again because it is
 * repeated with LSM_DISK. */
static inline void lsm_lookup_end(const struct lsm_lookup *lookup, enum nk_err err,
                                  struct lsm_stats *stats)
{
    if (err == NK_WOULD_BLOCK) {
        return;
    }
    if (lookup->hits > 0) {
        nk_counter_add(&stats->cache_hits, lookup->hits);
    }
    if (lookup->misses > 0) {
        nk_counter_add(&stats->cache_misses, lookup->misses);
    }
}

struct lsm_table;

/* Knows the table without touching it; the file is opened when it is first read.  `directory` and
 * `faults` are the database's and outlive it; keys of `meta` are copied. */
void lsm_table_new(const struct lsm_io *io, const char *directory, struct lsm_fault_box *faults,
                   const struct lsm_table_meta *meta, struct lsm_table **out_table);

struct lsm_table *lsm_table_hold(struct lsm_table *table);
void lsm_table_release(struct lsm_table **table); /* the last one closes the file */

/* Tables whose files nobody wants any more. */
struct lsm_trash {
    struct nk_mpsc tables;
    struct nk_mpsc_node *taken; /* out of `tables`, the oldest first, and not yet freed */
};

/* The table is in no levels any more: its last release puts it into `trash`, which outlives it, and
 * neither file nor memory is touched until lsm_trash_empty.  The caller holds the table. */
void lsm_table_discard(struct lsm_table *table, struct lsm_trash *trash);

/* Whether there are any.  Not while another thread is in lsm_trash_empty. */
bool lsm_trash_any(struct lsm_trash *trash);

/* Closes and frees up to `count_max` of them; `remove`: removes the files too, which may block.  A
 * file that cannot be removed becomes an orphan.  One thread at a time. */
void lsm_trash_empty(struct lsm_trash *trash, size_t count_max, bool remove);

const struct lsm_table_meta *lsm_table_meta(const struct lsm_table *table);
struct lsm_stats *lsm_table_stats(const struct lsm_table *table); /* its engine's */

/* ---- For the readers in table_get.c and table_cursor.c ---- */

/* The footer, constant while the table is held.  Reads it if need be. */
NK_MUST_CHECK enum nk_err lsm_table_footer(struct lsm_table *table, enum lsm_reach reach,
                                           const struct lsm_footer **out_footer);

/* The checked block at `handle`, held for the caller. */
NK_MUST_CHECK enum nk_err lsm_table_block(struct lsm_table *table, struct lsm_handle handle,
                                          enum lsm_cache_class class, struct lsm_lookup *lookup,
                                          struct lsm_cached **out_block);

/* The blocks that a table keeps by itself, as long as there is room for them. */
enum lsm_kept {
    LSM_KEPT_FILTER,
    LSM_KEPT_TOP,
    LSM_KEPT_COUNT,
};

/* Like lsm_table_block for one of these.  *out_block is borrowed from the table, or *out_held and
 * to be released. */
NK_MUST_CHECK enum nk_err lsm_table_kept(struct lsm_table *table, enum lsm_kept which,
                                         struct lsm_handle handle, struct lsm_lookup *lookup,
                                         struct lsm_cached **out_block,
                                         struct lsm_cached **out_held);

/* The top index, held for the caller, and any block, neither counted nor, if it is not there,
 * kept or offered to the cache.  May block. */
NK_MUST_CHECK enum nk_err lsm_table_top_aside(struct lsm_table *table, struct lsm_handle handle,
                                              struct lsm_cached **out_block);
NK_MUST_CHECK enum nk_err lsm_table_block_aside(struct lsm_table *table, struct lsm_handle handle,
                                                struct lsm_cached **out_block);

/* All of `size` bytes of the file at `offset`.  May block. */
NK_MUST_CHECK enum nk_err lsm_table_read(struct lsm_table *table, uint64_t offset, uint8_t *out,
                                         size_t size);

/* Checks the stored bytes of the block at `handle`, with their trailer, and decompresses them into
 * `room`.  *out_raw is there or, if they were not compressed, in `stored`. */
NK_MUST_CHECK enum nk_err lsm_table_unpack(struct lsm_table *table, struct lsm_handle handle,
                                           const uint8_t *stored, struct nk_buf *room,
                                           struct nk_bytes *out_raw);

/* Records a fault of this table; returns `err`. */
enum nk_err lsm_table_fault(struct lsm_table *table, enum nk_err err, uint64_t offset,
                            const char *what);

/* ---- Reading ---- */

/* The record of `key`, whose filter hash is `hash`.  *out_value (may be NULL) is replaced.
 * NK_NOT_FOUND, NK_WOULD_BLOCK, NK_IO, NK_CORRUPT, NK_FORMAT_TOO_NEW. */
NK_MUST_CHECK enum nk_err lsm_table_get(struct lsm_table *table, struct nk_bytes key, uint64_t hash,
                                        struct lsm_lookup *lookup, struct lsm_entry *out_entry,
                                        struct nk_buf *out_value);

/* For the table's writer, before others see it: gives it the file that was written (taken), and
 * blocks of it for the cache. */
void lsm_table_adopt(struct lsm_table *table, struct nk_file **file,
                     const struct lsm_footer *footer);
void lsm_table_warm(struct lsm_table *table, struct lsm_handle handle, struct nk_bytes raw);
void lsm_table_warm_kept(struct lsm_table *table, enum lsm_kept which, struct lsm_handle handle,
                         struct nk_bytes raw);

/* Walks a table both ways; may block. */
struct lsm_table_cursor {
    struct lsm_table *table;
    struct lsm_cached *top; /* held */
    struct lsm_cached *index;
    struct lsm_cached *data;
    uint64_t block_offset; /* of the block entered last, for faults */
    struct lsm_block_cursor at_top;
    struct lsm_block_cursor at_index;
    struct lsm_block_cursor at_data;
    struct lsm_entry entry;
    struct nk_bytes value;
};

/* Stands nowhere yet.  Reads nothing. */
void lsm_table_cursor_init(struct lsm_table_cursor *cursor, struct lsm_table *table);
void lsm_table_cursor_close(struct lsm_table_cursor *cursor);

/* Init, then seek.  Close it whatever the result. */
NK_MUST_CHECK enum nk_err lsm_table_cursor_open(struct lsm_table_cursor *cursor,
                                                struct lsm_table *table, struct nk_bytes start);

/* To the first key at or after `key`.  NK_NOT_FOUND: there is none; faults as of lsm_table_get. */
NK_MUST_CHECK enum nk_err lsm_table_cursor_seek(struct lsm_table_cursor *cursor,
                                                struct nk_bytes key);

/* To the last key before `key`, or equal where `equal`; `key` NULL: the last of all. */
NK_MUST_CHECK enum nk_err lsm_table_cursor_seek_back(struct lsm_table_cursor *cursor,
                                                     const struct nk_bytes *key, bool equal);

/* From a key to the next or the one before. */
NK_MUST_CHECK enum nk_err lsm_table_cursor_next(struct lsm_table_cursor *cursor);
NK_MUST_CHECK enum nk_err lsm_table_cursor_prev(struct lsm_table_cursor *cursor);

static inline struct nk_bytes lsm_table_cursor_key(const struct lsm_table_cursor *cursor)
{
    return lsm_block_key(&cursor->at_data);
}
