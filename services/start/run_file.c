#include "services/start/start.h"

#include "services/start/replace.h"

static const char ending[] = ".json";

/* Nothing is synced: after a crash of the machine the process is gone as well. */
enum nk_err start_run_file_write(const struct nk_fs *fs, const char *role, struct nk_bytes text)
{
    return start_replace(fs, role, ending, text);
}

void start_run_file_remove(const struct nk_fs *fs, const char *role)
{
    char name[START_NAME_BYTES_MAX];
    start_run_name(role, ending, name);
    enum nk_err err = nk_fs_remove(fs, name);
    (void)err;
}
