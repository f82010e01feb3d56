#include "services/shardhost/lsm/db.h"

#include <stdlib.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "services/shardhost/lsm/directory.h"

/* ---- What lies in the directory ---- */

struct inventory {
    struct nk_buf numbers; /* uint64_t each, of the table files; rising */
    bool has_manifest;
    bool has_manifest_new;
    bool has_dropped;
};

static void visit(void *visitor, const char *name)
{
    struct inventory *inventory = visitor;
    uint64_t number = 0;
    if (lsm_table_name_parse(name, &number)) {
        nk_buf_append(&inventory->numbers, nk_bytes_of(&number, sizeof number));
    } else if (strcmp(name, LSM_MANIFEST_NAME) == 0) {
        inventory->has_manifest = true;
    } else if (strcmp(name, LSM_MANIFEST_NEW_NAME) == 0) {
        inventory->has_manifest_new = true;
    } else if (strcmp(name, LSM_DROPPED_NAME) == 0) {
        inventory->has_dropped = true;
    }
}

static size_t file_count(const struct inventory *inventory)
{
    return inventory->numbers.size / sizeof(uint64_t);
}

static uint64_t file_number(const struct inventory *inventory, size_t i)
{
    return ((const uint64_t *)(const void *)inventory->numbers.data)[i];
}

