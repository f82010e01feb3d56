#include "services/shardhost/watch.h"

#include <stdatomic.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/units.h"

/* As many calls are watched at once: more than threads that call, so that a slot is found at once.
 */
#define CALLS_MAX 64

struct call {
    _Atomic uint64_t since_us; /* 0: the slot is free */
    _Atomic(const char *) what;
};

struct watch {
    const struct nk_fs *inner;
    const struct nk_clock *clock;
    struct nk_fs fs;
    struct call calls[CALLS_MAX];
};

/* NULL: so many are under way that this one is not watched. */
static struct call *begin(struct watch *watch, const char *what)
{
    uint64_t now_us = nk_max_u64(nk_mono_us(watch->clock), 1);
    for (size_t i = 0; i < CALLS_MAX; i++) {
        struct call *call = &watch->calls[i];
        uint64_t none = 0;
        if (atomic_load_explicit(&call->since_us, memory_order_relaxed) == 0 &&
            atomic_compare_exchange_strong(&call->since_us, &none, now_us)) {
            atomic_store_explicit(&call->what, what, memory_order_relaxed);
            return call;
        }
    }
    return NULL;
}

static enum nk_err end(struct call *call, enum nk_err err)
{
    if (call != NULL) {
        atomic_store(&call->since_us, 0);
    }
    return err;
}

uint64_t watch_oldest_us(const struct watch *watch, const char **out_call)
{
    uint64_t oldest_us = 0;
    *out_call = "";
    for (size_t i = 0; i < CALLS_MAX; i++) {
        const struct call *call = &watch->calls[i];
        uint64_t since_us = atomic_load(&call->since_us);
        if (since_us != 0 && (oldest_us == 0 || since_us < oldest_us)) {
            const char *what = atomic_load_explicit(&call->what, memory_order_relaxed);
            oldest_us = since_us;
            *out_call = what != NULL ? what : ""; /* NULL: it has begun just now */
        }
    }
    return oldest_us;
}

/* ---- The calls ---- */

static enum nk_err watch_open_file(void *ctx, const char *name, enum nk_fs_open mode,
                                   struct nk_file **out_file)
{
    struct watch *watch = ctx;
    struct call *call = begin(watch, "open");
    return end(call, nk_fs_open(watch->inner, name, mode, out_file));
}

static void watch_close_file(void *ctx, struct nk_file **file)
{
    struct watch *watch = ctx;
    struct call *call = begin(watch, "close");
    nk_fs_close(watch->inner, file);
    (void)end(call, NK_OK);
}

static enum nk_err watch_pread(void *ctx, struct nk_file *file, uint64_t offset, void *out_data,
                               size_t size, size_t *out_read)
{
    struct watch *watch = ctx;
    struct call *call = begin(watch, "read");
    return end(call, nk_fs_pread(watch->inner, file, offset, out_data, size, out_read));
}

static enum nk_err watch_pwrite(void *ctx, struct nk_file *file, uint64_t offset,
                                struct nk_bytes data)
{
    struct watch *watch = ctx;
    struct call *call = begin(watch, "write");
    return end(call, nk_fs_pwrite(watch->inner, file, offset, data));
}

static enum nk_err watch_size(void *ctx, struct nk_file *file, uint64_t *out_size)
{
    struct watch *watch = ctx;
    struct call *call = begin(watch, "size");
    return end(call, nk_fs_size(watch->inner, file, out_size));
}

static enum nk_err watch_truncate(void *ctx, struct nk_file *file, uint64_t size)
{
    struct watch *watch = ctx;
    struct call *call = begin(watch, "truncate");
    return end(call, nk_fs_truncate(watch->inner, file, size));
}

static enum nk_err watch_sync(void *ctx, struct nk_file *file)
{
    struct watch *watch = ctx;
    struct call *call = begin(watch, "sync");
    return end(call, nk_fs_sync(watch->inner, file));
}

static enum nk_err watch_rename(void *ctx, const char *from, const char *to)
{
    struct watch *watch = ctx;
    struct call *call = begin(watch, "rename");
    return end(call, nk_fs_rename(watch->inner, from, to));
}

static enum nk_err watch_link(void *ctx, const char *from, const char *to)
{
    struct watch *watch = ctx;
    struct call *call = begin(watch, "link");
    return end(call, nk_fs_link(watch->inner, from, to));
}

static enum nk_err watch_remove(void *ctx, const char *name)
{
    struct watch *watch = ctx;
    struct call *call = begin(watch, "remove");
    return end(call, nk_fs_remove(watch->inner, name));
}

static enum nk_err watch_mkdir(void *ctx, const char *name)
{
    struct watch *watch = ctx;
    struct call *call = begin(watch, "mkdir");
    return end(call, nk_fs_mkdir(watch->inner, name));
}

static enum nk_err watch_sync_dir(void *ctx, const char *directory)
{
    struct watch *watch = ctx;
    struct call *call = begin(watch, "sync of a directory");
    return end(call, nk_fs_sync_dir(watch->inner, directory));
}

static enum nk_err watch_list(void *ctx, const char *directory,
                              void (*visit)(void *visitor, const char *name), void *visitor)
{
    struct watch *watch = ctx;
    struct call *call = begin(watch, "list");
    return end(call, nk_fs_list(watch->inner, directory, visit, visitor));
}

static enum nk_err watch_free_bytes(void *ctx, uint64_t *out_bytes)
{
    struct watch *watch = ctx;
    struct call *call = begin(watch, "free space");
    return end(call, nk_fs_free_bytes(watch->inner, out_bytes));
}

/* ---- Life cycle ---- */

static const struct nk_fs_ops fs_ops = {
    .open = watch_open_file,
    .close = watch_close_file,
    .pread = watch_pread,
    .pwrite = watch_pwrite,
    .size = watch_size,
    .truncate = watch_truncate,
    .sync = watch_sync,
    .rename = watch_rename,
    .link = watch_link,
    .remove = watch_remove,
    .mkdir = watch_mkdir,
    .sync_dir = watch_sync_dir,
    .list = watch_list,
    .free_bytes = watch_free_bytes,
};

void watch_open(const struct nk_fs *inner, const struct nk_clock *clock, struct watch **out_watch)
{
    struct watch *watch = nk_alloc_zero(1, sizeof *watch);
    watch->inner = inner;
    watch->clock = clock;
    watch->fs = (struct nk_fs){&fs_ops, watch};
    *out_watch = watch;
}

void watch_close(struct watch **watch)
{
    if (*watch == NULL) {
        return;
    }
    const char *what;
    NK_ASSERT(watch_oldest_us(*watch, &what) == 0);
    nk_free(*watch);
    *watch = NULL;
}

const struct nk_fs *watch_fs(const struct watch *watch)
{
    return &watch->fs;
}
