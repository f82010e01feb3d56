/* A manifest, slot by slot and record by record (FORMAT.md, "Manifest").
 *
 * The engine stops at the first record that is not whole.  Here the next one that is whole is
 * looked for: its checksum covers its place, so what is found is one. */

#include "services/shardhost/lsm/inspect/manifest.h"

#include <stdlib.h>

#include "services/shardhost/lsm/inspect/source.h"
#include "services/shardhost/lsm/manifest.h"

enum nk_err lsm_inspect_manifest(const struct lsm_inspect *inspect, const char *name,
                                 uint64_t *out_damage_count)
{
    struct nk_buf file = {0};
    struct report report;
    struct lsm_catalog catalog;
    report_init(&report, inspect, name);
    lsm_catalog_init(&catalog);
    enum nk_err err = source_read_manifest(inspect->fs, name, &file);
    if (err == NK_OK) {
        err = inspect_manifest_bytes(&report, nk_buf_bytes(&file), &catalog);
    }
    if (err == NK_OK) {
        inspect_position(&report, "position", &catalog.position);
        report_begin(&report, "catalog");
        report_number(&report, "next", catalog.number_next);
        report_number(&report, "tables", catalog.table_count);
        report_end(&report);
        report_damage_count(&report);
        *out_damage_count = report.damage_count;
    }
    lsm_catalog_deinit(&catalog);
    report_deinit(&report);
    nk_buf_deinit(&file);
    return err;
}

/* ---- Slots ---- */

static enum nk_err look_at_slots(struct report *report, struct nk_bytes file,
                                 uint64_t *out_promised)
{
    struct lsm_slot newest = {.length = 0};
    for (uint64_t i = 0; i < LSM_SLOT_COUNT; i++) {
        struct lsm_slot slot = {.length = 0};
        uint64_t offset = i * LSM_SLOT_STRIDE;
        enum nk_err err = lsm_slot_decode(file.data + offset, &slot);
        if (err == NK_FORMAT_TOO_NEW) {
            return err;
        }
        report_begin(report, "slot");
        report_number(report, "offset", offset);
        report_word(report, "state", err == NK_OK ? "ok" : "damaged");
        if (err == NK_OK) {
            report_number(report, "sequence", slot.sequence);
            report_number(report, "length", slot.length);
        }
        report_end(report);
        if (err != NK_OK) {
            report_damage(report, offset, "bad slot");
        }
    }
    enum nk_err err = lsm_slot_newest(file, &newest);
    *out_promised = newest.length;
    if (err == NK_OK && newest.length <= LSM_RECORDS_AT) {
        report_damage(report, 0, "no record is promised");
    }
    return err == NK_FORMAT_TOO_NEW ? err : NK_OK;
}

/* ---- Records ---- */

void inspect_position(struct report *report, const char *word, const struct lsm_position *position)
{
    report_begin(report, word);
    report_version(report, "version", position->applied);
    report_number(report, "time_ms", position->time_ms);
    report_bytes(report, "state", nk_bytes_of(position->state, position->state_size));
    report_end(report);
}

static void write_edit(struct report *report, const struct lsm_edit *edit)
{
    switch (edit->kind) {
    case LSM_EDIT_POSITION:
        inspect_position(report, "edit position", &edit->position);
        return;
    case LSM_EDIT_NUMBER_NEXT:
        report_begin(report, "edit next");
        report_number(report, "number", edit->number_next);
        break;
    case LSM_EDIT_ADD:
        report_begin(report, "edit add");
        report_number(report, "level", edit->level);
        report_number(report, "number", edit->meta.number);
        report_number(report, "bytes", edit->meta.size_bytes);
        report_hex(report, "digest", edit->meta.digest);
        report_meta(report, &edit->meta, true);
        break;
    case LSM_EDIT_REMOVE:
        report_begin(report, "edit remove");
        report_number(report, "level", edit->level);
        report_number(report, "number", edit->meta.number);
        break;
    }
    report_end(report);
}

static void look_at_record(struct report *report, uint64_t offset, struct nk_bytes payload,
                           uint64_t promised, struct lsm_catalog *catalog)
{
    uint64_t size = LSM_RECORD_HEAD_BYTES + payload.size;
    report_begin(report, "record");
    report_number(report, "offset", offset);
    report_number(report, "bytes", size);
    if (offset + size > promised) {
        report_flag(report, "unpromised");
    }
    report_end(report);
    struct nk_reader reader = nk_reader_of(payload);
    struct lsm_edit edit = {.level = 0};
    enum nk_err err;
    while ((err = lsm_edit_next(&reader, &edit)) == NK_OK) {
        write_edit(report, &edit);
    }
    if (err != NK_NOT_FOUND) {
        report_damage(report, offset, "the record has an edit that cannot be read");
    }
    if (lsm_catalog_apply(catalog, payload) != NK_OK && err == NK_NOT_FOUND) {
        report_damage(report, offset, "the record does not fit what is before it");
    }
}

