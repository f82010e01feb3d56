#pragma once

/* Commands taken apart.  Format: FORMAT.md. */

#include "common/base/arena.h"
#include "common/base/limits.h"
#include "services/shardhost/kv/kv.h"

struct kv_command {
    enum kv_op op;
    struct kv_stamp stamp;

    /* Of the client's request; empty and zero for KV_OP_CLOCK, borrowed from the arena. */
    struct nk_bytes key;
    struct nk_bytes value;
    struct nk_bytes idempotency_key; /* empty: none */
    uint64_t ttl_ms;                 /* 0: for ever */
    bool has_if_match;
    struct lsm_version if_match; /* {0,0}: the key must not exist */
};

/* What a request may cost to decode: its bytes once more, and room for fields we do not know. */
#define KV_REQUEST_ARENA_BYTES_MAX ((size_t)(2 * NK_REQUEST_BYTES_MAX))

/* NK_CORRUPT: not a command; NK_FORMAT_TOO_NEW: one of a later version. */
NK_MUST_CHECK enum nk_err kv_command_decode(struct nk_bytes payload, struct nk_arena *arena,
                                            struct kv_command *out_command);

/* The request part alone; false: it is none.  Sets the fields of the request. */
bool kv_request_decode(enum kv_op op, struct nk_bytes request, struct nk_arena *arena,
                       struct kv_command *command);

/* Whether the command is decided by what its key has. */
static inline bool kv_needs_present(const struct kv_command *command)
{
    return command->op == KV_OP_DELETE || command->has_if_match;
}

/* Whether sizes are inside the limits of common/base/limits.h. */
bool kv_request_within_limits(const struct kv_command *command);
