#pragma once

/* Files as the storage code needs them, no more.  Implementations: common/env_posix/fs_posix.c
 * (real, below one directory), tests/sim/fs.c (memory, faults, crash).
 *
 * Names are relative paths below the root of the fs, parts separated by '/', no "..".
 *
 * Durability: data is promised after sync() returned NK_OK; a name (create, rename, link, remove,
 * mkdir) only after sync_dir() of its directory did.  A crash keeps exactly what was promised plus
 * an arbitrary part of the rest: unsynced bytes may be there, old, or zero, in any 512-byte mix,
 * and a file's unsynced growth may be there or not; unsynced names likewise, each on its own.
 *
 * After a failed sync the state of the file's unsynced data is unknown for good: the caller must
 * not sync again and believe it.
 *
 * Errors: NK_NOT_FOUND (no such name), NK_CONFLICT (name exists), NK_NO_SPACE, NK_IO.
 * Every call may block.  Threads: different files may be used by different threads; one file may be
 * read by many threads while at most one appends, writes or syncs. */

#include "common/base/bytes.h"
#include "common/base/err.h"

struct nk_file; /* defined by each implementation */

enum nk_fs_open {
    NK_FS_READ,   /* must be a file; append, write and truncate are forbidden */
    NK_FS_WRITE,  /* must exist; read and write */
    NK_FS_CREATE, /* must not exist; read and write */
};

struct nk_fs_ops {
    /* Never waits for anybody: what is no file (a FIFO, a device) cannot be read, NK_IO. */
    enum nk_err (*open)(void *ctx, const char *name, enum nk_fs_open mode,
                        struct nk_file **out_file);

    /* Releases *file and nulls it; NULL is a no-op.  Promises nothing about unsynced data. */
    void (*close)(void *ctx, struct nk_file **file);

    /* Reads up to `size` bytes at `offset`; fewer only at the end of the file. */
    enum nk_err (*pread)(void *ctx, struct nk_file *file, uint64_t offset, void *out_data,
                         size_t size, size_t *out_read);

    /* Write all of `data` at `offset` (growing the file if it ends past the end) or fail; after a
     * failure what the range holds is unknown. */
    enum nk_err (*pwrite)(void *ctx, struct nk_file *file, uint64_t offset, struct nk_bytes data);

    enum nk_err (*size)(void *ctx, struct nk_file *file, uint64_t *out_size);
    enum nk_err (*truncate)(void *ctx, struct nk_file *file, uint64_t size);
    enum nk_err (*sync)(void *ctx, struct nk_file *file);

    enum nk_err (*rename)(void *ctx, const char *from, const char *to); /* replaces `to` */
    enum nk_err (*link)(void *ctx, const char *from, const char *to);   /* second name, same file */
    enum nk_err (*remove)(void *ctx, const char *name);        /* file or empty directory */
    enum nk_err (*mkdir)(void *ctx, const char *name);         /* NK_CONFLICT if it exists */
    enum nk_err (*sync_dir)(void *ctx, const char *directory); /* "" is the root */

    /* Calls `visit` for each name in `directory`, in no particular order; "." and ".." are left
     * out.  The directory must not be changed during the walk. */
    enum nk_err (*list)(void *ctx, const char *directory,
                        void (*visit)(void *visitor, const char *name), void *visitor);

    enum nk_err (*free_bytes)(void *ctx, uint64_t *out_bytes);
};

struct nk_fs {
    const struct nk_fs_ops *ops;
    void *ctx;
};

NK_MUST_CHECK static inline enum nk_err nk_fs_open(const struct nk_fs *fs, const char *name,
                                                   enum nk_fs_open mode, struct nk_file **out_file)
{
    return fs->ops->open(fs->ctx, name, mode, out_file);
}

static inline void nk_fs_close(const struct nk_fs *fs, struct nk_file **file)
{
    fs->ops->close(fs->ctx, file);
}

NK_MUST_CHECK static inline enum nk_err nk_fs_pread(const struct nk_fs *fs, struct nk_file *file,
                                                    uint64_t offset, void *out_data, size_t size,
                                                    size_t *out_read)
{
    return fs->ops->pread(fs->ctx, file, offset, out_data, size, out_read);
}

NK_MUST_CHECK static inline enum nk_err nk_fs_pwrite(const struct nk_fs *fs, struct nk_file *file,
                                                     uint64_t offset, struct nk_bytes data)
{
    return fs->ops->pwrite(fs->ctx, file, offset, data);
}

NK_MUST_CHECK static inline enum nk_err nk_fs_size(const struct nk_fs *fs, struct nk_file *file,
                                                   uint64_t *out_size)
{
    return fs->ops->size(fs->ctx, file, out_size);
}

NK_MUST_CHECK static inline enum nk_err nk_fs_truncate(const struct nk_fs *fs, struct nk_file *file,
                                                       uint64_t size)
{
    return fs->ops->truncate(fs->ctx, file, size);
}

NK_MUST_CHECK static inline enum nk_err nk_fs_sync(const struct nk_fs *fs, struct nk_file *file)
{
    return fs->ops->sync(fs->ctx, file);
}

NK_MUST_CHECK static inline enum nk_err nk_fs_rename(const struct nk_fs *fs, const char *from,
                                                     const char *to)
{
    return fs->ops->rename(fs->ctx, from, to);
}

NK_MUST_CHECK static inline enum nk_err nk_fs_link(const struct nk_fs *fs, const char *from,
                                                   const char *to)
{
    return fs->ops->link(fs->ctx, from, to);
}

NK_MUST_CHECK static inline enum nk_err nk_fs_remove(const struct nk_fs *fs, const char *name)
{
    return fs->ops->remove(fs->ctx, name);
}

NK_MUST_CHECK static inline enum nk_err nk_fs_mkdir(const struct nk_fs *fs, const char *name)
{
    return fs->ops->mkdir(fs->ctx, name);
}

NK_MUST_CHECK static inline enum nk_err nk_fs_sync_dir(const struct nk_fs *fs,
                                                       const char *directory)
{
    return fs->ops->sync_dir(fs->ctx, directory);
}

NK_MUST_CHECK static inline enum nk_err nk_fs_list(const struct nk_fs *fs, const char *directory,
                                                   void (*visit)(void *visitor, const char *name),
                                                   void *visitor)
{
    return fs->ops->list(fs->ctx, directory, visit, visitor);
}

NK_MUST_CHECK static inline enum nk_err nk_fs_free_bytes(const struct nk_fs *fs,
                                                         uint64_t *out_bytes)
{
    return fs->ops->free_bytes(fs->ctx, out_bytes);
}