/* The next place from `offset` on where a whole record starts, or the end; looks at no more than
 * *left bytes. */
static uint64_t find_record(struct nk_bytes file, uint64_t offset, uint64_t *left)
{
    for (; offset + LSM_RECORD_HEAD_BYTES < file.size; offset++) {
        uint64_t size = nk_get_u32(file.data + offset + 4);
        struct nk_bytes payload;
        if (size > file.size - offset - LSM_RECORD_HEAD_BYTES) {
            continue;
        }
        if (*left < size) {
            break;
        }
        *left -= size;
        if (lsm_record_decode(file, offset, &payload)) {
            return offset;
        }
    }
    return file.size;
}

/* What is not a record from `offset` to `next`, of which `promised` bytes of the file should be. */
static void tell_gap(struct report *report, uint64_t offset, uint64_t next, uint64_t promised,
                     uint64_t file_size)
{
    bool torn = next == file_size && offset >= promised && offset > LSM_RECORDS_AT;
    report_begin(report, torn ? "tail" : "lost");
    report_number(report, "offset", offset);
    report_number(report, "bytes", next - offset);
    report_end(report);
    if (!torn) {
        report_damage(report, offset, "bad record");
    }
}

/* ---- Levels ---- */

/* As the engine has them: in level 0 the newest first, in the others by keys. */
static int by_level(const void *a, const void *b)
{
    const struct lsm_catalog_table *left = a;
    const struct lsm_catalog_table *right = b;
    if (left->level != right->level) {
        return left->level < right->level ? -1 : 1;
    }
    if (left->level > 0) {
        int order = nk_bytes_compare(left->meta.smallest, right->meta.smallest);
        if (order != 0) {
            return order;
        }
    } else if (left->meta.index_max != right->meta.index_max) {
        return left->meta.index_max > right->meta.index_max ? -1 : 1;
    }
    return left->meta.number < right->meta.number ? -1 : 1;
}

/* Whether the second table may stand behind the first one. */
static bool is_in_order(const struct lsm_catalog_table *first,
                        const struct lsm_catalog_table *second)
{
    return first->level == 0 ? first->meta.index_max > second->meta.index_max
                             : nk_bytes_compare(first->meta.largest, second->meta.smallest) < 0;
}

static void check_levels(struct report *report, struct lsm_catalog *catalog)
{
    struct lsm_catalog_table *tables = catalog->tables;
    if (catalog->table_count > 0) {
        qsort(tables, catalog->table_count, sizeof *tables, by_level);
    }
    for (size_t i = 1; i < catalog->table_count; i++) {
        if (tables[i - 1].level == tables[i].level && !is_in_order(&tables[i - 1], &tables[i])) {
            report_damage(report, 0, "two tables of one level overlap");
        }
    }
}

enum nk_err inspect_manifest_bytes(struct report *report, struct nk_bytes file,
                                   struct lsm_catalog *catalog)
{
    uint64_t promised = 0;
    uint64_t search_left = source_search_bytes(file.size);
    report_begin(report, "manifest");
    report_file(report, "name", report->file);
    report_number(report, "bytes", file.size);
    report_end(report);
    if (file.size < LSM_RECORDS_AT) {
        report_damage(report, 0, "manifest is too short");
        return NK_OK;
    }
    enum nk_err err = look_at_slots(report, file, &promised);
    if (err != NK_OK) {
        return err;
    }
    uint64_t offset = LSM_RECORDS_AT;
    while (offset < file.size) {
        struct nk_bytes payload;
        if (lsm_record_decode(file, offset, &payload)) {
            look_at_record(report, offset, payload, promised, catalog);
            offset += LSM_RECORD_HEAD_BYTES + payload.size;
        } else {
            uint64_t next = find_record(file, offset, &search_left);
            tell_gap(report, offset, next, promised, file.size);
            offset = next;
        }
    }
    if (file.size < promised || file.size == LSM_RECORDS_AT) {
        report_damage(report, file.size, "the file ends before what it promises");
    }
    check_levels(report, catalog);
    return NK_OK;
}
