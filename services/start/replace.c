#include "services/start/replace.h"

#include <stdio.h>

void start_run_name(const char *role, const char *ending, char out_name[START_NAME_BYTES_MAX])
{
    (void)snprintf(out_name, START_NAME_BYTES_MAX, "run/%s%s", role, ending);
}

enum nk_err start_replace(const struct nk_fs *fs, const char *role, const char *ending,
                          struct nk_bytes contents)
{
    char name[START_NAME_BYTES_MAX];
    char half[START_NAME_BYTES_MAX + 4];
    start_run_name(role, ending, name);
    (void)snprintf(half, sizeof half, "%s.new", name);
    struct nk_file *file = NULL;
    enum nk_err err = nk_fs_remove(fs, half);
    if (err == NK_OK || err == NK_NOT_FOUND) {
        err = nk_fs_open(fs, half, NK_FS_CREATE, &file);
    }
    if (err == NK_OK) {
        err = nk_fs_pwrite(fs, file, 0, contents);
    }
    nk_fs_close(fs, &file);
    if (err == NK_OK) {
        err = nk_fs_rename(fs, half, name);
    }
    return err;
}
