/* A table, block by block in the order of the file (FORMAT.md, "Table").
 *
 * First the plan: footer, top index and index blocks say where blocks are, as far as they can be
 * read.  Blocks lie side by side, so a place that the plan leaves out has blocks whose handles were
 * lost: those are found by their trailers (look_search.c).  So a byte that is damaged costs the
 * block it is in, wherever it is. */

#include "services/shardhost/lsm/inspect/table.h"

#include <stdlib.h>

#include "common/base/alloc.h"
#include "services/shardhost/lsm/compress.h"
#include "services/shardhost/lsm/inspect/look.h"
#include "services/shardhost/lsm/inspect/source.h"

static void plan(struct look *look);
static void plan_block(struct look *look, enum look_kind kind, struct lsm_handle handle,
                       const struct nk_bytes *separator);
static void plan_below(struct look *look, enum look_kind kind, struct lsm_handle handle);
static int by_offset(const void *a, const void *b);
static void walk(struct look *look);
static void conclude(struct look *look);

enum nk_err lsm_inspect_table(const struct lsm_inspect *inspect, const char *name,
                              uint64_t *out_damage_count)
{
    struct nk_buf file = {0};
    struct report report;
    report_init(&report, inspect, name);
    enum nk_err err = source_read(inspect->fs, name, INSPECT_TABLE_BYTES_MAX, &file);
    if (err == NK_OK) {
        err = inspect_table_bytes(&report, nk_buf_bytes(&file));
    }
    if (err == NK_OK) {
        report_damage_count(&report);
        *out_damage_count = report.damage_count;
    }
    report_deinit(&report);
    nk_buf_deinit(&file);
    return err;
}

/* The footer's line.  NK_CORRUPT was told. */
static enum nk_err read_footer(struct look *look)
{
    struct report *report = look->report;
    if (look->file.size < LSM_FOOTER_BYTES) {
        report_damage(report, 0, "table is too short");
        return NK_CORRUPT;
    }
    uint64_t offset = look->file.size - LSM_FOOTER_BYTES;
    enum nk_err err = lsm_footer_decode(look->file.data + offset, look->file.size, &look->footer);
    if (err != NK_OK) {
        if (err == NK_CORRUPT) {
            report_damage(report, offset, "bad footer");
        }
        return err;
    }
    const struct lsm_footer *footer = &look->footer;
    report_begin(report, "footer");
    report_number(report, "offset", footer->start);
    report_number(report, "version", footer->version);
    report_extent(report, "top", footer->index.offset, footer->index.size);
    if (footer->filter.size > 0) {
        report_extent(report, "filter", footer->filter.offset, footer->filter.size);
    }
    report_extent(report, "properties", footer->properties.offset, footer->properties.size);
    report_hex(report, "digest", footer->digest);
    report_end(report);
    look->has_footer = true;
    look->limit = footer->start;
    return NK_OK;
}

enum nk_err inspect_table_bytes(struct report *report, struct nk_bytes file)
{
    struct look look = {
        .report = report,
        .file = file,
        .limit = file.size,
        .search_left = source_search_bytes(file.size),
    };
    report_begin(report, "table");
    report_file(report, "name", report->file);
    report_number(report, "bytes", file.size);
    report_end(report);
    enum nk_err err = read_footer(&look);
    if (err != NK_FORMAT_TOO_NEW) {
        err = NK_OK;
        plan(&look);
        walk(&look);
        conclude(&look);
    }
    nk_free(look.blocks);
    nk_buf_deinit(&look.separators);
    nk_buf_deinit(&look.filter);
    nk_buf_deinit(&look.room);
    nk_buf_deinit(&look.key);
    nk_buf_deinit(&look.separator);
    nk_buf_deinit(&look.smallest);
    nk_buf_deinit(&look.properties_bytes);
    return err;
}

const char *look_unpack(struct look *look, struct lsm_handle handle, uint8_t *out_way,
                        struct nk_bytes *out_raw)
{
    uint32_t raw_size = 0;
    struct nk_bytes stored = nk_bytes_of(look->file.data + handle.offset, (size_t)handle.size);
    if (!lsm_trailer_decode(stored.data, stored.size, handle.offset, out_way, &raw_size)) {
        return "bad checksum";
    }
    nk_buf_clear(&look->room);
    uint8_t *raw = nk_buf_extend(&look->room, raw_size);
    if (lsm_decompress(*out_way, stored, raw, raw_size) != NK_OK) {
        return "cannot decompress";
    }
    *out_raw = nk_buf_bytes(&look->room);
    return NULL;
}

/* ---- The plan ---- */

