#pragma once

/* A few small facts of a process that must survive it: identity, catalogues, epochs.  Never user
 * data.  Implementations: common/meta_lmdb (LMDB), tests/sim/meta.c.
 *
 * Loop thread only; a put or remove is one durable transaction when it returns and costs about a
 * disk sync, so it is for rare changes.  Keys 1..255 bytes, values up to 64 KiB.
 * Errors: NK_NOT_FOUND, NK_TOO_LARGE, NK_NO_SPACE, NK_IO, NK_CORRUPT. */

#include "common/base/buf.h"
#include "common/base/err.h"

struct nk_meta_ops {
    /* Replaces the contents of *out_value. */
    enum nk_err (*get)(void *ctx, struct nk_bytes key, struct nk_buf *out_value);
    enum nk_err (*put)(void *ctx, struct nk_bytes key, struct nk_bytes value);
    enum nk_err (*remove)(void *ctx, struct nk_bytes key); /* a missing key is NK_OK */
    /* Calls `visit` for each key that starts with `prefix`, in bytewise order. */
    enum nk_err (*list)(void *ctx, struct nk_bytes prefix,
                        void (*visit)(void *visitor, struct nk_bytes key, struct nk_bytes value),
                        void *visitor);
};

struct nk_meta {
    const struct nk_meta_ops *ops;
    void *ctx;
};
