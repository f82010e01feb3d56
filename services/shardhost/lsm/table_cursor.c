/* Walks one table in key order.  The current block of each of the three levels is held; the data
 * blocks come from disk one at a time and leave the cache's main queue alone (cache.c). */

#include "services/shardhost/lsm/table_format.h"

void lsm_table_cursor_init(struct lsm_table_cursor *cursor, struct lsm_table *table)
{
    cursor->table = table;
    cursor->top = NULL;
    cursor->index = NULL;
    cursor->data = NULL;
    cursor->block_offset = 0;
}

void lsm_table_cursor_close(struct lsm_table_cursor *cursor)
{
    lsm_cached_release(&cursor->top);
    lsm_cached_release(&cursor->index);
    lsm_cached_release(&cursor->data);
}

static enum nk_err bad(struct lsm_table_cursor *cursor, const char *what)
{
    return lsm_table_fault(cursor->table, NK_CORRUPT, cursor->block_offset, what);
}

/* An index entry that leads nowhere means damage, not the end. */
static enum nk_err inner(struct lsm_table_cursor *cursor, enum nk_err err)
{
    return err == NK_OK ? NK_OK : bad(cursor, "bad block");
}

/* ---- Blocks ---- */

/* The block that an entry of the level above names. */
static enum nk_err enter(struct lsm_table_cursor *cursor, struct nk_bytes handle_bytes,
                         enum lsm_cache_class class, struct lsm_cached **block,
                         struct lsm_block_cursor *at)
{
    struct lsm_handle handle;
    uint64_t limit = lsm_table_meta(cursor->table)->size_bytes - LSM_FOOTER_BYTES;
    lsm_cached_release(block);
    if (!lsm_handle_decode(handle_bytes, limit, &handle)) {
        return bad(cursor, "bad handle");
    }
    cursor->block_offset = handle.offset;
    struct lsm_lookup lookup = {.reach = LSM_DISK};
    enum nk_err err = lsm_table_block(cursor->table, handle, class, &lookup, block);
    lsm_lookup_end(&lookup, err, lsm_table_stats(cursor->table));
    if (err == NK_OK && lsm_block_open(at, lsm_cached_bytes(*block)) != NK_OK) {
        err = bad(cursor, "bad block");
    }
    return err;
}

static enum nk_err enter_top(struct lsm_table_cursor *cursor)
{
    if (cursor->top != NULL) {
        return NK_OK;
    }
    const struct lsm_footer *footer = NULL;
    struct lsm_cached *block = NULL;
    struct lsm_lookup lookup = {.reach = LSM_DISK};
    enum nk_err err = lsm_table_footer(cursor->table, LSM_DISK, &footer);
    if (err == NK_OK) {
        cursor->block_offset = footer->index.offset;
        err = lsm_table_kept(cursor->table, LSM_KEPT_TOP, footer->index, &lookup, &block,
                             &cursor->top);
    }
    lsm_lookup_end(&lookup, err, lsm_table_stats(cursor->table));
    if (err != NK_OK) {
        return err;
    }
    if (cursor->top == NULL) {
        cursor->top = lsm_cached_hold(block);
    }
    return lsm_block_open(&cursor->at_top, lsm_cached_bytes(block)) == NK_OK
               ? NK_OK
               : bad(cursor, "bad block");
}

static enum nk_err enter_index(struct lsm_table_cursor *cursor)
{
    return enter(cursor, cursor->at_top.value, LSM_CACHE_KEEP, &cursor->index, &cursor->at_index);
}

static enum nk_err enter_data(struct lsm_table_cursor *cursor)
{
    return enter(cursor, cursor->at_index.value, LSM_CACHE_ONCE, &cursor->data, &cursor->at_data);
}

static enum nk_err take_record(struct lsm_table_cursor *cursor)
{
    if (lsm_entry_decode(cursor->at_data.value, &cursor->entry, &cursor->value) != NK_OK) {
        return bad(cursor, "bad record");
    }
    return NK_OK;
}

/* ---- One step ---- */

