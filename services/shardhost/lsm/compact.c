/* The order of promises: the bytes of all new tables, their names, then one manifest edit that
 * names them and no longer their inputs.  A crash before it leaves orphans, a crash after it leaves
 * the inputs as orphans.
 *
 * A record is left out
 *   - if a newer one of its key is among the inputs: whoever may still see the older one, a view or
 *     an iterator, holds the tables that it is in;
 *   - if it is dead, a tombstone or expired, and no table below the output has its key in its
 * range. A record that has expired with something below becomes a tombstone: dropped, it would
 * uncover what lies below.
 *
 * "Below" is looked up in the levels as they were when the compaction began.  They may change
 * meanwhile, but what is below stays below: compactions only move records down, and none that
 * touches this one's key range touches its levels (pick.c).
 *
 * Expired means: by the owner's time at the durable position.  After a crash the owner stands there
 * again, and applies his log anew; everything that he then finds dead was so the first time. */

#include "services/shardhost/lsm/compact.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "services/shardhost/lsm/db.h"

#define AHEAD_BYTES_ALL ((size_t)(2 * NK_MIB)) /* what all runs of a part read at once */
#define AHEAD_BYTES_MAX ((size_t)(512 * NK_KIB))
#define AHEAD_BYTES_MIN ((size_t)(32 * NK_KIB))
#define BELOW_MAX       10 /* tables of table_bytes in the next level under one output */

/* ---- Making and freeing ---- */

static void list_inputs(struct lsm_compaction *compaction)
{
    const struct lsm_pick *pick = &compaction->pick;
    const struct lsm_level *upper = &compaction->levels->levels[pick->from];
    const struct lsm_level *lower = &compaction->levels->levels[pick->to];
    compaction->removed_count = pick->upper_count + pick->lower_count;
    compaction->removed = nk_alloc_zero(compaction->removed_count, sizeof *compaction->removed);
    struct lsm_level_table *next = compaction->removed;
    for (size_t i = 0; i < pick->upper_count; i++) {
        *next++ = (struct lsm_level_table){pick->from, upper->tables[pick->upper[i]]};
    }
    for (size_t i = 0; i < pick->lower_count; i++) {
        *next++ = (struct lsm_level_table){pick->to, lower->tables[pick->lower_first + i]};
    }
    for (size_t i = 0; i < compaction->removed_count; i++) {
        compaction->record_count += lsm_table_meta(compaction->removed[i].table)->record_count;
    }
}

void lsm_compaction_new(struct lsm_db *db, const struct lsm_pick *pick, uint64_t now_us,
                        struct lsm_compaction **out_compaction)
{
    NK_ASSERT(pick->kind != LSM_PICK_NONE);
    size_t part_count = pick->split_count + 1;
    struct lsm_compaction *compaction =
        nk_alloc_zero(1, sizeof *compaction + part_count * sizeof compaction->parts[0]);
    nk_list_init(&compaction->node);
    compaction->db = db;
    compaction->levels = lsm_levels_hold(db->levels);
    compaction->pick = *pick;
    compaction->time_ms = db->durable.time_ms;
    compaction->started_us = now_us;
    compaction->part_count = part_count;
    atomic_init(&compaction->parts_left, (uint32_t)part_count);
    atomic_init(&compaction->records_done, 0);
    atomic_init(&compaction->failed, false);
    list_inputs(compaction);
    for (size_t i = 0; i < part_count; i++) {
        struct lsm_part *part = &compaction->parts[i];
        part->compaction = compaction;
        part->start = i > 0 ? pick->splits[i - 1] : nk_bytes_of("", 0);
        part->limit = i < pick->split_count ? pick->splits[i] : nk_bytes_of("", 0);
    }
    *out_compaction = compaction;
}

static size_t output_count(const struct lsm_part *part)
{
    return part->outputs.size / sizeof(struct lsm_table *);
}

static struct lsm_table **outputs_of(const struct lsm_part *part)
{
    return (struct lsm_table **)(void *)part->outputs.data;
}

