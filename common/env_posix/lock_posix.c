/* One process per data directory.
 *
 * The lock is the kernel's, on an open file description (F_OFD_SETLK), not the existence of the
 * file: it ends with the process however that ends, and a file left behind means nothing.  The file
 * is therefore never removed; removing it would let two processes hold locks on two files of one
 * name. What is written in it, the holder's process number, is for the message only. */

#include "env_posix.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/limits.h"

#include "fs_posix.h"

#define PROCESS_TEXT_BYTES 24

struct env_posix_lock {
    int fd;
};

static enum nk_err make_parent(struct env_posix_fs *fs, const char *name);
static void explain(struct env_posix_fs *fs, const char *what, const char *name, int error,
                    struct nk_text *reason);
static void explain_holder(struct env_posix_fs *fs, int fd, const char *name,
                           struct nk_text *reason);
static bool write_holder(int fd);

enum nk_err env_posix_lock(struct env_posix_fs *fs, const char *name,
                           struct env_posix_lock **out_lock, struct nk_text *reason)
{
    enum nk_err err = make_parent(fs, name);
    if (err != NK_OK) {
        nk_text_add(reason, env_posix_fs_root_name(fs));
        nk_text_add(reason, ": ");
        env_posix_fs_last_fault(fs, reason);
        return err;
    }
    int fd = openat(env_posix_fs_root(fs), name, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0) {
        explain(fs, "cannot open the lock file", name, errno, reason);
        return NK_IO;
    }
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_OFD_SETLK, &whole) != 0) {
        if (errno == EAGAIN || errno == EACCES) {
            err = NK_CONFLICT;
            explain_holder(fs, fd, name, reason);
        } else {
            err = NK_IO;
            explain(fs, "cannot lock", name, errno, reason);
        }
        (void)close(fd);
        return err;
    }
    if (!write_holder(fd)) {
        explain(fs, "cannot write", name, errno, reason);
        (void)close(fd);
        return NK_IO;
    }
    struct env_posix_lock *lock = nk_alloc(sizeof *lock);
    lock->fd = fd;
    *out_lock = lock;
    return NK_OK;
}

void env_posix_unlock(struct env_posix_lock **lock)
{
    if (lock == NULL || *lock == NULL) {
        return;
    }
    (void)close((*lock)->fd);
    nk_free(*lock);
    *lock = NULL;
}

static enum nk_err make_parent(struct env_posix_fs *fs, const char *name)
{
    char parent[NK_PATH_BYTES_MAX + 1];
    const char *slash = strrchr(name, '/');
    if (slash == NULL) {
        return NK_OK;
    }
    NK_ASSERT(strlen(name) <= NK_PATH_BYTES_MAX);
    memcpy(parent, name, (size_t)(slash - name));
    parent[slash - name] = '\0';
    struct nk_fs files = env_posix_fs(fs);
    enum nk_err err = nk_fs_mkdir(&files, parent);
    return err == NK_CONFLICT ? NK_OK : err;
}

static void explain(struct env_posix_fs *fs, const char *what, const char *name, int error,
                    struct nk_text *reason)
{
    nk_text_add(reason, env_posix_fs_root_name(fs));
    nk_text_add(reason, ": ");
    env_posix_explain(reason, what, name, error);
}

static void explain_holder(struct env_posix_fs *fs, int fd, const char *name,
                           struct nk_text *reason)
{
    char holder[PROCESS_TEXT_BYTES] = "";
    ssize_t size = pread(fd, holder, sizeof holder - 1, 0);
    holder[size > 0 ? size : 0] = '\0';
    nk_text_add(reason, "the data directory ");
    nk_text_add(reason, env_posix_fs_root_name(fs));
    nk_text_add(reason, " is in use: ");
    nk_text_add(reason, name);
    nk_text_add(reason, " is locked by process ");
    uint64_t process = strtoull(holder, NULL, 10);
    if (process > 0) {
        nk_text_add_u64(reason, process);
    } else {
        nk_text_add(reason, "unknown");
    }
}

/* A number shorter than the former holder's would leave digits behind, hence the truncation. */
static bool write_holder(int fd)
{
    char text[PROCESS_TEXT_BYTES];
    int size = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    NK_ASSERT(size > 0);
    return ftruncate(fd, 0) == 0 && pwrite(fd, text, (size_t)size, 0) == size;
}
