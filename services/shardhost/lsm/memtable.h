#pragma once

/* Records in memory, ordered by (key rising, index falling): every version of a key, newest first.
 *
 * One thread adds (the loop); any number of threads read at the same time without locks.  Nothing
 * is removed or moved until the memtable is freed, so what a reader was given stays valid until
 * then. */

#include "services/shardhost/lsm/chunk.h"
#include "services/shardhost/lsm/lsm.h"

struct lsm_memtable;
struct lsm_memtable_node;

/* Takes its memory from `pool`, none before the first record. */
void lsm_memtable_new(struct lsm_chunk_pool *pool, struct lsm_memtable **out_memtable);

/* References are counted; the adding thread holds and releases.  The last release gives the memory
 * back. */
struct lsm_memtable *lsm_memtable_hold(struct lsm_memtable *memtable);
void lsm_memtable_release(struct lsm_memtable **memtable);

/* Copies the record in.  The adding thread. */
void lsm_memtable_add(struct lsm_memtable *memtable, const struct lsm_record *record);

/* The newest record of `key` whose index is at most `index_max`.  The value is borrowed for the
 * life of the memtable. */
bool lsm_memtable_get(const struct lsm_memtable *memtable, struct nk_bytes key, uint64_t index_max,
                      struct lsm_entry *out_entry, struct nk_bytes *out_value);

/* The adding thread. */
size_t lsm_memtable_bytes(const struct lsm_memtable *memtable); /* held from the pool */
size_t lsm_memtable_count(const struct lsm_memtable *memtable); /* records, all versions */

/* Walks the newest record at or below `index_max` of each key, in key order. */
struct lsm_memtable_cursor {
    const struct lsm_memtable *memtable;
    const struct lsm_memtable_node *node; /* NULL: at the end, or before the first */
    uint64_t index_max;
};

/* Stands on the first key at or after `start` (empty: the first of all). */
void lsm_memtable_cursor_open(struct lsm_memtable_cursor *cursor,
                              const struct lsm_memtable *memtable, struct nk_bytes start,
                              uint64_t index_max);
void lsm_memtable_cursor_next(struct lsm_memtable_cursor *cursor); /* not at the end (asserted) */

/* Stands on the last key before `key`, or equal where `equal`; `key` NULL: the last of all. */
void lsm_memtable_cursor_open_back(struct lsm_memtable_cursor *cursor,
                                   const struct lsm_memtable *memtable, const struct nk_bytes *key,
                                   bool equal, uint64_t index_max);
void lsm_memtable_cursor_prev(struct lsm_memtable_cursor *cursor); /* not at the end (asserted) */

/* Where the cursor stands; not at the end (asserted). */
struct nk_bytes lsm_memtable_cursor_key(const struct lsm_memtable_cursor *cursor);
struct nk_bytes lsm_memtable_cursor_value(const struct lsm_memtable_cursor *cursor);
struct lsm_entry lsm_memtable_cursor_entry(const struct lsm_memtable_cursor *cursor);
