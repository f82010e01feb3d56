/* The order of promises: directory and an empty manifest (first flush only), the table's bytes, the
 * table's name, then (install.c) the manifest edit.  A crash in between leaves an orphan file,
 * never a manifest that names a file which is not whole.
 *
 * A table that is written but could not be installed is kept for the next try: to write it again
 * would take more of a disk that may be full, and to remove it would be wrong, for the manifest on
 * disk may already name it. */

#include "services/shardhost/lsm/flush.h"

#include "common/base/assert.h"
#include "services/shardhost/lsm/directory.h"
#include "services/shardhost/lsm/names.h"

static enum nk_err check(struct lsm_manifest *manifest, enum nk_err err, const char *what)
{
    if (err == NK_OK || err == NK_NO_SPACE) {
        return err;
    }
    return lsm_fault_set(manifest->faults, NK_IO, manifest->directory, "", 0, what);
}

enum nk_err lsm_flush_make_database(struct lsm_flush *flush, struct lsm_manifest *manifest,
                                    uint64_t number_next)
{
    static const struct lsm_position nowhere;
    struct lsm_levels *nothing = NULL;
    lsm_levels_new(&nothing);
    enum nk_err err = check(manifest, lsm_directory_make(manifest->fs, manifest->directory),
                            "cannot make directory");
    if (err == NK_OK) {
        err = lsm_manifest_rewrite(manifest, &nowhere, number_next, nothing);
    }
    lsm_levels_release(&nothing);
    flush->directory_made = err == NK_OK;
    return err;
}

static enum nk_err write_records(struct lsm_flush *flush, size_t budget_bytes)
{
    struct lsm_memtable_cursor *cursor = &flush->cursor;
    size_t written = 0;
    while (cursor->node != NULL && written < budget_bytes) {
        struct nk_bytes key = lsm_memtable_cursor_key(cursor);
        struct nk_bytes value = lsm_memtable_cursor_value(cursor);
        struct lsm_entry entry = lsm_memtable_cursor_entry(cursor);
        enum nk_err err = lsm_table_builder_add(flush->builder, key, &entry, value);
        if (err != NK_OK) {
            return err;
        }
        written += key.size + value.size + LSM_ENTRY_BYTES_MAX;
        lsm_memtable_cursor_next(cursor);
    }
    flush->written_bytes += written;
    return NK_OK;
}

static enum nk_err finish_table(struct lsm_flush *flush, struct lsm_manifest *manifest,
                                const struct lsm_io *io)
{
    struct lsm_table *table = NULL;
    enum nk_err err = lsm_table_builder_finish(&flush->builder, &table);
    if (err != NK_OK) {
        return err;
    }
    err =
        check(manifest, nk_fs_sync_dir(manifest->fs, manifest->directory), "cannot sync directory");
    if (err != NK_OK) {
        lsm_table_release(&table); /* an orphan; a name is not promised by a second try */
        return err;
    }
    nk_counter_add(&io->stats->flushes, 1);
    nk_counter_add(&io->stats->flushed_bytes, lsm_table_meta(table)->size_bytes);
    flush->table = table;
    return NK_OK;
}

enum nk_err lsm_flush_write(struct lsm_flush *flush, struct lsm_manifest *manifest,
                            const struct lsm_io *io, const struct lsm_options *options,
                            uint64_t number, size_t budget_bytes)
{
    NK_ASSERT(flush->directory_made);
    NK_ASSERT(flush->table == NULL);
    enum nk_err err = NK_OK;
    if (flush->builder == NULL) {
        err = lsm_table_builder_open(io, manifest->directory, manifest->faults, number, options,
                                     &flush->builder);
        lsm_memtable_cursor_open(&flush->cursor, flush->memtable, nk_bytes_of("", 0), UINT64_MAX);
    }
    if (err == NK_OK) {
        err = write_records(flush, budget_bytes);
    }
    if (err == NK_OK && flush->cursor.node == NULL) {
        err = finish_table(flush, manifest, io);
    }
    if (err != NK_OK) {
        lsm_table_builder_abandon(&flush->builder);
        flush->written_bytes = 0;
    }
    return err;
}

void lsm_flush_forget(struct lsm_flush *flush)
{
    NK_ASSERT(flush->builder == NULL);
    NK_ASSERT(flush->table == NULL);
    flush->memtable = NULL;
    flush->written_bytes = 0;
    flush->reported_bytes = 0;
}

void lsm_flush_deinit(struct lsm_flush *flush)
{
    lsm_table_builder_close(&flush->builder);
    lsm_table_release(&flush->table);
    lsm_levels_release(&flush->result);
}
