#include "services/shardhost/lsm/db.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "services/shardhost/lsm/directory.h"

struct lsm_checkpoint {
    struct lsm_db *db;
    struct lsm_levels *levels; /* held, and so the files of its tables stay */
    struct lsm_position position;
    uint64_t number_next;
};

struct lsm_checkpoint *lsm_checkpoint_begin(struct lsm_db *db)
{
    struct lsm_checkpoint *checkpoint = nk_alloc_zero(1, sizeof *checkpoint);
    checkpoint->db = db;
    checkpoint->levels = lsm_levels_hold(db->levels);
    checkpoint->position = db->durable;
    checkpoint->number_next = atomic_load_explicit(&db->number_next, memory_order_relaxed);
    db->view_count++;
    return checkpoint;
}

void lsm_checkpoint_end(struct lsm_checkpoint **checkpoint)
{
    if (*checkpoint == NULL) {
        return;
    }
    struct lsm_db *db = (*checkpoint)->db;
    NK_ASSERT(db->view_count > 0);
    db->view_count--;
    lsm_levels_release(&(*checkpoint)->levels);
    lsm_engine_reconsider(db);
    nk_free(*checkpoint);
    *checkpoint = NULL;
}

void lsm_checkpoint_applied(const struct lsm_checkpoint *checkpoint,
                            struct lsm_version *out_applied, struct nk_bytes *out_state)
{
    *out_applied = checkpoint->position.applied;
    *out_state = nk_bytes_of(checkpoint->position.state, checkpoint->position.state_size);
}

/* ---- Any thread ---- */

static enum nk_err make_directory(const struct nk_fs *fs, const char *directory)
{
    char parent[NK_PATH_BYTES_MAX];
    const char *slash = strrchr(directory, '/');
    size_t size = slash == NULL ? 0 : (size_t)(slash - directory);
    memcpy(parent, directory, size);
    parent[size] = '\0';
    enum nk_err err = size > 0 ? lsm_directory_make(fs, parent) : NK_OK;
    if (err == NK_OK) {
        err = nk_fs_mkdir(fs, directory);
    }
    return err == NK_OK ? nk_fs_sync_dir(fs, parent) : err;
}

static enum nk_err link_table(const struct lsm_checkpoint *checkpoint, const char *directory,
                              const struct lsm_table *table)
{
    char from[NK_PATH_BYTES_MAX];
    char to[NK_PATH_BYTES_MAX];
    char name[LSM_FILE_NAME_BYTES_MAX];
    lsm_table_name(lsm_table_meta(table)->number, name);
    lsm_path(checkpoint->db->directory, name, from);
    lsm_path(directory, name, to);
    return nk_fs_link(checkpoint->db->engine->io.fs, from, to);
}

static enum nk_err link_tables(const struct lsm_checkpoint *checkpoint, const char *directory)
{
    for (size_t i = 0; i < LSM_LEVEL_COUNT; i++) {
        const struct lsm_level *level = &checkpoint->levels->levels[i];
        for (size_t t = 0; t < level->count; t++) {
            enum nk_err err = link_table(checkpoint, directory, level->tables[t]);
            if (err != NK_OK) {
                return err;
            }
        }
    }
    return nk_fs_sync_dir(checkpoint->db->engine->io.fs, directory);
}

enum nk_err lsm_checkpoint_write(struct lsm_checkpoint *checkpoint, const char *directory)
{
    struct lsm_db *db = checkpoint->db;
    const struct nk_fs *fs = db->engine->io.fs;
    NK_ASSERT(strlen(directory) < LSM_DIRECTORY_BYTES_MAX);
    enum nk_err err = make_directory(fs, directory);
    if (err == NK_CONFLICT) {
        return err;
    }
    if (err == NK_OK) {
        err = link_tables(checkpoint, directory);
    }
    if (err == NK_OK) {
        struct lsm_manifest manifest;
        lsm_manifest_init(&manifest, fs, directory, db->faults);
        err = lsm_manifest_rewrite(&manifest, &checkpoint->position, checkpoint->number_next,
                                   checkpoint->levels);
        lsm_manifest_deinit(&manifest);
    } else if (err != NK_NO_SPACE) {
        err = lsm_fault_set(db->faults, NK_IO, directory, "", 0, "cannot make checkpoint");
    }
    return err;
}
