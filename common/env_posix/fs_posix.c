/* Files below one directory.  Every call goes through the root's descriptor (openat and its
 * family), so a renamed or re-mounted path above it changes nothing.
 *
 * Durability (common/env/fs.h):
 *   - sync is fdatasync: it flushes the data and every metadata needed to read it back, which
 *     includes a changed size; what it leaves out is the time stamps.
 *   - sync_dir is fsync of the directory: names created, renamed or removed in it.
 *   - A failed sync is NK_IO whatever errno says, ENOSPC too: the kernel has dropped the dirty
 * pages or marked them clean, so this is a fault and never an outcome to be tried again.
 *
 *     That holds for EINTR as well: which part was done is unknown.
 *
 * Everywhere else EINTR and short transfers are continued here; no caller sees them. */

#include "env_posix.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/limits.h"

#include "fs_posix.h"

#define DIRECTORY_MODE 0750
#define FILE_MODE      0640
#define NOT_REGULAR    0 /* in the place of an errno */

struct nk_file {
    int fd;
    bool writable;
    char name[]; /* for the record of faults */
};

struct fault {
    const char *call; /* NULL: none yet */
    int error;        /* errno, or NOT_REGULAR */
    char name[NK_PATH_BYTES_MAX + 1];
};

struct env_posix_fs {
    int root_fd;
    bool writable;
    _Atomic size_t open_count;
    pthread_mutex_t fault_lock;
    struct fault fault; /* protected by fault_lock */
    char root_name[];   /* for messages */
};

static enum nk_err make_directories(const char *path, struct nk_text *reason);
static enum nk_err open_root(const char *root, bool writable, struct env_posix_fs **out_fs,
                             struct nk_text *reason);
static bool sync_parent(const char *path);
static enum nk_err failed(struct env_posix_fs *fs, const char *call, const char *name, int error);
static void check_name(const char *name);

enum nk_err env_posix_fs_open(const char *root, struct env_posix_fs **out_fs,
                              struct nk_text *reason)
{
    enum nk_err err = make_directories(root, reason);
    if (err == NK_OK) {
        err = open_root(root, true, out_fs, reason);
    }
    return err == NK_NOT_FOUND ? NK_IO : err;
}

enum nk_err env_posix_fs_open_to_read(const char *root, struct env_posix_fs **out_fs,
                                      struct nk_text *reason)
{
    return open_root(root, false, out_fs, reason);
}

static enum nk_err open_root(const char *root, bool writable, struct env_posix_fs **out_fs,
                             struct nk_text *reason)
{
    int root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root_fd < 0) {
        int error = errno;
        env_posix_explain(reason, "cannot open the directory", root, error);
        return error == ENOENT ? NK_NOT_FOUND : NK_IO;
    }
    size_t name_size = strlen(root) + 1;
    struct env_posix_fs *fs = nk_alloc_zero(1, sizeof *fs + name_size);
    fs->root_fd = root_fd;
    fs->writable = writable;
    memcpy(fs->root_name, root, name_size);
    int lock_failed = pthread_mutex_init(&fs->fault_lock, NULL);
    NK_ASSERT(lock_failed == 0);
    *out_fs = fs;
    return NK_OK;
}

void env_posix_fs_close(struct env_posix_fs **fs)
{
    if (fs == NULL || *fs == NULL) {
        return;
    }
    NK_ASSERT((*fs)->open_count == 0);
    (void)close((*fs)->root_fd);
    (void)pthread_mutex_destroy(&(*fs)->fault_lock);
    nk_free(*fs);
    *fs = NULL;
}

void env_posix_fs_last_fault(struct env_posix_fs *fs, struct nk_text *out_text)
{
    (void)pthread_mutex_lock(&fs->fault_lock);
    if (fs->fault.call != NULL && fs->fault.error != NOT_REGULAR) {
        env_posix_explain(out_text, fs->fault.call, fs->fault.name, fs->fault.error);
    } else if (fs->fault.call != NULL) {
        nk_text_add(out_text, fs->fault.call);
        nk_text_add(out_text, " ");
        nk_text_add(out_text, fs->fault.name);
        nk_text_add(out_text, ": not a regular file");
    }
    (void)pthread_mutex_unlock(&fs->fault_lock);
}

