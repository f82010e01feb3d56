#pragma once

/* The state machine's own state beside the records: what survives is in the image that goes with
 * each lsm_commit (FORMAT.md). */

#include "common/base/arena.h"
#include "common/base/assert.h"
#include "common/base/limits.h"
#include "services/shardhost/kv/kv.h"

/* Sessions in the order in which they were made.  Entries first..next-1 are records of the tree, so
 * next - first of them are there. */
struct kv_queue {
    uint64_t first; /* <= next */
    uint64_t next;

    /* Entry `first`, once it has been read; not part of the image. */
    bool head_known;
    uint64_t head_expire_at_ms;
    uint8_t head_key[NK_IDEMPOTENCY_KEY_BYTES_MAX];
    size_t head_key_size;

    uint64_t seen; /* places before were in memory when foresee.c looked; not in the image */
};

struct kv {
    struct lsm_db *db; /* borrowed */
    uint32_t shard;
    uint64_t time_ms; /* log time: never goes back */
    struct kv_queue queue;
    uint64_t sessions_after_index; /* sessions of entries up to here are ignored: a planted bug */
    struct nk_arena arena;         /* the request of the command being applied */
    struct nk_buf scratch;         /* the session record being read */
};

/* One byte in front of every key says whose it is. */
enum kv_space {
    KV_SPACE_USER = 'k',
    KV_SPACE_QUEUE = 'q',
    KV_SPACE_SESSION = 's',
};

struct kv_key {
    uint8_t bytes[1 + NK_KEY_BYTES_MAX];
    size_t size;
};

static_assert(NK_IDEMPOTENCY_KEY_BYTES_MAX <= NK_KEY_BYTES_MAX, "a session's key fits");

/* `name` has at most NK_KEY_BYTES_MAX bytes (asserted). */
void kv_key_make(struct kv_key *key, enum kv_space space, struct nk_bytes name);

static inline struct nk_bytes kv_key_bytes(const struct kv_key *key)
{
    return nk_bytes_of(key->bytes, key->size);
}

/* Tells the tree that everything up to `version` is in it, with the image of this state. */
void kv_commit(struct kv *kv, struct lsm_version version);