static void free_part(struct lsm_part *part, bool discard)
{
    if (part->merge.runs != NULL) {
        lsm_merge_deinit(&part->merge);
    }
    lsm_table_builder_close(&part->builder);
    for (size_t i = 0; i < output_count(part); i++) {
        struct lsm_table *table = outputs_of(part)[i];
        if (discard) {
            lsm_table_discard(table, &part->compaction->db->trash);
        }
        lsm_table_release(&table);
    }
    nk_buf_deinit(&part->outputs);
}

void lsm_compaction_free(struct lsm_compaction **compaction_p, bool discard)
{
    struct lsm_compaction *compaction = *compaction_p;
    for (size_t i = 0; i < compaction->part_count; i++) {
        free_part(&compaction->parts[i], discard);
    }
    NK_ASSERT(compaction->result == NULL);
    nk_list_remove(&compaction->node);
    nk_free(compaction->removed);
    lsm_levels_release(&compaction->levels);
    nk_free(compaction);
    *compaction_p = NULL;
}

void lsm_compaction_discard_inputs(struct lsm_compaction *compaction)
{
    for (size_t i = 0; compaction->pick.kind != LSM_PICK_MOVE && i < compaction->removed_count;
         i++) {
        lsm_table_discard(compaction->removed[i].table, &compaction->db->trash);
    }
}

/* ---- What lies below ---- */

/* Moves to the first table of a level that does not end before `key`. */
static void follow(struct lsm_part *part, uint32_t number, struct nk_bytes key)
{
    const struct lsm_level *level = &part->compaction->levels->levels[number];
    size_t *at = &part->below_at[number];
    while (*at < level->count &&
           nk_bytes_compare(lsm_table_meta(level->tables[*at])->largest, key) < 0) {
        if (number == part->compaction->pick.to + 1) {
            part->below_bytes += lsm_table_meta(level->tables[*at])->size_bytes;
            part->below_passed = true;
        }
        (*at)++;
    }
}

static bool anything_below(struct lsm_part *part, struct nk_bytes key)
{
    for (uint32_t i = part->compaction->pick.to + 1; i < LSM_LEVEL_COUNT; i++) {
        const struct lsm_level *level = &part->compaction->levels->levels[i];
        follow(part, i, key);
        size_t at = part->below_at[i];
        if (at < level->count &&
            nk_bytes_compare(lsm_table_meta(level->tables[at])->smallest, key) <= 0) {
            return true;
        }
    }
    return false;
}

/* Whether the open table ends before `key`: it has its size, or is full otherwise; or half of it,
 * and a table of the next level ends here too; or it lies across so much there that it would be
 * dear to compact. */
static bool ends_before(struct lsm_part *part, struct nk_bytes key)
{
    uint64_t table_bytes = part->compaction->db->engine->options.table_bytes;
    uint64_t bytes = lsm_table_builder_bytes(part->builder);
    if (part->compaction->pick.to + 1 < LSM_LEVEL_COUNT) {
        follow(part, part->compaction->pick.to + 1, key);
    }
    bool passed = part->below_passed;
    part->below_passed = false;
    return bytes >= table_bytes || lsm_table_builder_full(part->builder) ||
           (passed && bytes >= table_bytes / 2) || part->below_bytes > BELOW_MAX * table_bytes;
}

/* ---- Merging ---- */

static void set_run(struct lsm_merge_run *run, struct lsm_table *const *tables, size_t count)
{
    run->tables = tables;
    run->count = count;
}

/* Tables of level 0 are runs of their own; those of another level follow each other. */
static enum nk_err open_merge(struct lsm_part *part)
{
    const struct lsm_compaction *compaction = part->compaction;
    const struct lsm_pick *pick = &compaction->pick;
    const struct lsm_level *upper = &compaction->levels->levels[pick->from];
    const struct lsm_level *lower = &compaction->levels->levels[pick->to];
    size_t upper_runs = pick->from == 0 ? pick->upper_count : 1;
    size_t run_count = upper_runs + (pick->lower_count > 0);
    size_t ahead = nk_max_size(AHEAD_BYTES_ALL / run_count, AHEAD_BYTES_MIN);
    lsm_merge_init(&part->merge, run_count, nk_min_size(ahead, AHEAD_BYTES_MAX));
    for (size_t i = 0; i < upper_runs; i++) {
        set_run(&part->merge.runs[i], &upper->tables[pick->upper[i]],
                pick->from == 0 ? 1 : pick->upper_count);
    }
    if (pick->lower_count > 0) {
        set_run(&part->merge.runs[upper_runs], &lower->tables[pick->lower_first],
                pick->lower_count);
    }
    return lsm_merge_start(&part->merge, part->start);
}

