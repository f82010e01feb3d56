/* Removing: the manifest becomes `dropped`, in one step.  A directory with that name in it is not a
 * database any more; tables go before it does, durably, so that they never stand alone, which would
 * look like a lost manifest. */

#include "services/shardhost/lsm/directory.h"

#include <string.h>

#include "common/base/buf.h"

enum nk_err lsm_directory_make(const struct nk_fs *fs, const char *directory)
{
    char path[NK_PATH_BYTES_MAX];
    size_t parent_size = 0;
    size_t size = strlen(directory);
    for (size_t end = 1; end <= size; end++) {
        if (directory[end] != '/' && directory[end] != '\0') {
            continue;
        }
        memcpy(path, directory, end);
        path[end] = '\0';
        enum nk_err err = nk_fs_mkdir(fs, path);
        if (err == NK_OK || err == NK_CONFLICT) {
            path[parent_size] = '\0';
            err = nk_fs_sync_dir(fs, path);
        }
        if (err != NK_OK) {
            return err;
        }
        parent_size = end;
    }
    return NK_OK;
}

/* ---- Removing ---- */

struct contents {
    struct nk_buf names; /* of tables and manifest.new, each with its NUL */
    bool has_manifest;
    bool has_dropped;
};

static void visit(void *visitor, const char *name)
{
    struct contents *contents = visitor;
    uint64_t number = 0;
    if (strcmp(name, LSM_MANIFEST_NAME) == 0) {
        contents->has_manifest = true;
    } else if (strcmp(name, LSM_DROPPED_NAME) == 0) {
        contents->has_dropped = true;
    } else if (strcmp(name, LSM_MANIFEST_NEW_NAME) == 0 || lsm_table_name_parse(name, &number)) {
        nk_buf_append(&contents->names, nk_bytes_of(name, strlen(name) + 1));
    }
}

static enum nk_err mark_dropped(const struct nk_fs *fs, const char *directory)
{
    char path[NK_PATH_BYTES_MAX];
    char dropped[NK_PATH_BYTES_MAX];
    lsm_path(directory, LSM_MANIFEST_NAME, path);
    lsm_path(directory, LSM_DROPPED_NAME, dropped);
    enum nk_err err = nk_fs_rename(fs, path, dropped);
    return err == NK_OK ? nk_fs_sync_dir(fs, directory) : err;
}

static enum nk_err remove_file(const struct nk_fs *fs, const char *directory, const char *name)
{
    char path[NK_PATH_BYTES_MAX];
    lsm_path(directory, name, path);
    enum nk_err err = nk_fs_remove(fs, path);
    return err == NK_NOT_FOUND ? NK_OK : err;
}

static enum nk_err remove_files(const struct nk_fs *fs, const char *directory,
                                const struct nk_buf *names)
{
    enum nk_err err = NK_OK;
    for (size_t at = 0; at < names->size && err == NK_OK;) {
        const char *name = (const char *)names->data + at;
        err = remove_file(fs, directory, name);
        at += strlen(name) + 1;
    }
    if (err == NK_OK) {
        err = nk_fs_sync_dir(fs, directory);
    }
    return err == NK_OK ? remove_file(fs, directory, LSM_DROPPED_NAME) : err;
}

/* One with other files in it stays. */
static enum nk_err remove_empty(const struct nk_fs *fs, const char *directory)
{
    enum nk_err err = nk_fs_remove(fs, directory);
    if (err == NK_CONFLICT) {
        return nk_fs_sync_dir(fs, directory);
    }
    if (err != NK_OK && err != NK_NOT_FOUND) {
        return err;
    }
    char parent[NK_PATH_BYTES_MAX];
    const char *slash = strrchr(directory, '/');
    size_t size = slash == NULL ? 0 : (size_t)(slash - directory);
    memcpy(parent, directory, size);
    parent[size] = '\0';
    return nk_fs_sync_dir(fs, parent);
}

enum nk_err lsm_directory_remove(const struct nk_fs *fs, const char *directory)
{
    struct contents contents = {.has_manifest = false};
    enum nk_err err = nk_fs_list(fs, directory, visit, &contents);
    if (err == NK_OK && contents.has_manifest) {
        err = mark_dropped(fs, directory);
    }
    if (err == NK_OK) {
        err = remove_files(fs, directory, &contents.names);
    }
    if (err == NK_OK) {
        err = remove_empty(fs, directory);
    }
    nk_buf_deinit(&contents.names);
    return err == NK_OK || err == NK_NOT_FOUND ? NK_OK : NK_IO;
}
