/* The index is walked like any other reader does it, but its blocks are not offered to the cache:
 * the tables that are compacted are about to go.  Data blocks lie one behind the other, so what is
 * read ahead is used to the end. */

#include "services/shardhost/lsm/scan.h"

#include "services/shardhost/lsm/table_format.h"

static enum nk_err bad(struct lsm_scan *scan, const char *what)
{
    return lsm_table_fault(scan->table, NK_CORRUPT, scan->block_offset, what);
}

static void close_index(struct lsm_scan *scan)
{
    lsm_cached_release(&scan->top);
    lsm_cached_release(&scan->index);
}

void lsm_scan_deinit(struct lsm_scan *scan)
{
    close_index(scan);
    nk_buf_deinit(&scan->ahead);
    nk_buf_deinit(&scan->raw);
    scan->table = NULL;
}

/* ---- Blocks ---- */

/* The handle in an index entry. */
static enum nk_err handle_of(struct lsm_scan *scan, struct nk_bytes bytes,
                             struct lsm_handle *out_handle)
{
    uint64_t limit = lsm_table_meta(scan->table)->size_bytes - LSM_FOOTER_BYTES;
    if (!lsm_handle_decode(bytes, limit, out_handle)) {
        return bad(scan, "bad handle");
    }
    scan->block_offset = out_handle->offset;
    return NK_OK;
}

static enum nk_err open_index(struct lsm_scan *scan, enum nk_err err, struct lsm_cached *block,
                              struct lsm_block_cursor *at)
{
    if (err == NK_OK && lsm_block_open(at, lsm_cached_bytes(block)) != NK_OK) {
        err = bad(scan, "bad block");
    }
    return err;
}

/* The index block that the current entry of the top index names. */
static enum nk_err enter_index(struct lsm_scan *scan)
{
    struct lsm_handle handle;
    enum nk_err err = handle_of(scan, scan->at_top.value, &handle);
    lsm_cached_release(&scan->index);
    if (err == NK_OK) {
        err = lsm_table_block_aside(scan->table, handle, &scan->index);
    }
    return open_index(scan, err, scan->index, &scan->at_index);
}

/* Makes the stored bytes at `handle` be in `ahead`. */
static enum nk_err read_ahead(struct lsm_scan *scan, struct lsm_handle handle,
                              const uint8_t **out_stored)
{
    size_t needed = (size_t)handle.size + LSM_TRAILER_BYTES;
    uint64_t ahead_end = scan->ahead_offset + scan->ahead.size;
    if (handle.offset < scan->ahead_offset || handle.offset + needed > ahead_end) {
        uint64_t end = nk_max_u64(handle.offset + needed, scan->data_end);
        size_t size =
            (size_t)nk_min_u64(end - handle.offset, nk_max_size(scan->ahead_bytes, needed));
        nk_buf_clear(&scan->ahead);
        uint8_t *bytes = nk_buf_extend(&scan->ahead, size);
        enum nk_err err = lsm_table_read(scan->table, handle.offset, bytes, size);
        if (err != NK_OK) {
            nk_buf_clear(&scan->ahead);
            return err;
        }
        scan->ahead_offset = handle.offset;
    }
    *out_stored = scan->ahead.data + (handle.offset - scan->ahead_offset);
    return NK_OK;
}

/* The data block that the current entry of the index names. */
static enum nk_err enter_data(struct lsm_scan *scan)
{
    struct lsm_handle handle;
    const uint8_t *stored = NULL;
    struct nk_bytes raw;
    enum nk_err err = handle_of(scan, scan->at_index.value, &handle);
    if (err == NK_OK) {
        err = read_ahead(scan, handle, &stored);
    }
    if (err == NK_OK) {
        err = lsm_table_unpack(scan->table, handle, stored, &scan->raw, &raw);
    }
    if (err == NK_OK && lsm_block_open(&scan->at_data, raw) != NK_OK) {
        err = bad(scan, "bad block");
    }
    return err;
}

/* ---- Walking ---- */

static enum nk_err take_record(struct lsm_scan *scan)
{
    if (lsm_entry_decode(scan->at_data.value, &scan->entry, &scan->value) != NK_OK) {
        return bad(scan, "bad record");
    }
    return NK_OK;
}

/* To the next data block; an index that leads nowhere means damage, not the end. */
static enum nk_err next_data(struct lsm_scan *scan)
{
    enum nk_err err = lsm_block_next(&scan->at_index);
    if (err == NK_NOT_FOUND) {
        err = lsm_block_next(&scan->at_top);
        if (err == NK_NOT_FOUND) {
            return NK_NOT_FOUND;
        }
        if (err == NK_OK) {
            err = enter_index(scan);
            if (err != NK_OK) {
                return err;
            }
            err = lsm_block_next(&scan->at_index);
        }
    }
    return err == NK_OK ? enter_data(scan) : bad(scan, "bad block");
}

enum nk_err lsm_scan_next(struct lsm_scan *scan)
{
    enum nk_err err = lsm_block_next(&scan->at_data);
    if (err == NK_NOT_FOUND) {
        err = next_data(scan);
        if (err != NK_OK) {
            return err;
        }
        err = lsm_block_next(&scan->at_data);
    }
    return err == NK_OK ? take_record(scan) : bad(scan, "bad block");
}

/* The three levels down to the first key at or after `start`. */
static enum nk_err descend(struct lsm_scan *scan, struct nk_bytes start)
{
    enum nk_err err = lsm_block_seek(&scan->at_top, start);
    if (err == NK_NOT_FOUND) {
        return NK_NOT_FOUND; /* `start` is behind the last separator */
    }
    err = err == NK_OK ? enter_index(scan) : bad(scan, "bad block");
    if (err != NK_OK) {
        return err;
    }
    err = lsm_block_seek(&scan->at_index, start);
    err = err == NK_OK ? enter_data(scan) : bad(scan, "bad block");
    if (err != NK_OK) {
        return err;
    }
    err = lsm_block_seek(&scan->at_data, start);
    if (err == NK_NOT_FOUND) { /* between the last key of this block and its separator */
        return lsm_scan_next(scan);
    }
    return err == NK_OK ? take_record(scan) : bad(scan, "bad block");
}

enum nk_err lsm_scan_open(struct lsm_scan *scan, struct lsm_table *table, struct nk_bytes start)
{
    close_index(scan);
    nk_buf_clear(&scan->ahead);
    scan->table = table;
    const struct lsm_footer *footer = NULL;
    enum nk_err err = lsm_table_footer(table, LSM_DISK, &footer);
    if (err != NK_OK) {
        return err;
    }
    scan->data_end = footer->filter.size > 0 ? footer->filter.offset : footer->index.offset;
    scan->block_offset = footer->index.offset;
    err = lsm_table_top_aside(table, footer->index, &scan->top);
    err = open_index(scan, err, scan->top, &scan->at_top);
    return err == NK_OK ? descend(scan, start) : err;
}
