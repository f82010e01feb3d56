#pragma once

/* The key-value state machine of one shard: commands in the order of the log -> records in the LSM
 * tree and an answer per command.  Deterministic: the same commands give the same bytes everywhere.
 *
 * Time is log time: the leader stamps its clock into each command, and the shard's time is the
 * highest stamp applied so far.  Only log time decides whether a key has expired; no reader's clock
 * does.  So an expired key cannot come back, whoever leads and however clocks jump: a leader that
 * sees a key past its time by its own clock first moves log time there with a CLOCK command, then
 * answers.
 *
 * Idempotency: the outcome of every command with an idempotency key is a record of the same tree,
 * written in the same step as its effect; bounded by time (log time) and by count (oldest first).
 *
 * Loop thread only. */

#include "common/base/buf.h"
#include "common/base/err.h"
#include "services/shardhost/lsm/lsm.h"

enum kv_op {
    KV_OP_PUT = 1,    /* request: norikv.v1.PutRequest */
    KV_OP_DELETE = 2, /* request: norikv.v1.DeleteRequest */
    KV_OP_CLOCK = 3,  /* no request: only moves log time */
};

/* What the leader decides when it proposes; stored in the entry, so that all replicas agree. */
struct kv_stamp {
    uint64_t now_ms;            /* max(leader's wall clock, kv_time_ms) */
    uint64_t session_ttl_ms;    /* how long an idempotency key is remembered */
    uint32_t session_count_max; /* and how many of them per shard */
};

/* Appends the command to `out`: a header (FORMAT.md) and the client's request as it came. */
void kv_command_encode(enum kv_op op, const struct kv_stamp *stamp, struct nk_bytes request,
                       struct nk_buf *out);

struct kv_options {
    uint32_t shard;
};

struct kv;

/* Builds on an open database, borrowed.  NK_CORRUPT: its state image is not one of ours, or of
 * another shard, or behind the tree's time; NK_FORMAT_TOO_NEW. */
NK_MUST_CHECK enum nk_err kv_open(struct lsm_db *db, const struct kv_options *options,
                                  struct kv **out_kv);
void kv_close(struct kv **kv);

/* Whether kv_apply will carry `request` out: asked before it is proposed, since a command that
 * cannot be decoded, once in the log, stops the shard on every replica.  NK_INVALID: no request of
 * that operation, or beyond the limits of common/base/limits.h. */
NK_MUST_CHECK enum nk_err kv_request_check(struct kv *kv, enum kv_op op, struct nk_bytes request);

/* kv_request_check, and whether memory has what kv_apply will look at, were the request carried out
 * now: its session, the sessions that make room for it, what its key has.
 *
 * NK_OK; NK_INVALID; NK_WOULD_BLOCK: not all of it, and *out_cold (replaced) names the rest.  Then
 * kv_reader_fetch brings it into the cache, on a worker, before the request is proposed; if nobody
 * does that, kv_apply reads it. */
NK_MUST_CHECK enum nk_err kv_foresee(struct kv *kv, enum kv_op op, const struct kv_stamp *stamp,
                                     struct nk_bytes request, struct nk_buf *out_cold);

struct kv_result {
    enum nk_err err; /* NK_OK, NK_CONFLICT, NK_EXISTS, NK_INVALID (idempotency key reused,
                      * or beyond the hard limits) */
    struct lsm_version version; /* NK_OK: of this write; a repeated command: of the first one */
    struct lsm_version found; /* NK_CONFLICT, NK_EXISTS: what the key has; {0,0} if it is missing */
    struct lsm_version expected; /* NK_CONFLICT: what the command asked for */
    bool tombstoned;             /* delete: a live key was there */
    bool replayed; /* the answer of an earlier command with the same idempotency key */
};

/* Applies one committed command of the log at `version`; also NOOP entries, with an empty payload.
 * Ends with lsm_commit.  Reads from disk what it looks at and memory has not (kv_foresee).
 *
 * Returns NK_OK and *out_result; or a fault (NK_CORRUPT: a command that no version of this code
 * wrote; NK_FORMAT_TOO_NEW; NK_IO), after which the shard must stop: skipping an entry would make
 * replicas differ. */
NK_MUST_CHECK
enum nk_err kv_apply(struct kv *kv, struct lsm_version version, struct nk_bytes payload,
                     struct kv_result *out_result);

/* Highest stamp applied, ms since 1970.  0 before the first. */
uint64_t kv_time_ms(const struct kv *kv);

struct kv_value {
    struct lsm_version version;
    uint64_t expire_at_ms; /* 0: never */
};

/* The live value of `key` in log time.  NK_NOT_FOUND also for tombstones and expired keys.
 * NK_WOULD_BLOCK with LSM_MEMORY: take kv_reader and finish on a worker. */
NK_MUST_CHECK
enum nk_err kv_get(struct kv *kv, struct nk_bytes key, enum lsm_reach reach,
                   struct kv_value *out_value, struct nk_buf *out_bytes);

/* A get that goes to disk: acquire and release on the loop thread, get and fetch on any. */
struct kv_reader {
    struct lsm_view *view;
    uint64_t time_ms;
};
void kv_reader_acquire(struct kv *kv, struct kv_reader *out_reader);
void kv_reader_release(struct kv_reader *reader);
NK_MUST_CHECK
enum nk_err kv_reader_get(const struct kv_reader *reader, struct nk_bytes key,
                          struct kv_value *out_value, struct nk_buf *out_bytes);

/* Reads what kv_foresee named, so that it is cached.  NK_OK, or a fault. */
NK_MUST_CHECK
enum nk_err kv_reader_fetch(const struct kv_reader *reader, struct nk_bytes names);