static enum nk_err finish_table(struct lsm_part *part)
{
    struct lsm_table *table = NULL;
    enum nk_err err = lsm_table_builder_finish(&part->builder, &table);
    if (err == NK_OK) {
        part->finished_bytes += lsm_table_meta(table)->size_bytes;
        nk_buf_append(&part->outputs, nk_bytes_of(&table, sizeof(struct lsm_table *)));
    }
    return err;
}

static enum nk_err begin_table(struct lsm_part *part)
{
    struct lsm_db *db = part->compaction->db;
    part->below_bytes = 0;
    part->below_passed = false;
    return lsm_table_builder_open(&db->engine->io, db->directory, db->faults, lsm_db_new_number(db),
                                  &db->engine->options, &part->builder);
}

static enum nk_err put_record(struct lsm_part *part, struct nk_bytes key,
                              const struct lsm_entry *entry, struct nk_bytes value)
{
    enum nk_err err = NK_OK;
    if (part->builder != NULL && ends_before(part, key)) {
        err = finish_table(part);
    }
    if (err == NK_OK && part->builder == NULL) {
        err = begin_table(part);
    }
    return err == NK_OK ? lsm_table_builder_add(part->builder, key, entry, value) : err;
}

static enum nk_err merge_record(struct lsm_part *part, struct nk_bytes key, struct lsm_entry *entry,
                                struct nk_bytes value)
{
    bool expired = entry->expire_at_ms != 0 && entry->expire_at_ms <= part->compaction->time_ms;
    if (entry->tombstone || expired) {
        if (!anything_below(part, key)) {
            return NK_OK;
        }
        entry->tombstone = true;
        entry->expire_at_ms = 0;
        value.size = 0;
    }
    return put_record(part, key, entry, value);
}

/* NK_NOT_FOUND: all of the part has been merged. */
static enum nk_err merge_slice(struct lsm_part *part, size_t budget_bytes)
{
    size_t used = 0;
    while (used < budget_bytes) {
        struct nk_bytes key;
        struct lsm_entry entry;
        struct nk_bytes value;
        enum nk_err err = lsm_merge_next(&part->merge, &key, &entry, &value);
        if (err != NK_OK) {
            return err;
        }
        if (part->limit.size > 0 && nk_bytes_compare(key, part->limit) >= 0) {
            return NK_NOT_FOUND;
        }
        used += key.size + value.size + LSM_ENTRY_BYTES_MAX;
        err = merge_record(part, key, &entry, value);
        if (err != NK_OK) {
            return err;
        }
    }
    return NK_OK;
}

/* ---- Installing ---- */

/* The names of all new tables. */
static enum nk_err sync_names(struct lsm_compaction *compaction)
{
    struct lsm_db *db = compaction->db;
    size_t count = 0;
    for (size_t i = 0; i < compaction->part_count; i++) {
        count += output_count(&compaction->parts[i]);
    }
    enum nk_err err = count > 0 ? nk_fs_sync_dir(db->engine->io.fs, db->directory) : NK_OK;
    return err == NK_OK || err == NK_NO_SPACE
               ? err
               : lsm_fault_set(db->faults, NK_IO, db->directory, "", 0, "cannot sync directory");
}

