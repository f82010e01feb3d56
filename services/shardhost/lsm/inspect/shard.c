/* A database as its manifest has it, compared with the files that are there.
 *
 * It may be a running one: tables come and go, and a manifest that was read before knows others.
 * So the text is made in memory, and made anew if the files are not those of the manifest and it is
 * no longer the one that was read. */

#include <stdlib.h>

#include "common/base/alloc.h"
#include "services/shardhost/lsm/inspect/manifest.h"
#include "services/shardhost/lsm/inspect/source.h"
#include "services/shardhost/lsm/inspect/table.h"
#include "services/shardhost/lsm/names.h"

#define ATTEMPTS_MAX 16

struct name {
    const char *text; /* in shard.name_bytes */
    uint64_t number;  /* of a table */
    bool is_table;
    bool is_named; /* by the manifest */
};

struct shard {
    const struct lsm_inspect *inspect;
    struct lsm_inspect to_text; /* the same, into `text` */
    struct nk_buf text;
    struct report report;
    struct nk_buf manifest;
    struct lsm_catalog catalog;
    struct nk_buf name_bytes; /* each with its NUL */
    struct name *names;       /* in their order */
    size_t name_count;
    bool unread; /* of a table; there is not enough memory */
    bool moving; /* a table is missing, or is there and not named */
};

static enum nk_err look_once(struct shard *shard);
static enum nk_err list_names(struct shard *shard);
static void leave_far_names(struct shard *shard);
static struct name *find_name(const struct shard *shard, const char *text);
static void write_levels(struct shard *shard);
static void write_table(struct shard *shard, const struct lsm_catalog_table *table);
static void write_files(struct shard *shard);

static void append_text(void *ctx, struct nk_bytes text)
{
    nk_buf_append(ctx, text);
}

static void shard_init(struct shard *shard, const struct lsm_inspect *inspect)
{
    memset(shard, 0, sizeof *shard);
    shard->inspect = inspect;
    shard->to_text = *inspect;
    shard->to_text.write = append_text;
    shard->to_text.ctx = &shard->text;
    report_init(&shard->report, &shard->to_text, LSM_MANIFEST_NAME);
    lsm_catalog_init(&shard->catalog);
}

static void shard_deinit(struct shard *shard)
{
    report_deinit(&shard->report);
    lsm_catalog_deinit(&shard->catalog);
    nk_buf_deinit(&shard->text);
    nk_buf_deinit(&shard->manifest);
    nk_buf_deinit(&shard->name_bytes);
    nk_free(shard->names);
}

/* Whether the manifest is another one by now. */
static bool has_moved(const struct shard *shard)
{
    struct nk_buf now = {0};
    enum nk_err err = source_read_manifest(shard->inspect->fs, LSM_MANIFEST_NAME, &now);
    bool moved =
        err == NK_OK && !nk_bytes_equal(nk_buf_bytes(&now), nk_buf_bytes(&shard->manifest));
    nk_buf_deinit(&now);
    return moved;
}

enum nk_err lsm_inspect_shard(const struct lsm_inspect *inspect, uint64_t *out_damage_count)
{
    enum nk_err err = NK_OK;
    bool again = true;
    for (size_t i = 0; again && i < ATTEMPTS_MAX; i++) {
        struct shard shard;
        shard_init(&shard, inspect);
        err = look_once(&shard);
        again = err == NK_OK && shard.moving && i + 1 < ATTEMPTS_MAX && has_moved(&shard);
        if (err == NK_OK && !again) {
            inspect->write(inspect->ctx, nk_buf_bytes(&shard.text));
            *out_damage_count = shard.report.damage_count;
            err = shard.unread ? NK_NO_SPACE : NK_OK;
        }
        shard_deinit(&shard);
    }
    return err;
}

/* Into the catalog; of the text, what is wrong with it. */
static enum nk_err read_manifest(struct shard *shard, bool *out_present)
{
    struct report *report = &shard->report;
    enum nk_err err = source_read_manifest(shard->inspect->fs, LSM_MANIFEST_NAME, &shard->manifest);
    *out_present = err == NK_OK;
    if (err != NK_OK) {
        return err == NK_NOT_FOUND ? NK_OK : err;
    }
    report->quiet = true;
    err = inspect_manifest_bytes(report, nk_buf_bytes(&shard->manifest), &shard->catalog);
    report->quiet = false;
    return err;
}