int env_posix_fs_root(const struct env_posix_fs *fs)
{
    return fs->root_fd;
}

const char *env_posix_fs_root_name(const struct env_posix_fs *fs)
{
    return fs->root_name;
}

void env_posix_explain(struct nk_text *text, const char *what, const char *name, int error)
{
    char memory[128];
    nk_text_add(text, what);
    nk_text_add(text, " ");
    nk_text_add(text, name);
    nk_text_add(text, ": ");
    nk_text_add(text, strerror_r(error, memory, sizeof memory));
}

/* ---- The slots of nk_fs ---- */

/* What is read is a file with a size, whose end is reached: no device, and nothing where somebody
 * else is waited for. */
static bool is_file(int fd, int *out_error)
{
    struct stat status;
    if (fstat(fd, &status) != 0) {
        *out_error = errno;
        return false;
    }
    *out_error = S_ISDIR(status.st_mode) ? EISDIR : NOT_REGULAR;
    return S_ISREG(status.st_mode);
}

static enum nk_err fs_open(void *ctx, const char *name, enum nk_fs_open mode,
                           struct nk_file **out_file)
{
    struct env_posix_fs *fs = ctx;
    check_name(name);
    NK_ASSERT(mode == NK_FS_READ || fs->writable);
    /* Not to wait for who writes to a FIFO; to a file it means nothing. */
    int flags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK | (mode == NK_FS_READ ? O_RDONLY : O_RDWR);
    if (mode == NK_FS_CREATE) {
        flags |= O_CREAT | O_EXCL;
    }
    int fd;
    do {
        fd = openat(fs->root_fd, name, flags, FILE_MODE);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        return failed(fs, "open", name, errno);
    }
    int error = 0;
    if (mode == NK_FS_READ && !is_file(fd, &error)) {
        (void)close(fd);
        return failed(fs, "open", name, error);
    }
    size_t name_size = strlen(name) + 1;
    struct nk_file *file = nk_alloc(sizeof *file + name_size);
    file->fd = fd;
    file->writable = mode != NK_FS_READ;
    memcpy(file->name, name, name_size);
    atomic_fetch_add_explicit(&fs->open_count, 1, memory_order_relaxed);
    *out_file = file;
    return NK_OK;
}

/* An error of close is not looked at: what was synced is safe, the rest was never promised. */
static void fs_close(void *ctx, struct nk_file **file)
{
    struct env_posix_fs *fs = ctx;
    if (file == NULL || *file == NULL) {
        return;
    }
    (void)close((*file)->fd);
    nk_free(*file);
    *file = NULL;
    size_t before = atomic_fetch_sub_explicit(&fs->open_count, 1, memory_order_relaxed);
    NK_ASSERT(before > 0);
}

static enum nk_err fs_pread(void *ctx, struct nk_file *file, uint64_t offset, void *out_data,
                            size_t size, size_t *out_read)
{
    size_t done = 0;
    while (done < size) {
        ssize_t got = pread(file->fd, (char *)out_data + done, size - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return failed(ctx, "read", file->name, errno);
        }
        if (got == 0) {
            break;
        }
        done += (size_t)got;
    }
    *out_read = done;
    return NK_OK;
}

static enum nk_err fs_pwrite(void *ctx, struct nk_file *file, uint64_t offset, struct nk_bytes data)
{
    NK_ASSERT(file->writable);
    size_t done = 0;
    while (done < data.size) {
        ssize_t put = pwrite(file->fd, data.data + done, data.size - done, (off_t)(offset + done));
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put <= 0) { /* a file never takes 0 bytes of more; were it so, there is no space */
            return failed(ctx, "write", file->name, put < 0 ? errno : ENOSPC);
        }
        done += (size_t)put;
    }
    return NK_OK;
}