static void list_outputs(const struct lsm_compaction *compaction, struct nk_buf *out)
{
    struct lsm_level_table item = {.level = compaction->pick.to};
    for (size_t i = 0; i < compaction->part_count; i++) {
        for (size_t t = 0; t < output_count(&compaction->parts[i]); t++) {
            item.table = outputs_of(&compaction->parts[i])[t];
            nk_buf_append(out, nk_bytes_of(&item, sizeof item));
        }
    }
    for (size_t i = 0; compaction->pick.kind == LSM_PICK_MOVE && i < compaction->removed_count;
         i++) {
        item.table = compaction->removed[i].table;
        nk_buf_append(out, nk_bytes_of(&item, sizeof item));
    }
}

static enum nk_err install(struct lsm_compaction *compaction)
{
    struct nk_buf added = {0};
    list_outputs(compaction, &added);
    struct lsm_change change = {
        .removed = compaction->removed,
        .removed_count = compaction->removed_count,
        .added = (const struct lsm_level_table *)(const void *)added.data,
        .added_count = added.size / sizeof(struct lsm_level_table),
    };
    enum nk_err err = lsm_install(compaction->db, NULL, &change, &compaction->result);
    nk_buf_deinit(&added);
    return err;
}

/* ---- A step ---- */

static void close_files(struct lsm_part *part)
{
    lsm_table_builder_abandon(&part->builder);
    if (part->merge.runs != NULL) {
        lsm_merge_deinit(&part->merge);
    }
}

/* The part is merged, or gives up.  The last one to do so goes on to the install. */
static enum nk_err end_merge(struct lsm_part *part, enum nk_err err)
{
    struct lsm_compaction *compaction = part->compaction;
    if (err == NK_OK && part->builder != NULL) {
        err = finish_table(part);
    }
    close_files(part);
    if (err != NK_OK) {
        atomic_store_explicit(&compaction->failed, true, memory_order_relaxed);
    }
    uint32_t left = atomic_fetch_sub_explicit(&compaction->parts_left, 1, memory_order_acq_rel);
    NK_ASSERT(left > 0);
    if (left == 1 && !atomic_load_explicit(&compaction->failed, memory_order_relaxed)) {
        err = sync_names(compaction);
        part->installs = err == NK_OK;
    }
    return err;
}

/* Keeps the engine's counter going: the rate limit lives on it. */
static void report_written(struct lsm_part *part)
{
    uint64_t written = part->finished_bytes;
    if (part->builder != NULL) {
        written += lsm_table_builder_bytes(part->builder);
    }
    if (written > part->reported_bytes) {
        nk_counter_add(&part->compaction->db->engine->stats.compacted_bytes,
                       written - part->reported_bytes);
        part->reported_bytes = written;
    }
}

/* One slice; *out_more: the part is not merged yet. */
static enum nk_err merge_step(struct lsm_part *part, size_t budget_bytes, bool *out_more)
{
    struct lsm_compaction *compaction = part->compaction;
    enum nk_err err = NK_NOT_FOUND;
    *out_more = false;
    if (compaction->pick.kind == LSM_PICK_MERGE &&
        !atomic_load_explicit(&compaction->failed, memory_order_relaxed)) {
        err = part->merge.runs == NULL ? open_merge(part) : NK_OK;
        if (err == NK_OK) {
            uint64_t before = part->merge.passed_count;
            err = merge_slice(part, budget_bytes);
            report_written(part);
            atomic_fetch_add_explicit(&compaction->records_done, part->merge.passed_count - before,
                                      memory_order_relaxed);
        }
        if (err == NK_OK) {
            *out_more = true;
            return NK_OK;
        }
    }
    err = end_merge(part, err == NK_NOT_FOUND ? NK_OK : err);
    report_written(part);
    return err;
}

enum nk_err lsm_part_step(struct lsm_part *part, size_t budget_bytes, bool *out_done)
{
    *out_done = false;
    if (!part->installs) {
        bool more = false;
        enum nk_err err = merge_step(part, budget_bytes, &more);
        if (err != NK_OK || more) {
            return err;
        }
        if (!part->installs) {
            *out_done = true;
            return NK_OK;
        }
    }
    if (!lsm_install_begin(part->compaction->db)) {
        return NK_OK; /* somebody else is at it: later */
    }
    enum nk_err err = install(part->compaction);
    *out_done = err == NK_OK;
    return err;
}
