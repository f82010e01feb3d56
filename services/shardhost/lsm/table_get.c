/* A point lookup in one table: key range, filter, top index, index, data; each may end it. */

#include "services/shardhost/lsm/filter.h"
#include "services/shardhost/lsm/table_format.h"

/* The first entry at or after `key` in a block that lies at `offset`. */
static enum nk_err seek_in(struct lsm_table *table, const struct lsm_cached *block, uint64_t offset,
                           struct nk_bytes key, struct lsm_block_cursor *cursor)
{
    enum nk_err err = lsm_block_open(cursor, lsm_cached_bytes(block));
    if (err == NK_OK) {
        err = lsm_block_seek(cursor, key);
    }
    return err == NK_CORRUPT ? lsm_table_fault(table, NK_CORRUPT, offset, "bad block") : err;
}

static enum nk_err handle_at(struct lsm_table *table, const struct lsm_block_cursor *cursor,
                             uint64_t offset, struct lsm_handle *out_handle)
{
    uint64_t limit = lsm_table_meta(table)->size_bytes - LSM_FOOTER_BYTES;
    return lsm_handle_decode(cursor->value, limit, out_handle)
               ? NK_OK
               : lsm_table_fault(table, NK_CORRUPT, offset, "bad handle");
}

/* What the top index says: the handle in the first entry at or after `key`. */
static enum nk_err seek_top(struct lsm_table *table, struct lsm_handle from,
                            struct lsm_lookup *lookup, struct nk_bytes key,
                            struct lsm_handle *out_handle)
{
    struct lsm_block_cursor cursor;
    struct lsm_cached *block = NULL;
    struct lsm_cached *held = NULL;
    enum nk_err err = lsm_table_kept(table, LSM_KEPT_TOP, from, lookup, &block, &held);
    if (err == NK_OK) {
        err = seek_in(table, block, from.offset, key, &cursor);
    }
    if (err == NK_OK) {
        err = handle_at(table, &cursor, from.offset, out_handle);
    }
    lsm_cached_release(&held);
    return err;
}

/* What an index block says, likewise. */
static enum nk_err seek_index(struct lsm_table *table, struct lsm_handle from,
                              struct lsm_lookup *lookup, struct nk_bytes key,
                              struct lsm_handle *out_handle)
{
    struct lsm_block_cursor cursor;
    struct lsm_cached *block = NULL;
    enum nk_err err = lsm_table_block(table, from, LSM_CACHE_KEEP, lookup, &block);
    if (err == NK_OK) {
        err = seek_in(table, block, from.offset, key, &cursor);
    }
    if (err == NK_OK) {
        err = handle_at(table, &cursor, from.offset, out_handle);
    }
    lsm_cached_release(&block);
    return err;
}

/* NK_OK: the filter lets the key through. */
static enum nk_err ask_filter(struct lsm_table *table, struct lsm_handle handle, uint64_t hash,
                              struct lsm_lookup *lookup)
{
    if (handle.size == 0) {
        return NK_OK;
    }
    struct lsm_cached *filter = NULL;
    struct lsm_cached *held = NULL;
    enum nk_err err = lsm_table_kept(table, LSM_KEPT_FILTER, handle, lookup, &filter, &held);
    if (err == NK_OK && !lsm_filter_may_contain(lsm_cached_bytes(filter), hash)) {
        err = NK_NOT_FOUND;
    }
    lsm_cached_release(&held);
    return err;
}

/* The entry of `key` in the data block at `handle`. */
static enum nk_err get_record(struct lsm_table *table, struct lsm_handle handle,
                              struct lsm_lookup *lookup, struct nk_bytes key,
                              struct lsm_entry *out_entry, struct nk_buf *out_value)
{
    struct lsm_block_cursor cursor;
    struct lsm_cached *block = NULL;
    struct nk_bytes value;
    enum nk_err err = lsm_table_block(table, handle, LSM_CACHE_ONCE, lookup, &block);
    if (err == NK_OK) {
        err = seek_in(table, block, handle.offset, key, &cursor);
    }
    if (err != NK_OK) {
        lsm_cached_release(&block);
        return err;
    }
    if (!nk_bytes_equal(lsm_block_key(&cursor), key)) {
        err = NK_NOT_FOUND;
    } else if (lsm_entry_decode(cursor.value, out_entry, &value) != NK_OK) {
        err = lsm_table_fault(table, NK_CORRUPT, handle.offset, "bad record");
    } else if (out_value != NULL) {
        nk_buf_clear(out_value);
        nk_buf_append(out_value, value);
    }
    lsm_cached_release(&block);
    return err;
}

enum nk_err lsm_table_get(struct lsm_table *table, struct nk_bytes key, uint64_t hash,
                          struct lsm_lookup *lookup, struct lsm_entry *out_entry,
                          struct nk_buf *out_value)
{
    const struct lsm_table_meta *meta = lsm_table_meta(table);
    if (nk_bytes_compare(key, meta->smallest) < 0 || nk_bytes_compare(key, meta->largest) > 0) {
        return NK_NOT_FOUND;
    }
    const struct lsm_footer *footer = NULL;
    enum nk_err err = lsm_table_footer(table, lookup->reach, &footer);
    if (err == NK_OK) {
        err = ask_filter(table, footer->filter, hash, lookup);
    }
    struct lsm_handle handle;
    if (err == NK_OK) {
        err = seek_top(table, footer->index, lookup, key, &handle);
    }
    if (err == NK_OK) {
        err = seek_index(table, handle, lookup, key, &handle);
    }
    if (err == NK_OK) {
        err = get_record(table, handle, lookup, key, out_entry, out_value);
    }
    return err;
}