static enum nk_err look_once(struct shard *shard)
{
    struct report *report = &shard->report;
    bool present = false;
    report_begin(report, "shard");
    report_file(report, "name", "");
    report_end(report);
    enum nk_err err = read_manifest(shard, &present);
    if (err == NK_OK) {
        err = list_names(shard);
    }
    if (err != NK_OK) {
        return err;
    }
    if (present) {
        leave_far_names(shard);
        inspect_position(report, "position", &shard->catalog.position);
        report_begin(report, "next");
        report_number(report, "number", shard->catalog.number_next);
        report_end(report);
    } else if (find_name(shard, LSM_DROPPED_NAME) != NULL) {
        report_begin(report, "dropped");
        report_end(report);
    } else {
        bool any = false;
        for (size_t i = 0; i < shard->name_count; i++) {
            any |= shard->names[i].is_table;
        }
        if (!any) {
            return NK_NOT_FOUND;
        }
        report_damage(report, 0, "the manifest is missing");
    }
    write_levels(shard);
    write_files(shard);
    report_damage_count(report);
    return NK_OK;
}

/* ---- Names ---- */

static void take_name(void *visitor, const char *name)
{
    struct nk_buf *names = visitor;
    nk_buf_append(names, nk_bytes_of(name, strlen(name) + 1));
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct name *)a)->text, ((const struct name *)b)->text);
}

static enum nk_err list_names(struct shard *shard)
{
    struct nk_buf *bytes = &shard->name_bytes;
    enum nk_err err = nk_fs_list(shard->inspect->fs, "", take_name, bytes);
    if (err != NK_OK) {
        return err;
    }
    size_t count = 0;
    for (size_t i = 0; i < bytes->size; i++) {
        count += bytes->data[i] == 0;
    }
    shard->names = nk_alloc_zero(count + 1, sizeof *shard->names);
    for (size_t at = 0; at < bytes->size;) {
        struct name *name = &shard->names[shard->name_count++];
        name->text = (const char *)bytes->data + at;
        name->is_table = lsm_table_name_parse(name->text, &name->number);
        at += strlen(name->text) + 1;
    }
    qsort(shard->names, shard->name_count, sizeof *shard->names, by_name);
    return NK_OK;
}

/* A number that is far above the next one makes a file no table of this database. */
static void leave_far_names(struct shard *shard)
{
    for (size_t i = 0; i < shard->name_count; i++) {
        struct name *name = &shard->names[i];
        name->is_table =
            name->is_table && lsm_table_number_is_near(name->number, shard->catalog.number_next);
    }
}

static struct name *find_name(const struct shard *shard, const char *text)
{
    struct name wanted = {.text = text};
    return bsearch(&wanted, shard->names, shard->name_count, sizeof *shard->names, by_name);
}

/* ---- Levels ---- */

static void write_level(struct shard *shard, const struct lsm_catalog_table *tables, size_t count)
{
    struct report *report = &shard->report;
    uint64_t bytes = 0;
    uint64_t records = 0;
    uint64_t tombstones = 0;
    for (size_t i = 0; i < count; i++) {
        bytes += tables[i].meta.size_bytes;
        records += tables[i].meta.record_count;
        tombstones += tables[i].meta.tombstone_count;
    }
    report_begin(report, "level");
    report_number(report, "number", tables[0].level);
    report_number(report, "tables", count);
    report_number(report, "bytes", bytes);
    report_number(report, "records", records);
    report_number(report, "tombstones", tombstones);
    report_end(report);
    for (size_t i = 0; i < count; i++) {
        write_table(shard, &tables[i]);
    }
}

static void write_levels(struct shard *shard)
{
    const struct lsm_catalog *catalog = &shard->catalog;
    for (size_t begin = 0; begin < catalog->table_count;) {
        size_t end = begin;
        while (end < catalog->table_count &&
               catalog->tables[end].level == catalog->tables[begin].level) {
            end++;
        }
        write_level(shard, catalog->tables + begin, end - begin);
        begin = end;
    }
}

/* ---- Tables ---- */

static bool says_the_same(const struct lsm_table_meta *a, const struct lsm_table_meta *b)
{
    return a->size_bytes == b->size_bytes && a->digest == b->digest &&
           a->record_count == b->record_count && a->tombstone_count == b->tombstone_count &&
           a->index_min == b->index_min && a->index_max == b->index_max &&
           a->expire_count == b->expire_count && a->expire_min_ms == b->expire_min_ms &&
           a->expire_max_ms == b->expire_max_ms && nk_bytes_equal(a->smallest, b->smallest) &&
           nk_bytes_equal(a->largest, b->largest);
}

/* What footer and properties tell; damage goes to `found`. */
static enum nk_err check_summary(struct shard *shard, const struct lsm_table_meta *meta,
                                 struct report *found)
{
    struct table_summary summary = {.meta = {.number = meta->number}};
    uint64_t offset = 0;
    const char *what = NULL;
    enum nk_err err =
        inspect_table_summary(shard->inspect->fs, found->file, &summary, &offset, &what);
    if (err == NK_CORRUPT) {
        report_damage(found, offset, what);
    } else if (err == NK_OK && !says_the_same(meta, &summary.meta)) {
        report_damage(found, 0, "the table is not what the manifest says");
    }
    nk_buf_deinit(&summary.bytes);
    return err;
}