/* To the first entry of the next data block, or the last one of the block before. */
static enum nk_err other_block(struct lsm_table_cursor *cursor, bool forward)
{
    enum nk_err (*step)(struct lsm_block_cursor *) = forward ? lsm_block_next : lsm_block_prev;
    enum nk_err (*end)(struct lsm_block_cursor *) = forward ? lsm_block_next : lsm_block_last;
    enum nk_err err = step(&cursor->at_index);
    if (err == NK_NOT_FOUND) {
        err = step(&cursor->at_top);
        if (err == NK_NOT_FOUND) {
            return NK_NOT_FOUND;
        }
        err = inner(cursor, err);
        if (err == NK_OK) {
            err = enter_index(cursor);
        }
        if (err != NK_OK) {
            return err;
        }
        err = end(&cursor->at_index);
    }
    err = inner(cursor, err);
    if (err == NK_OK) {
        err = enter_data(cursor);
    }
    return err == NK_OK ? inner(cursor, end(&cursor->at_data)) : err;
}

/* Where the block at hand has nothing (more) in that direction, the next one has. */
static enum nk_err settle(struct lsm_table_cursor *cursor, enum nk_err err, bool forward)
{
    err = err == NK_NOT_FOUND ? other_block(cursor, forward) : inner(cursor, err);
    return err == NK_OK ? take_record(cursor) : err;
}

enum nk_err lsm_table_cursor_next(struct lsm_table_cursor *cursor)
{
    return settle(cursor, lsm_block_next(&cursor->at_data), true);
}

enum nk_err lsm_table_cursor_prev(struct lsm_table_cursor *cursor)
{
    return settle(cursor, lsm_block_prev(&cursor->at_data), false);
}

/* ---- From the top ---- */

/* The data block that holds the first key at or after `key`, or the last keys before it.
 * NK_NOT_FOUND: `key` is behind the last separator. */
static enum nk_err descend(struct lsm_table_cursor *cursor, struct nk_bytes key)
{
    enum nk_err err = enter_top(cursor);
    if (err != NK_OK) {
        return err;
    }
    err = lsm_block_seek(&cursor->at_top, key);
    if (err == NK_NOT_FOUND) {
        return NK_NOT_FOUND;
    }
    err = inner(cursor, err);
    if (err == NK_OK) {
        err = enter_index(cursor);
    }
    if (err == NK_OK) {
        err = inner(cursor, lsm_block_seek(&cursor->at_index, key));
    }
    return err == NK_OK ? enter_data(cursor) : err;
}

static enum nk_err descend_to_last(struct lsm_table_cursor *cursor)
{
    enum nk_err err = enter_top(cursor);
    if (err == NK_OK) {
        err = inner(cursor, lsm_block_last(&cursor->at_top));
    }
    if (err == NK_OK) {
        err = enter_index(cursor);
    }
    if (err == NK_OK) {
        err = inner(cursor, lsm_block_last(&cursor->at_index));
    }
    if (err == NK_OK) {
        err = enter_data(cursor);
    }
    if (err == NK_OK) {
        err = inner(cursor, lsm_block_last(&cursor->at_data));
    }
    return err == NK_OK ? take_record(cursor) : err;
}

enum nk_err lsm_table_cursor_seek(struct lsm_table_cursor *cursor, struct nk_bytes key)
{
    enum nk_err err = descend(cursor, key);
    return err == NK_OK ? settle(cursor, lsm_block_seek(&cursor->at_data, key), true) : err;
}

enum nk_err lsm_table_cursor_seek_back(struct lsm_table_cursor *cursor, const struct nk_bytes *key,
                                       bool equal)
{
    enum nk_err err = key == NULL ? NK_NOT_FOUND : descend(cursor, *key);
    if (err == NK_NOT_FOUND) {
        return descend_to_last(cursor);
    }
    return err == NK_OK ? settle(cursor, lsm_block_seek_back(&cursor->at_data, *key, equal), false)
                        : err;
}

enum nk_err lsm_table_cursor_open(struct lsm_table_cursor *cursor, struct lsm_table *table,
                                  struct nk_bytes start)
{
    lsm_table_cursor_init(cursor, table);
    return lsm_table_cursor_seek(cursor, start);
}
