/* The tables are linked under new numbers, their names promised, and one edit of the manifest takes
 * all old tables out and the new ones in, together with the new position.  A crash before it leaves
 * orphans, after it the old tables are orphans.
 *
 * The job runs alone: compactions have given up, no flush is under way.  What the memtables hold is
 * not behind the new position and goes with the old tables. */

#include "services/shardhost/lsm/ingest.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "services/shardhost/lsm/db.h"
#include "services/shardhost/lsm/names.h"

void lsm_ingest_free(struct lsm_ingest **ingest)
{
    struct lsm_ingest *i = *ingest;
    if (i == NULL) {
        return;
    }
    NK_ASSERT(i->result == NULL);
    for (size_t t = 0; t < i->added_count; t++) {
        lsm_table_release(&i->added[t].table);
    }
    nk_free(i->added);
    nk_free(i->directory);
    nk_free(i);
    *ingest = NULL;
}

/* ---- The worker ---- */

static enum nk_err corrupt(struct lsm_db *db, const char *what)
{
    return lsm_fault_set(db->faults, NK_CORRUPT, db->ingest->directory, LSM_MANIFEST_NAME, 0, what);
}

static enum nk_err read_catalog(struct lsm_db *db, struct lsm_catalog *catalog)
{
    bool promised = false;
    struct lsm_manifest manifest;
    lsm_manifest_init(&manifest, db->engine->io.fs, db->ingest->directory, db->faults);
    enum nk_err err = lsm_manifest_load(&manifest, catalog, &promised);
    lsm_manifest_deinit(&manifest);
    if (err == NK_NOT_FOUND) {
        return corrupt(db, "there is no checkpoint");
    }
    if (err == NK_OK && (catalog->position.applied.index < db->durable.applied.index ||
                         catalog->position.time_ms < db->durable.time_ms)) {
        return NK_CONFLICT;
    }
    return err;
}

static enum nk_err link_table(struct lsm_db *db, uint64_t from_number, uint64_t to_number)
{
    char from[NK_PATH_BYTES_MAX];
    char to[NK_PATH_BYTES_MAX];
    char from_name[LSM_FILE_NAME_BYTES_MAX];
    char to_name[LSM_FILE_NAME_BYTES_MAX];
    lsm_table_name(from_number, from_name);
    lsm_table_name(to_number, to_name);
    lsm_path(db->ingest->directory, from_name, from);
    lsm_path(db->directory, to_name, to);
    enum nk_err err = nk_fs_link(db->engine->io.fs, from, to);
    if (err == NK_NOT_FOUND) {
        return lsm_fault_set(db->faults, NK_CORRUPT, db->ingest->directory, from_name, 0,
                             "table is missing");
    }
    if (err != NK_OK && err != NK_NO_SPACE) {
        err = lsm_fault_set(db->faults, NK_IO, db->directory, to_name, 0, "cannot link table");
    }
    return err;
}

/* Links the tables and knows them under their new numbers. */
static enum nk_err link_tables(struct lsm_db *db, const struct lsm_catalog *catalog)
{
    struct lsm_ingest *ingest = db->ingest;
    ingest->added = nk_alloc_zero(catalog->table_count, sizeof *ingest->added);
    for (size_t i = 0; i < catalog->table_count; i++) {
        struct lsm_table_meta meta = catalog->tables[i].meta;
        uint64_t from_number = meta.number;
        meta.number = lsm_db_new_number(db);
        struct lsm_level_table *added = &ingest->added[ingest->added_count++];
        added->level = catalog->tables[i].level;
        lsm_table_new(&db->engine->io, db->directory, db->faults, &meta, &added->table);
        enum nk_err err = link_table(db, from_number, meta.number);
        const struct lsm_footer *footer = NULL;
        if (err == NK_OK) {
            err = lsm_table_footer(added->table, LSM_DISK, &footer);
        }
        if (err != NK_OK) {
            return err;
        }
    }
    enum nk_err err = nk_fs_sync_dir(db->engine->io.fs, db->directory);
    return err == NK_OK || err == NK_NO_SPACE
               ? err
               : lsm_fault_set(db->faults, NK_IO, db->directory, "", 0, "cannot sync directory");
}

static bool tables_fit(const struct lsm_ingest *ingest)
{
    struct lsm_levels *nothing = NULL;
    struct lsm_levels *levels = NULL;
    struct lsm_change change = {.added = ingest->added, .added_count = ingest->added_count};
    lsm_levels_new(&nothing);
    lsm_levels_apply(nothing, &change, &levels);
    bool fit = lsm_levels_valid(levels);
    lsm_levels_release(&levels);
    lsm_levels_release(&nothing);
    return fit;
}

