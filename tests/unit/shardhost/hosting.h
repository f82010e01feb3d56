#pragma once

/* A shardhost role on a stage, and short ways to ask it.  The asking gateway is one partner. */

#include "proto/norikv/internal/v1/shard.pb-c.h"
#include "proto/norikv/v1/kv.pb-c.h"
#include "tests/unit/stage/stage.h"

#define HOSTING_SHARD ((uint32_t)3) /* whom requests ask unless a test says otherwise */

/* Of 3999 bytes: two of them fill a memtable of hosting_open. */
const char *hosting_long_value(void);

struct hosting {
    struct stage stage;
    void *role;
    nk_peer gateway;
    uint32_t shard;   /* whom requests ask */
    uint64_t session; /* the incarnation that requests are meant for */
    uint64_t id_next;
};

void hosting_open(struct hosting *hosting);
void hosting_close(struct hosting *hosting);

/* kill -9 and a new start on the same files; nothing has run yet. */
void hosting_restart(struct hosting *hosting);

/* After a start of the test's own: the gateway opens its link. */
void hosting_meet(struct hosting *hosting);

/* Sends one request; returns its id. */
uint64_t hosting_send(struct hosting *hosting, Norikv__Internal__V1__ShardOp op,
                      struct nk_bytes request);
uint64_t hosting_send_message(struct hosting *hosting, Norikv__Internal__V1__ShardOp op,
                              const ProtobufCMessage *message);
uint64_t hosting_send_put(struct hosting *hosting, const char *key, const char *value);
uint64_t hosting_send_put_for(struct hosting *hosting, const char *key, uint64_t ttl_ms);
uint64_t hosting_send_delete(struct hosting *hosting, const char *key);
uint64_t hosting_send_get(struct hosting *hosting, const char *key, const char *consistency);

/* Says that the callers of `ids` have gone. */
void hosting_cancel(struct hosting *hosting, uint64_t *ids, size_t count);

/* One tick: what it began, and answers, but no job. */
void hosting_tick(struct hosting *hosting);

/* Until nothing is under way. */
void hosting_settle(struct hosting *hosting);

/* The answer to a request; NULL: none yet. */
const Norikv__Internal__V1__ShardReply *hosting_reply(struct hosting *hosting, uint64_t id);

/* The answer's `err`; asserts that there is one. */
enum nk_err hosting_err(struct hosting *hosting, uint64_t id);

/* Puts long values under "k0", "k1", ... one after the other, until one is not answered with NK_OK;
 * memtables are flushed on the way.  Returns how many were. */
size_t hosting_put_many(struct hosting *hosting, size_t count);

/* The value that a get was answered with: "" for a missing key.  Lives until hosting_close. */
const char *hosting_value(struct hosting *hosting, uint64_t id);