static enum nk_err fs_size(void *ctx, struct nk_file *file, uint64_t *out_size)
{
    struct stat status;
    if (fstat(file->fd, &status) != 0) {
        return failed(ctx, "stat", file->name, errno);
    }
    *out_size = (uint64_t)status.st_size;
    return NK_OK;
}

static enum nk_err fs_truncate(void *ctx, struct nk_file *file, uint64_t size)
{
    NK_ASSERT(file->writable);
    int result;
    do {
        result = ftruncate(file->fd, (off_t)size);
    } while (result != 0 && errno == EINTR);
    return result == 0 ? NK_OK : failed(ctx, "truncate", file->name, errno);
}

static enum nk_err fs_sync(void *ctx, struct nk_file *file)
{
    NK_ASSERT(file->writable);
    if (fdatasync(file->fd) != 0) {
        (void)failed(ctx, "sync", file->name, errno);
        return NK_IO;
    }
    return NK_OK;
}

static enum nk_err fs_rename(void *ctx, const char *from, const char *to)
{
    struct env_posix_fs *fs = ctx;
    check_name(from);
    check_name(to);
    NK_ASSERT(fs->writable);
    if (renameat(fs->root_fd, from, fs->root_fd, to) != 0) {
        return failed(fs, "rename", from, errno);
    }
    return NK_OK;
}

static enum nk_err fs_link(void *ctx, const char *from, const char *to)
{
    struct env_posix_fs *fs = ctx;
    check_name(from);
    check_name(to);
    NK_ASSERT(fs->writable);
    if (linkat(fs->root_fd, from, fs->root_fd, to, 0) != 0) {
        return failed(fs, "link", from, errno);
    }
    return NK_OK;
}

static enum nk_err fs_remove(void *ctx, const char *name)
{
    struct env_posix_fs *fs = ctx;
    check_name(name);
    NK_ASSERT(fs->writable);
    if (unlinkat(fs->root_fd, name, 0) == 0) {
        return NK_OK;
    }
    /* Linux says EISDIR here where POSIX says EPERM. */
    if (errno == EISDIR && unlinkat(fs->root_fd, name, AT_REMOVEDIR) == 0) {
        return NK_OK;
    }
    return failed(fs, "remove", name, errno);
}

static enum nk_err fs_mkdir(void *ctx, const char *name)
{
    struct env_posix_fs *fs = ctx;
    check_name(name);
    NK_ASSERT(fs->writable);
    if (mkdirat(fs->root_fd, name, DIRECTORY_MODE) != 0) {
        return failed(fs, "mkdir", name, errno);
    }
    return NK_OK;
}

static enum nk_err open_directory(struct env_posix_fs *fs, const char *name, int *out_fd)
{
    if (*name != '\0') {
        check_name(name);
    }
    const char *path = *name != '\0' ? name : ".";
    int fd = openat(fs->root_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return failed(fs, "open", name, errno);
    }
    *out_fd = fd;
    return NK_OK;
}

static enum nk_err fs_sync_dir(void *ctx, const char *directory)
{
    int fd;
    enum nk_err err = open_directory(ctx, directory, &fd);
    if (err != NK_OK) {
        return err;
    }
    if (fsync(fd) != 0) {
        (void)failed(ctx, "sync", directory, errno);
        err = NK_IO;
    }
    (void)close(fd);
    return err;
}

static enum nk_err fs_list(void *ctx, const char *directory,
                           void (*visit)(void *visitor, const char *name), void *visitor)
{
    int fd;
    enum nk_err err = open_directory(ctx, directory, &fd);
    if (err != NK_OK) {
        return err;
    }
    DIR *entries = fdopendir(fd);
    if (entries == NULL) {
        err = failed(ctx, "list", directory, errno);
        (void)close(fd);
        return err;
    }
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(entries);
        if (entry == NULL) {
            if (errno != 0) {
                err = failed(ctx, "list", directory, errno);
            }
            break;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            visit(visitor, entry->d_name);
        }
    }
    (void)closedir(entries);
    return err;
}