static void plan(struct look *look)
{
    if (!look->has_footer) {
        return;
    }
    if (look->footer.filter.size > 0) {
        plan_block(look, LOOK_FILTER, look->footer.filter, NULL);
        look_take_filter(look);
    }
    plan_block(look, LOOK_PROPERTIES, look->footer.properties, NULL);
    plan_block(look, LOOK_TOP, look->footer.index, NULL);
    plan_below(look, LOOK_INDEX, look->footer.index);
    size_t count = look->block_count;
    for (size_t i = 0; i < count; i++) {
        if (look->blocks[i].kind == LOOK_INDEX) {
            plan_below(look, LOOK_DATA, look->blocks[i].handle);
        }
    }
    qsort(look->blocks, look->block_count, sizeof *look->blocks, by_offset);
}

static void plan_block(struct look *look, enum look_kind kind, struct lsm_handle handle,
                       const struct nk_bytes *separator)
{
    if (look->block_count == look->block_capacity) {
        look->block_capacity = look->block_capacity == 0 ? 16 : 2 * look->block_capacity;
        look->blocks = nk_realloc(look->blocks, look->block_capacity * sizeof *look->blocks);
    }
    struct look_block *block = &look->blocks[look->block_count++];
    *block = (struct look_block){.kind = kind, .handle = handle};
    if (separator != NULL) {
        block->has_separator = true;
        block->separator_at = look->separators.size;
        block->separator_size = separator->size;
        nk_buf_append(&look->separators, *separator);
    }
}

/* The blocks that an index names; what is wrong with it is told when the walk comes to it. */
static void plan_below(struct look *look, enum look_kind kind, struct lsm_handle handle)
{
    uint8_t way = 0;
    struct nk_bytes raw;
    struct lsm_block_cursor cursor;
    if (look_unpack(look, handle, &way, &raw) != NULL || lsm_block_open(&cursor, raw) != NK_OK) {
        return;
    }
    while (lsm_block_next(&cursor) == NK_OK) {
        struct lsm_handle below;
        struct nk_bytes separator = lsm_block_key(&cursor);
        if (lsm_handle_decode(cursor.value, look->limit, &below)) {
            plan_block(look, kind, below, &separator);
        }
    }
}

/* Of several at one offset the order is that of their kinds and sizes: any will do, but always the
 * same. */
static int by_offset(const void *a, const void *b)
{
    const struct look_block *left = a;
    const struct look_block *right = b;
    if (left->handle.offset != right->handle.offset) {
        return left->handle.offset < right->handle.offset ? -1 : 1;
    }
    if (left->kind != right->kind) {
        return left->kind < right->kind ? -1 : 1;
    }
    return (left->handle.size > right->handle.size) - (left->handle.size < right->handle.size);
}

/* ---- The walk ---- */

static void walk(struct look *look)
{
    uint64_t offset = 0;
    for (size_t i = 0; i < look->block_count; i++) {
        const struct look_block *block = &look->blocks[i];
        if (block->handle.offset < offset) {
            look->lost = true;
            report_damage(look->report, block->handle.offset, "a handle leads into another block");
            continue;
        }
        look_search(look, offset, block->handle.offset);
        look_at_block(look, block);
        offset = block->handle.offset + block->handle.size + LSM_TRAILER_BYTES;
    }
    look_search(look, offset, look->limit);
}

static bool same_meta(const struct look *look)
{
    const struct lsm_table_meta *seen = &look->seen;
    const struct lsm_table_meta *told = &look->properties;
    return seen->record_count == told->record_count &&
           seen->tombstone_count == told->tombstone_count && seen->index_min == told->index_min &&
           seen->index_max == told->index_max && seen->expire_count == told->expire_count &&
           seen->expire_min_ms == told->expire_min_ms &&
           seen->expire_max_ms == told->expire_max_ms &&
           nk_bytes_equal(nk_buf_bytes(&look->smallest), told->smallest) &&
           nk_bytes_equal(nk_buf_bytes(&look->key), told->largest);
}

static void conclude(struct look *look)
{
    struct report *report = look->report;
    const struct lsm_table_meta *seen = &look->seen;
    report_begin(report, "total");
    report_number(report, "blocks", look->data_blocks + look->other_blocks);
    report_number(report, "data", look->data_blocks);
    report_meta(report, seen, false);
    report_end(report);
    if (!look->lost && look->has_properties && !same_meta(look)) {
        report_damage(report, look->properties_offset, "the properties do not match the records");
    }
    if (!look->lost && look->has_footer && look->footer.version > 1 &&
        seen->digest != look->footer.digest) {
        report_damage(report, look->limit, "the digest is not that of the blocks");
    }
}
