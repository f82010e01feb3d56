#pragma once

/* The handler on a gateway role on a stage.  The test is the client, through exchanges of its own,
 * and the shardhost that leads every shard. */

#include "common/env/http.h"
#include "proto/norikv/internal/v1/shard.pb-c.h"
#include "services/gateway/gateway.h"
#include "tests/unit/stage/stage.h"

struct serving {
    struct stage stage;
    struct gateway *gateway;
    struct nk_http_handler handler;
    nk_peer shardhost; /* the link to it */
};

void serving_open(struct serving *serving); /* no shardhost is known yet */
void serving_join(struct serving *serving); /* now it is */
void serving_close(struct serving *serving);

/* A request and what became of it. */
struct asked {
    struct nk_http_exchange plain;
    const char *const *headers; /* name, value, name, ..., NULL */
    bool is_route;
    size_t body_max;
    unsigned answer_count;
    unsigned status;
    char type[64];
    char fields[256]; /* "name: value\n" for each */
    struct nk_buf body;
};

/* begin(), and if that asks for the body, request() and a tick of the gateway. */
void serving_ask(struct serving *serving, struct asked *asked, const char *method,
                 const char *target, const char *const *headers, const char *body);
void asked_deinit(struct asked *asked);

/* What the shardhost was asked last; NULL: nothing (its probes aside). */
const Norikv__Internal__V1__ShardRequest *serving_request(struct serving *serving);

/* It answers that one. */
void serving_reply(struct serving *serving, enum nk_err err, const char *message,
                   struct nk_bytes response);