static enum nk_err fs_free_bytes(void *ctx, uint64_t *out_bytes)
{
    struct env_posix_fs *fs = ctx;
    struct statvfs status;
    int result;
    do {
        result = fstatvfs(fs->root_fd, &status);
    } while (result != 0 && errno == EINTR);
    if (result != 0) {
        return failed(fs, "statvfs", "", errno);
    }
    *out_bytes = (uint64_t)status.f_bavail * status.f_frsize; /* without root's reserve */
    return NK_OK;
}

struct nk_fs env_posix_fs(struct env_posix_fs *fs)
{
    static const struct nk_fs_ops ops = {
        .open = fs_open,
        .close = fs_close,
        .pread = fs_pread,
        .pwrite = fs_pwrite,
        .size = fs_size,
        .truncate = fs_truncate,
        .sync = fs_sync,
        .rename = fs_rename,
        .link = fs_link,
        .remove = fs_remove,
        .mkdir = fs_mkdir,
        .sync_dir = fs_sync_dir,
        .list = fs_list,
        .free_bytes = fs_free_bytes,
    };
    return (struct nk_fs){&ops, fs};
}

/* ---- Statics ---- */

/* Makes `path` and what is missing above it, and syncs each parent: the root of a data directory
 * must not vanish with the power while the data below it was promised. */
static enum nk_err make_directories(const char *path, struct nk_text *reason)
{
    char part[NK_PATH_BYTES_MAX + 1];
    size_t size = strlen(path);
    if (size == 0 || size > NK_PATH_BYTES_MAX) {
        env_posix_explain(reason, "cannot make the directory", path,
                          size == 0 ? ENOENT : ENAMETOOLONG);
        return NK_INVALID;
    }
    memcpy(part, path, size + 1);
    for (size_t i = 1; i <= size; i++) {
        if (path[i] != '/' && path[i] != '\0') {
            continue;
        }
        part[i] = '\0';
        if (mkdir(part, DIRECTORY_MODE) == 0) {
            if (!sync_parent(part)) {
                env_posix_explain(reason, "cannot sync the directory above", part, errno);
                return NK_IO;
            }
        } else if (errno != EEXIST) {
            env_posix_explain(reason, "cannot make the directory", part, errno);
            return NK_IO;
        }
        part[i] = path[i];
    }
    return NK_OK;
}

static bool sync_parent(const char *path)
{
    char parent[NK_PATH_BYTES_MAX + 1];
    const char *slash = strrchr(path, '/');
    size_t size = slash == NULL ? 0 : (size_t)(slash - path);
    memcpy(parent, path, size);
    parent[size] = '\0';
    const char *name = slash == NULL ? "." : size == 0 ? "/" : parent;
    int fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    int result = fsync(fd);
    int error = errno;
    (void)close(fd);
    errno = error;
    return result == 0;
}

/* The result of a failed call, after noting faults. */
static enum nk_err failed(struct env_posix_fs *fs, const char *call, const char *name, int error)
{
    switch (error) {
    case ENOENT:
        return NK_NOT_FOUND;
    case EEXIST:
    case ENOTEMPTY:
        return NK_CONFLICT;
    default:
        break;
    }
    (void)pthread_mutex_lock(&fs->fault_lock);
    fs->fault.call = call;
    fs->fault.error = error;
    (void)snprintf(fs->fault.name, sizeof fs->fault.name, "%s", name);
    (void)pthread_mutex_unlock(&fs->fault_lock);
    return error == ENOSPC || error == EDQUOT || error == EFBIG ? NK_NO_SPACE : NK_IO;
}

/* Names are made by us, so a bad one is a programming error; it would escape the root. */
static void check_name(const char *name)
{
    size_t size = strlen(name);
    NK_ASSERT(size > 0);
    NK_ASSERT(size <= NK_PATH_BYTES_MAX);
    NK_ASSERT(name[0] != '/');
    NK_ASSERT(strstr(name, "//") == NULL);
    NK_ASSERT(strcmp(name, "..") != 0);
    NK_ASSERT(strncmp(name, "../", 3) != 0);
    NK_ASSERT(strstr(name, "/../") == NULL);
    NK_ASSERT(size < 3 || strcmp(name + size - 3, "/..") != 0);
}
