/* A point lookup in one table: key range, filter, top index, index, data; each may end it. */

#include "services/shardhost/lsm/filter.h"
#include "services/shardhost/lsm/table_format.h"

/* The first entry at or after `key` in the block at `handle`.  *out_block is held when NK_OK. */
static enum nk_err seek_block(struct lsm_table *table, struct lsm_handle handle,
                              enum lsm_cache_class class, enum lsm_reach reach, struct nk_bytes key,
                              struct lsm_block_cursor *cursor, struct lsm_cached **out_block)
{
    struct lsm_cached *block = NULL;
    enum nk_err err = lsm_table_block(table, handle, class, reach, &block);
    if (err != NK_OK) {
        return err;
    }
    err = lsm_block_open(cursor, lsm_cached_bytes(block));
    if (err == NK_OK) {
        err = lsm_block_seek(cursor, key);
    }
    if (err == NK_CORRUPT) {
        err = lsm_table_fault(table, NK_CORRUPT, handle.offset, "bad block");
    }
    if (err != NK_OK) {
        lsm_cached_release(&block);
        return err;
    }
    *out_block = block;
    return NK_OK;
}

/* Follows one index level: the handle in the first entry at or after `key`. */
static enum nk_err seek_handle(struct lsm_table *table, struct lsm_handle from,
                               enum lsm_reach reach, struct nk_bytes key,
                               struct lsm_handle *out_handle)
{
    struct lsm_block_cursor cursor;
    struct lsm_cached *block = NULL;
    enum nk_err err = seek_block(table, from, LSM_CACHE_KEEP, reach, key, &cursor, &block);
    if (err != NK_OK) {
        return err;
    }
    uint64_t limit = lsm_table_meta(table)->size_bytes - LSM_FOOTER_BYTES;
    if (!lsm_handle_decode(cursor.value, limit, out_handle)) {
        err = lsm_table_fault(table, NK_CORRUPT, from.offset, "bad handle");
    }
    lsm_cached_release(&block);
    return err;
}

/* NK_OK: the filter lets the key through. */
static enum nk_err ask_filter(struct lsm_table *table, struct lsm_handle handle, uint64_t hash,
                              enum lsm_reach reach)
{
    if (handle.size == 0) {
        return NK_OK;
    }
    struct lsm_cached *filter = NULL;
    enum nk_err err = lsm_table_block(table, handle, LSM_CACHE_KEEP, reach, &filter);
    if (err != NK_OK) {
        return err;
    }
    bool passes = lsm_filter_may_contain(lsm_cached_bytes(filter), hash);
    lsm_cached_release(&filter);
    return passes ? NK_OK : NK_NOT_FOUND;
}

/* The entry of `key` in the data block at `handle`. */
static enum nk_err get_record(struct lsm_table *table, struct lsm_handle handle,
                              enum lsm_reach reach, struct nk_bytes key,
                              struct lsm_entry *out_entry, struct nk_buf *out_value)
{
    struct lsm_block_cursor cursor;
    struct lsm_cached *block = NULL;
    enum nk_err err = seek_block(table, handle, LSM_CACHE_ONCE, reach, key, &cursor, &block);
    if (err != NK_OK) {
        return err;
    }
    struct nk_bytes value;
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
                          enum lsm_reach reach, struct lsm_entry *out_entry,
                          struct nk_buf *out_value)
{
    const struct lsm_table_meta *meta = lsm_table_meta(table);
    if (nk_bytes_compare(key, meta->smallest) < 0 || nk_bytes_compare(key, meta->largest) > 0) {
        return NK_NOT_FOUND;
    }
    const struct lsm_footer *footer = NULL;
    enum nk_err err = lsm_table_footer(table, reach, &footer);
    if (err == NK_OK) {
        err = ask_filter(table, footer->filter, hash, reach);
    }
    struct lsm_handle handle;
    if (err == NK_OK) {
        err = seek_handle(table, footer->index, reach, key, &handle);
    }
    if (err == NK_OK) {
        err = seek_handle(table, handle, reach, key, &handle);
    }
    if (err == NK_OK) {
        err = get_record(table, handle, reach, key, out_entry, out_value);
    }
    return err;
}