/* Up to where nothing of the database has changed. */
static enum nk_err prepare(struct lsm_db *db)
{
    struct lsm_catalog catalog;
    lsm_catalog_init(&catalog);
    enum nk_err err = read_catalog(db, &catalog);
    if (err == NK_OK) {
        db->ingest->position = catalog.position;
        err = link_tables(db, &catalog);
    }
    if (err == NK_OK && !tables_fit(db->ingest)) {
        err = corrupt(db, "tables of one level overlap");
    }
    lsm_catalog_deinit(&catalog);
    db->ingest->linked = err == NK_OK;
    return err;
}

static enum nk_err install(struct lsm_db *db)
{
    struct lsm_ingest *ingest = db->ingest;
    size_t count = lsm_levels_table_count(db->levels);
    struct lsm_level_table *removed = nk_alloc_zero(count, sizeof *removed);
    struct lsm_change change = {
        .removed = removed, .added = ingest->added, .added_count = ingest->added_count};
    for (uint32_t i = 0; i < LSM_LEVEL_COUNT; i++) {
        for (size_t t = 0; t < db->levels->levels[i].count; t++) {
            removed[change.removed_count++] =
                (struct lsm_level_table){i, db->levels->levels[i].tables[t]};
        }
    }
    NK_ASSERT(change.removed_count == count);
    enum nk_err err = lsm_install(db, &ingest->position, &change, &ingest->result);
    nk_free(removed);
    return err;
}

enum nk_err lsm_ingest_step(struct lsm_db *db, bool *out_done)
{
    *out_done = false;
    enum nk_err err = NK_OK;
    bool begun = lsm_install_begin(db);
    NK_ASSERT(begun); /* no other job is under way */
    if (!db->flush.directory_made) {
        err = lsm_flush_make_database(&db->flush, &db->manifest, db->number_next);
    }
    if (err == NK_OK && !db->ingest->linked) {
        lsm_table_builder_abandon(&db->flush.builder); /* of a memtable that goes */
        err = prepare(db);
    }
    if (err != NK_OK) {
        lsm_install_cancel(db);
        return err;
    }
    err = install(db); /* gives the token back itself on an error */
    *out_done = err == NK_OK;
    return err;
}

/* ---- The loop ---- */

static void drop_memtables(struct lsm_db *db)
{
    struct lsm_engine *engine = db->engine;
    engine->sealed_bytes -= db->memtable_bytes - lsm_memtable_bytes(db->active);
    engine->memtable_bytes -= db->memtable_bytes;
    engine->freed_bytes += db->memtable_bytes;
    db->memtable_bytes = 0;
    for (size_t i = 0; i < db->sealed_count; i++) {
        lsm_memtable_release(&db->sealed[i].memtable);
    }
    db->sealed_count = 0;
    lsm_memtable_release(&db->active);
    lsm_memtable_new(&engine->chunks, &db->active);
    db->flush_requested = false;
}

static void discard_tables(struct lsm_db *db)
{
    for (size_t i = 0; i < LSM_LEVEL_COUNT; i++) {
        for (size_t t = 0; t < db->levels->levels[i].count; t++) {
            lsm_table_discard(db->levels->levels[i].tables[t], &db->trash);
        }
    }
    if (db->flush.table != NULL) { /* written, and then not installed */
        lsm_table_discard(db->flush.table, &db->trash);
        lsm_table_release(&db->flush.table);
    }
}

void lsm_ingest_take(struct lsm_db *db)
{
    struct lsm_ingest *ingest = db->ingest;
    discard_tables(db);
    drop_memtables(db);
    atomic_fetch_sub_explicit(&db->engine->flushing_bytes, db->flush.reported_bytes,
                              memory_order_relaxed);
    lsm_flush_forget(&db->flush);
    db->position = ingest->position;
    db->durable = ingest->position;
    db->index_written = ingest->position.applied.index;
    db->flush_bytes_mean = 0;
    lsm_install_taken(db, &ingest->result);
    lsm_ingest_free(&db->ingest);
    lsm_db_measure(db);
}

void lsm_ingest(struct lsm_db *db, const char *directory)
{
    NK_ASSERT(db->ingest == NULL);
    NK_ASSERT(!lsm_db_in_entry(db));
    struct lsm_ingest *ingest = nk_alloc_zero(1, sizeof *ingest);
    ingest->directory = nk_strdup(directory);
    db->ingest = ingest;
    lsm_db_give_up_compactions(db);
    lsm_engine_reconsider(db);
}

bool lsm_ingesting(const struct lsm_db *db)
{
    return db->ingest != NULL;
}