static int by_number(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static void sort_files(struct inventory *inventory)
{
    if (file_count(inventory) > 0) {
        qsort(inventory->numbers.data, file_count(inventory), sizeof(uint64_t), by_number);
    }
}

static bool has_file(const struct inventory *inventory, uint64_t number)
{
    return file_count(inventory) > 0 &&
           bsearch(&number, inventory->numbers.data, file_count(inventory), sizeof number,
                   by_number) != NULL;
}

/* Files that are not ours, with numbers that lead nowhere: as if they were not there. */
static void forget_far_files(struct inventory *inventory, uint64_t number_next)
{
    while (
        file_count(inventory) > 0 &&
        !lsm_table_number_is_near(file_number(inventory, file_count(inventory) - 1), number_next)) {
        inventory->numbers.size -= sizeof(uint64_t);
    }
}

static void remove_file(const struct lsm_db *db, const char *name)
{
    char path[NK_PATH_BYTES_MAX];
    lsm_path(db->directory, name, path);
    /* One that stays harms nobody: its number is not used again, and the next open tries again. */
    (void)!nk_fs_remove(db->engine->io.fs, path);
}

/* Files of flushes that were never installed. */
static void remove_orphans(const struct lsm_db *db, const struct inventory *inventory,
                           const struct lsm_catalog *catalog)
{
    if (inventory->has_manifest_new) {
        remove_file(db, LSM_MANIFEST_NEW_NAME);
    }
    for (size_t i = 0; i < file_count(inventory); i++) {
        if (!lsm_catalog_has(catalog, file_number(inventory, i))) {
            char name[LSM_FILE_NAME_BYTES_MAX];
            lsm_table_name(file_number(inventory, i), name);
            remove_file(db, name);
        }
    }
}

/* ---- Opening ---- */

static enum nk_err corrupt(const struct lsm_db *db, const char *file, const char *what)
{
    return lsm_fault_set(db->faults, NK_CORRUPT, db->directory, file, 0, what);
}

static enum nk_err read_directory(const struct lsm_db *db, struct inventory *inventory)
{
    const struct nk_fs *fs = db->engine->io.fs;
    enum nk_err err = nk_fs_list(fs, db->directory, visit, inventory);
    sort_files(inventory);
    if (err == NK_OK && inventory->has_dropped) {
        if (inventory->has_manifest) {
            return corrupt(db, LSM_MANIFEST_NAME, "it stands beside a dropped one");
        }
        nk_buf_clear(&inventory->numbers);
        inventory->has_manifest_new = false;
        err = lsm_directory_remove(fs, db->directory);
        return err == NK_OK ? NK_OK
                            : lsm_fault_set(db->faults, NK_IO, db->directory, "", 0,
                                            "cannot remove dropped database");
    }
    if (err == NK_OK || err == NK_NOT_FOUND) {
        return NK_OK;
    }
    return lsm_fault_set(db->faults, NK_IO, db->directory, "", 0, "cannot list directory");
}

static enum nk_err read_catalog(struct lsm_db *db, struct inventory *inventory,
                                struct lsm_catalog *catalog, bool *out_promised)
{
    if (!inventory->has_manifest) {
        *out_promised = true;
        return file_count(inventory) == 0
                   ? NK_OK
                   : corrupt(db, LSM_MANIFEST_NAME, "there are tables, but no manifest");
    }
    enum nk_err err = lsm_manifest_load(&db->manifest, catalog, out_promised);
    if (err != NK_OK) {
        return err;
    }
    forget_far_files(inventory, catalog->number_next);
    for (size_t i = 0; i < catalog->table_count; i++) {
        if (!has_file(inventory, catalog->tables[i].meta.number)) {
            char name[LSM_FILE_NAME_BYTES_MAX];
            lsm_table_name(catalog->tables[i].meta.number, name);
            return corrupt(db, name, "table is missing");
        }
    }
    return NK_OK;
}

/* As the levels have them, so that each goes to the end of its own.  Where tables overlap any order
 * will do: the levels are not valid then. */
static int by_place(const void *a, const void *b)
{
    const struct lsm_level_table *left = a;
    const struct lsm_level_table *right = b;
    if (left->level != right->level) {
        return left->level < right->level ? -1 : 1;
    }
    const struct lsm_table_meta *left_meta = lsm_table_meta(left->table);
    const struct lsm_table_meta *right_meta = lsm_table_meta(right->table);
    if (left->level == 0) {
        return (left_meta->index_max < right_meta->index_max) -
               (left_meta->index_max > right_meta->index_max);
    }
    return nk_bytes_compare(left_meta->smallest, right_meta->smallest);
}

static enum nk_err build_levels(struct lsm_db *db, const struct lsm_catalog *catalog)
{
    struct lsm_levels *nothing = NULL;
    struct lsm_level_table *added = nk_alloc_zero(catalog->table_count, sizeof *added);
    for (size_t i = 0; i < catalog->table_count; i++) {
        added[i].level = catalog->tables[i].level;
        lsm_table_new(&db->engine->io, db->directory, db->faults, &catalog->tables[i].meta,
                      &added[i].table);
    }
    if (catalog->table_count > 0) {
        qsort(added, catalog->table_count, sizeof *added, by_place);
    }
    struct lsm_change change = {.added = added, .added_count = catalog->table_count};
    lsm_levels_new(&nothing);
    lsm_levels_apply(nothing, &change, &db->levels);
    for (size_t i = 0; i < catalog->table_count; i++) {
        lsm_table_release(&added[i].table);
    }
    nk_free(added);
    lsm_levels_release(&nothing);
    return lsm_levels_valid(db->levels)
               ? NK_OK
               : corrupt(db, LSM_MANIFEST_NAME, "tables of one level overlap");
}

static enum nk_err recover(struct lsm_db *db, struct inventory *inventory,
                           struct lsm_catalog *catalog)
{
    bool promised = false;
    enum nk_err err = read_catalog(db, inventory, catalog, &promised);
    if (err != NK_OK) {
        return err;
    }
    db->position = catalog->position;
    db->index_written = catalog->position.applied.index;
    db->durable = catalog->position;
    db->flush.directory_made = inventory->has_manifest;
    /* A file that was removed without a sync of the directory may come back after a crash: numbers
     * that were seen are not used again. */
    uint64_t number_next = catalog->number_next;
    if (file_count(inventory) > 0) {
        number_next =
            nk_max_u64(number_next, file_number(inventory, file_count(inventory) - 1) + 1);
    }
    atomic_init(&db->number_next, number_next);
    err = build_levels(db, catalog);
    if (err != NK_OK) {
        return err;
    }
    if (promised && inventory->has_manifest &&
        nk_fs_sync_dir(db->engine->io.fs, db->directory) != NK_OK) {
        /* Seed 233: whoever renamed this manifest into place may have died before its directory was
         * synced; until it is, a power loss brings the former manifest back, and what the owner's
         * log has dropped since would be lost. */
        return lsm_fault_set(db->faults, NK_IO, db->directory, "", 0, "cannot sync directory");
    }
    if (!promised) {
        err = lsm_manifest_rewrite(&db->manifest, &db->durable, number_next, db->levels);
    }
    return err;
}

static void db_free(struct lsm_db **db)
{
    struct lsm_db *d = *db;
    lsm_sources_release(&d->sources);
    lsm_db_free_compactions(d);
    lsm_flush_deinit(&d->flush);
    lsm_ingest_free(&d->ingest);
    lsm_levels_release(&d->levels);
    /* What stays is an orphan, and goes at the next open. */
    lsm_trash_empty(&d->trash, SIZE_MAX, false);
    lsm_manifest_deinit(&d->manifest);
    lsm_memtable_release(&d->active);
    for (size_t i = 0; i < d->sealed_count; i++) {
        lsm_memtable_release(&d->sealed[i].memtable);
    }
    nk_free(d->sealed);
    lsm_fault_deinit(d->faults);
    nk_free(d->faults);
    nk_free(d->directory);
    nk_free(d);
    *db = NULL;
}

static struct lsm_db *db_new(struct lsm_engine *engine, const char *directory)
{
    NK_ASSERT(strlen(directory) > 0);
    NK_ASSERT(strlen(directory) < LSM_DIRECTORY_BYTES_MAX);
    struct lsm_db *db = nk_alloc_zero(1, sizeof *db);
    db->engine = engine;
    db->directory = nk_strdup(directory);
    db->faults = nk_alloc(sizeof *db->faults);
    lsm_fault_init(db->faults);
    nk_list_init(&db->databases_node);
    nk_list_init(&db->flushes_node);
    nk_list_init(&db->cleans_node);
    nk_list_init(&db->ingests_node);
    nk_list_init(&db->opens_node);
    nk_list_init(&db->needs_node);
    nk_list_init(&db->compactions);
    nk_mpsc_init(&db->trash.tables);
    lsm_manifest_init(&db->manifest, engine->io.fs, db->directory, db->faults);
    lsm_memtable_new(&engine->chunks, &db->active);
    return db;
}

enum nk_err lsm_open(struct lsm_engine *engine, const char *directory, struct lsm_db **out_db,
                     struct lsm_fault *out_fault)
{
    struct lsm_db *db = db_new(engine, directory);
    struct inventory inventory = {0};
    struct lsm_catalog catalog;
    lsm_catalog_init(&catalog);
    enum nk_err err = read_directory(db, &inventory);
    if (err == NK_OK) {
        err = recover(db, &inventory, &catalog);
    }
    if (err == NK_OK) {
        remove_orphans(db, &inventory, &catalog);
        lsm_db_refresh_sources(db);
        atomic_fetch_add_explicit(&engine->database_count, 1, memory_order_relaxed);
        (void)nk_mpsc_push(&engine->opened, &db->opened_node);
        *out_db = db;
    } else {
        if (out_fault != NULL) {
            *out_fault = *lsm_fault_get(db->faults);
        }
        db_free(&db);
    }
    lsm_catalog_deinit(&catalog);
    nk_buf_deinit(&inventory.numbers);
    return err;
}

void lsm_close(struct lsm_db **db)
{
    if (*db == NULL) {
        return;
    }
    struct lsm_engine *engine = (*db)->engine;
    NK_ASSERT((*db)->view_count == 0);
    NK_ASSERT((*db)->permits == 0);
    lsm_engine_adopt_opened(engine);
    nk_list_remove(&(*db)->databases_node);
    nk_list_remove(&(*db)->flushes_node);
    nk_list_remove(&(*db)->cleans_node);
    nk_list_remove(&(*db)->ingests_node);
    nk_list_remove(&(*db)->opens_node);
    nk_list_remove(&(*db)->needs_node);
    nk_gauge_add(&engine->stats.compaction_debt_bytes, -(int64_t)(*db)->debt_bytes);
    atomic_fetch_sub_explicit(&engine->flushing_bytes, (*db)->flush.reported_bytes,
                              memory_order_relaxed);
    engine->memtable_bytes -= (*db)->memtable_bytes;
    engine->sealed_bytes -= (*db)->memtable_bytes - lsm_memtable_bytes((*db)->active);
    db_free(db);
    atomic_fetch_sub_explicit(&engine->database_count, 1, memory_order_release);
}

enum nk_err lsm_remove(struct lsm_engine *engine, const char *directory)
{
    return lsm_directory_remove(engine->io.fs, directory);
}

const struct lsm_fault *lsm_last_fault(const struct lsm_db *db)
{
    return lsm_fault_get(db->faults);
}

void lsm_set_user(struct lsm_db *db, void *user)
{
    db->user = user;
}

void *lsm_user(const struct lsm_db *db)
{
    return db->user;
}

/* ---- What reads look through ---- */

void lsm_sources_release(struct lsm_sources **sources)
{
    if (*sources == NULL) {
        return;
    }
    NK_ASSERT((*sources)->references > 0);
    (*sources)->references--;
    if ((*sources)->references == 0) {
        for (size_t i = 0; i < (*sources)->memtable_count; i++) {
            lsm_memtable_release(&(*sources)->memtables[i]);
        }
        lsm_levels_release(&(*sources)->levels);
        nk_free(*sources);
    }
    *sources = NULL;
}

void lsm_db_refresh_sources(struct lsm_db *db)
{
    size_t room = 1 + db->sealed_count;
    struct lsm_sources *sources =
        nk_alloc_zero(1, sizeof *sources + room * sizeof(struct lsm_memtable *));
    sources->references = 1;
    sources->levels = lsm_levels_hold(db->levels);
    sources->memtables[sources->memtable_count++] = lsm_memtable_hold(db->active);
    for (size_t i = db->sealed_count; i-- > 0;) {
        if (db->sealed[i].memtable != NULL) {
            sources->memtables[sources->memtable_count++] =
                lsm_memtable_hold(db->sealed[i].memtable);
        }
    }
    lsm_sources_release(&db->sources);
    db->sources = sources;
}