/* Every block; damage goes to `found`. */
static enum nk_err check_blocks(struct shard *shard, struct report *found)
{
    struct nk_buf file = {0};
    enum nk_err err = source_read(shard->inspect->fs, found->file, INSPECT_TABLE_BYTES_MAX, &file);
    if (err == NK_OK) {
        err = inspect_table_bytes(found, nk_buf_bytes(&file));
    }
    nk_buf_deinit(&file);
    return err;
}

static enum nk_err check_table(struct shard *shard, const struct lsm_table_meta *meta,
                               struct report *found)
{
    enum nk_err err = shard->inspect->check ? check_blocks(shard, found) : NK_OK;
    if (err == NK_OK && found->damage_count == 0) {
        err = check_summary(shard, meta, found);
    }
    if (err == NK_NO_SPACE) {
        shard->unread = true;
    } else if (err == NK_NOT_FOUND) {
        report_damage(found, 0, "the table is missing");
    } else if (err == NK_FORMAT_TOO_NEW) {
        report_damage(found, 0, "written by a later version");
    } else if (err != NK_OK && found->damage_count == 0) {
        report_damage(found, 0, "cannot be read");
    }
    return err;
}

static void write_table(struct shard *shard, const struct lsm_catalog_table *table)
{
    struct report *report = &shard->report;
    const struct lsm_table_meta *meta = &table->meta;
    char file[LSM_FILE_NAME_BYTES_MAX];
    struct nk_buf damage = {0};
    struct lsm_inspect to_damage = shard->to_text;
    struct report found;
    lsm_table_name(meta->number, file);
    to_damage.ctx = &damage;
    report_init(&found, &to_damage, file);
    found.quiet = true;
    enum nk_err err = check_table(shard, meta, &found);
    shard->moving |= err == NK_NOT_FOUND;
    struct name *name = find_name(shard, file);
    if (name != NULL) {
        name->is_named = true;
    }
    report_begin(report, "table");
    report_number(report, "level", table->level);
    report_file(report, "file", file);
    report_number(report, "bytes", meta->size_bytes);
    report_hex(report, "digest", meta->digest);
    report_meta(report, meta, true);
    report_word(report, "state",
                err == NK_NOT_FOUND      ? "missing"
                : found.damage_count > 0 ? "damaged"
                : err == NK_NO_SPACE     ? "unread"
                                         : "ok");
    report_end(report);
    nk_buf_append(&shard->text, nk_buf_bytes(&damage));
    report->damage_count += found.damage_count;
    report_deinit(&found);
    nk_buf_deinit(&damage);
}

/* ---- What the manifest does not name ---- */

static uint64_t write_orphan(struct shard *shard, const struct name *name)
{
    struct report *report = &shard->report;
    struct table_summary summary = {.meta = {.number = name->number}};
    uint64_t offset = 0;
    const char *what = NULL;
    enum nk_err err =
        inspect_table_summary(shard->inspect->fs, name->text, &summary, &offset, &what);
    report_begin(report, "orphan");
    report_file(report, "file", name->text);
    report_number(report, "bytes", summary.meta.size_bytes);
    if (err == NK_OK) {
        report_meta(report, &summary.meta, true);
    } else {
        report_word(report, "state", err == NK_NOT_FOUND ? "gone" : "unfinished");
    }
    report_end(report);
    nk_buf_deinit(&summary.bytes);
    return summary.meta.size_bytes;
}

static void write_files(struct shard *shard)
{
    struct report *report = &shard->report;
    uint64_t orphans = 0;
    uint64_t orphan_bytes = 0;
    for (size_t i = 0; i < shard->name_count; i++) {
        const struct name *name = &shard->names[i];
        if (name->is_table && !name->is_named) {
            orphans++;
            shard->moving = true;
            orphan_bytes += write_orphan(shard, name);
        } else if (!name->is_table && strcmp(name->text, LSM_MANIFEST_NAME) != 0) {
            report_begin(report, "other");
            report_file(report, "file", name->text);
            report_end(report);
        }
    }
    uint64_t bytes = 0;
    uint64_t records = 0;
    for (size_t i = 0; i < shard->catalog.table_count; i++) {
        bytes += shard->catalog.tables[i].meta.size_bytes;
        records += shard->catalog.tables[i].meta.record_count;
    }
    report_begin(report, "total");
    report_number(report, "tables", shard->catalog.table_count);
    report_number(report, "bytes", bytes);
    report_number(report, "records", records);
    report_number(report, "orphans", orphans);
    report_number(report, "orphan_bytes", orphan_bytes);
    report_end(report);
}
