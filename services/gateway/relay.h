#pragma once

/* The life of a request between its acceptance and its end: checked, routed, sent, repeated where
 * that is safe, answered exactly once.  Knows no threads, no fronts and no membership.
 *
 *   accept -> WAITING <-> UNSENT -> SENT -> end          (states of the in-flight table)
 *
 * Loop thread only. */

#include "common/base/arena.h"
#include "common/base/prng.h"
#include "services/gateway/check.h"
#include "services/gateway/links.h"
#include "services/gateway/retry.h"

struct gateway_relay_options {
    const struct nk_env *env; /* borrowed until deinit */
    uint32_t total_shards;
    struct gateway_limits limits;
    uint64_t request_timeout_us; /* of requests that name no deadline */
    size_t inflight_max;         /* requests */
    size_t inflight_bytes_max;   /* their payloads */

    /* The request has its answer and has left the relay; called exactly once for each.  Must not
     * call back into the relay. */
    void (*ended)(void *ctx, struct gateway_request *request);
    void *ctx;
};

struct gateway_relay {
    struct gateway_relay_options options;
    struct gateway_router router;
    struct gateway_inflight inflight;
    struct gateway_links links;
    struct nk_arena arena; /* of one received batch */
    struct nk_prng prng;   /* ids of internal errors */
    uint64_t now_us;       /* of the last call */
    bool stopping;
};

void gateway_relay_init(struct gateway_relay *relay, const struct gateway_relay_options *options);

/* Stops and abandons first. */
void gateway_relay_deinit(struct gateway_relay *relay);

void gateway_relay_accept(struct gateway_relay *relay, struct gateway_request *request,
                          uint64_t now_us);

/* Takes the request out, if it is in; `ended` is not called for it. */
void gateway_relay_withdraw(struct gateway_relay *relay, struct gateway_request *request);

/* The cluster's state has changed. */
void gateway_relay_follow(struct gateway_relay *relay, const struct nk_cluster *cluster,
                          uint64_t now_us);

/* A ShardReplies message from a partner; never trusted.  False: it is none. */
bool gateway_relay_receive(struct gateway_relay *relay, nk_peer from, struct nk_bytes message,
                           uint64_t now_us);

/* Repeats and ends what is due, then sends what has gathered.  Returns when it wants to be called
 * again; UINT64_MAX: not by time. */
uint64_t gateway_relay_tick(struct gateway_relay *relay, uint64_t now_us);

/* From here on nothing new is sent; what a shardhost has may still be answered. */
void gateway_relay_stop(struct gateway_relay *relay);

/* Whatever is in flight ends as if its time were over. */
void gateway_relay_abandon(struct gateway_relay *relay);

/* Writes the answer of a gateway that takes nothing new into the request.  Any thread. */
void gateway_relay_refuse(struct gateway_request *request);

/* Logs a fault with an id of its own and adds what its caller is told. */
void gateway_relay_fault(struct gateway_relay *relay, enum nk_err err, const char *detail,
                         struct nk_text *text);
