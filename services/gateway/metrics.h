#pragma once

/* What the gateway counts about itself, named as services/gateway/README.md lists it. */

#include "common/observe/observe.h"
#include "services/gateway/gateway.h"

/* Label `status`: what the caller was told, in few words. */
enum gateway_outcome {
    GATEWAY_OUTCOME_SUCCESS,
    GATEWAY_OUTCOME_INVALID,     /* the request made no sense */
    GATEWAY_OUTCOME_CONFLICT,    /* if_match */
    GATEWAY_OUTCOME_NOT_LEADER,  /* nobody to ask, nothing done */
    GATEWAY_OUTCOME_UNAVAILABLE, /* no quorum; the shard is fenced */
    GATEWAY_OUTCOME_TIMEOUT,
    GATEWAY_OUTCOME_OVERLOADED,
    GATEWAY_OUTCOME_DISK_FULL,
    GATEWAY_OUTCOME_CANCELLED,
    GATEWAY_OUTCOME_ERROR, /* ours */
    GATEWAY_OUTCOME_COUNT,
};

#define GATEWAY_OPERATION_COUNT 3 /* put, get, delete */

/* Borrowed by the registry until it is closed. */
struct gateway_metrics {
    struct nk_counter requests[GATEWAY_OPERATION_COUNT][GATEWAY_OUTCOME_COUNT];
    struct nk_histogram found[GATEWAY_OPERATION_COUNT];     /* success; puts: stored */
    struct nk_histogram not_found[GATEWAY_OPERATION_COUNT]; /* success; not for puts */
    struct nk_histogram failed[GATEWAY_OPERATION_COUNT];
    struct nk_gauge epoch;
    struct nk_gauge inflight_requests;
    struct nk_gauge inflight_bytes;
    struct nk_gauge watches;
    struct nk_counter garbage; /* frames that made no sense */
};

void gateway_metrics_init(struct gateway_metrics *metrics, struct nk_registry *registry);

/* One public request has its answer, `duration_us` after it was submitted. */
void gateway_metrics_count(struct gateway_metrics *metrics, const struct gateway_request *request,
                           uint64_t duration_us);

enum gateway_outcome gateway_outcome_of(enum nk_err err);
