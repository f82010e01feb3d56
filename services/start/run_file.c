#include "services/start/start.h"

#include <stdio.h>

#define NAME_BYTES_MAX 64

static void name_of(const char *role, const char *ending, char *out_name)
{
    (void)snprintf(out_name, NAME_BYTES_MAX, "run/%s.json%s", role, ending);
}

/* Nothing is synced: after a crash of the machine the process is gone as well. */
enum nk_err start_run_file_write(const struct nk_fs *fs, const char *role, struct nk_bytes text)
{
    char name[NAME_BYTES_MAX];
    char half[NAME_BYTES_MAX];
    name_of(role, "", name);
    name_of(role, ".new", half);
    struct nk_file *file = NULL;
    enum nk_err err = nk_fs_remove(fs, half);
    if (err == NK_OK || err == NK_NOT_FOUND) {
        err = nk_fs_open(fs, half, NK_FS_CREATE, &file);
    }
    if (err == NK_OK) {
        err = nk_fs_pwrite(fs, file, 0, text);
    }
    nk_fs_close(fs, &file);
    if (err == NK_OK) {
        err = nk_fs_rename(fs, half, name);
    }
    return err;
}

void start_run_file_remove(const struct nk_fs *fs, const char *role)
{
    char name[NAME_BYTES_MAX];
    name_of(role, "", name);
    enum nk_err err = nk_fs_remove(fs, name);
    (void)err;
}
