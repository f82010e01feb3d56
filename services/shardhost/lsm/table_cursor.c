/* Walks one table in key order.  The current block of each of the three levels is held; the data
 * blocks come from disk one at a time and leave the cache's main queue alone (cache.c). */

#include "services/shardhost/lsm/table_format.h"

static enum nk_err bad(struct lsm_table_cursor *cursor, const char *what)
{
    return lsm_table_fault(cursor->table, NK_CORRUPT, 0, what);
}

/* Replaces the held block of a level by the one that the entry of the level above names. */
static enum nk_err enter(struct lsm_table_cursor *cursor, struct nk_bytes handle_bytes,
                         enum lsm_cache_class class, struct lsm_cached **block,
                         struct lsm_block_cursor *at)
{
    lsm_cached_release(block);
    struct lsm_handle handle;
    uint64_t limit = lsm_table_meta(cursor->table)->size_bytes - LSM_FOOTER_BYTES;
    if (!lsm_handle_decode(handle_bytes, limit, &handle)) {
        return bad(cursor, "bad handle");
    }
    enum nk_err err = lsm_table_block(cursor->table, handle, class, LSM_DISK, block);
    if (err == NK_OK && lsm_block_open(at, lsm_cached_bytes(*block)) != NK_OK) {
        err = lsm_table_fault(cursor->table, NK_CORRUPT, handle.offset, "bad block");
    }
    return err;
}

/* An index entry that leads nowhere means damage, not the end. */
static enum nk_err inner(struct lsm_table_cursor *cursor, enum nk_err err)
{
    return err == NK_OK ? NK_OK : bad(cursor, "bad block");
}

/* To the next data block. */
static enum nk_err next_block(struct lsm_table_cursor *cursor)
{
    enum nk_err err = lsm_block_next(&cursor->at_index);
    if (err == NK_NOT_FOUND) {
        err = lsm_block_next(&cursor->at_top);
        if (err == NK_NOT_FOUND) {
            return NK_NOT_FOUND;
        }
        err = inner(cursor, err);
        if (err == NK_OK) {
            err = enter(cursor, cursor->at_top.value, LSM_CACHE_KEEP, &cursor->index,
                        &cursor->at_index);
        }
        if (err != NK_OK) {
            return err;
        }
        err = lsm_block_next(&cursor->at_index);
    }
    err = inner(cursor, err);
    if (err == NK_OK) {
        err =
            enter(cursor, cursor->at_index.value, LSM_CACHE_ONCE, &cursor->data, &cursor->at_data);
    }
    return err;
}

static enum nk_err take_record(struct lsm_table_cursor *cursor)
{
    if (lsm_entry_decode(cursor->at_data.value, &cursor->entry, &cursor->value) != NK_OK) {
        return bad(cursor, "bad record");
    }
    return NK_OK;
}

enum nk_err lsm_table_cursor_next(struct lsm_table_cursor *cursor)
{
    enum nk_err err = lsm_block_next(&cursor->at_data);
    if (err == NK_NOT_FOUND) {
        err = next_block(cursor);
        if (err != NK_OK) {
            return err;
        }
        err = lsm_block_next(&cursor->at_data);
    }
    err = inner(cursor, err);
    return err == NK_OK ? take_record(cursor) : err;
}

/* The three levels down to the first key at or after `start`. */
static enum nk_err descend(struct lsm_table_cursor *cursor, struct nk_bytes start)
{
    enum nk_err err = lsm_block_seek(&cursor->at_top, start);
    if (err == NK_NOT_FOUND) {
        return NK_NOT_FOUND; /* `start` is behind the last separator */
    }
    err = inner(cursor, err);
    if (err == NK_OK) {
        err =
            enter(cursor, cursor->at_top.value, LSM_CACHE_KEEP, &cursor->index, &cursor->at_index);
    }
    if (err == NK_OK) {
        err = inner(cursor, lsm_block_seek(&cursor->at_index, start));
    }
    if (err == NK_OK) {
        err =
            enter(cursor, cursor->at_index.value, LSM_CACHE_ONCE, &cursor->data, &cursor->at_data);
    }
    if (err != NK_OK) {
        return err;
    }
    err = lsm_block_seek(&cursor->at_data, start);
    if (err == NK_NOT_FOUND) { /* between the last key of this block and its separator */
        return lsm_table_cursor_next(cursor);
    }
    err = inner(cursor, err);
    return err == NK_OK ? take_record(cursor) : err;
}

enum nk_err lsm_table_cursor_open(struct lsm_table_cursor *cursor, struct lsm_table *table,
                                  struct nk_bytes start)
{
    cursor->table = table;
    cursor->top = NULL;
    cursor->index = NULL;
    cursor->data = NULL;
    const struct lsm_footer *footer = NULL;
    enum nk_err err = lsm_table_footer(table, LSM_DISK, &footer);
    if (err == NK_OK) {
        err = lsm_table_block(table, footer->index, LSM_CACHE_KEEP, LSM_DISK, &cursor->top);
    }
    if (err == NK_OK && lsm_block_open(&cursor->at_top, lsm_cached_bytes(cursor->top)) != NK_OK) {
        err = lsm_table_fault(table, NK_CORRUPT, footer->index.offset, "bad block");
    }
    return err == NK_OK ? descend(cursor, start) : err;
}

void lsm_table_cursor_close(struct lsm_table_cursor *cursor)
{
    lsm_cached_release(&cursor->top);
    lsm_cached_release(&cursor->index);
    lsm_cached_release(&cursor->data);
}
