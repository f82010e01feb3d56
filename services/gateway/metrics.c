#include "services/gateway/metrics.h"

#include "common/base/assert.h"
#include "common/base/units.h"
#include "services/gateway/check.h"

static const char *const operations[GATEWAY_OPERATION_COUNT] = {"put", "get", "delete"};

static const char *const outcomes[GATEWAY_OUTCOME_COUNT] = {
    "success", "invalid",    "conflict",  "not_leader", "unavailable",
    "timeout", "overloaded", "disk_full", "cancelled",  "error",
};

static void add_duration(struct nk_registry *registry, struct nk_histogram *histogram,
                         const char *operation, const char *status, const char *result);

void gateway_metrics_init(struct gateway_metrics *metrics, struct nk_registry *registry)
{
    *metrics = (struct gateway_metrics){0};
    for (size_t op = 0; op < GATEWAY_OPERATION_COUNT; op++) {
        for (size_t outcome = 0; outcome < GATEWAY_OUTCOME_COUNT; outcome++) {
            struct nk_metric metric = {
                .name = "kv_requests_total",
                .help = "Requests answered, by operation and what the caller was told.",
                .labels = {{"operation", operations[op]}, {"status", outcomes[outcome]}},
            };
            nk_registry_add_counter(registry, &metric, &metrics->requests[op][outcome]);
        }
    }
    for (size_t op = 0; op < GATEWAY_OPERATION_COUNT; op++) {
        bool is_put = op + 1 == GATEWAY_OP_PUT;
        add_duration(registry, &metrics->found[op], operations[op], "success",
                     is_put ? "stored" : "found");
        if (!is_put) {
            add_duration(registry, &metrics->not_found[op], operations[op], "success", "not_found");
        }
        add_duration(registry, &metrics->failed[op], operations[op], "error", "none");
    }
    nk_registry_gauge(registry, "cluster_view_epoch",
                      "Epoch of the cluster view that this process has.", &metrics->epoch);
    nk_registry_gauge(registry, "gateway_inflight_requests", "Requests accepted and not answered.",
                      &metrics->inflight_requests);
    nk_registry_gauge(registry, "gateway_inflight_bytes",
                      "Payload of the requests accepted and not answered.",
                      &metrics->inflight_bytes);
    nk_registry_gauge(registry, "gateway_watches", "Open watches of the cluster view.",
                      &metrics->watches);
    nk_registry_counter(registry, "gateway_garbage_frames_total",
                        "Received frames that made no sense and were dropped.", &metrics->garbage);
}

void gateway_metrics_count(struct gateway_metrics *metrics, const struct gateway_request *request,
                           uint64_t duration_us)
{
    size_t op = (size_t)request->op - 1;
    NK_ASSERT(op < GATEWAY_OPERATION_COUNT);
    nk_counter_add(&metrics->requests[op][gateway_outcome_of(request->err)], 1);
    struct nk_histogram *histogram = &metrics->failed[op];
    if (request->err == NK_OK) {
        histogram = gateway_answer_found(request->op, request->response) ? &metrics->found[op]
                                                                         : &metrics->not_found[op];
    }
    nk_histogram_observe(histogram, duration_us);
}

enum gateway_outcome gateway_outcome_of(enum nk_err err)
{
    switch (err) {
    case NK_OK:
        return GATEWAY_OUTCOME_SUCCESS;
    case NK_INVALID:
    case NK_TOO_LARGE:
        return GATEWAY_OUTCOME_INVALID;
    case NK_CONFLICT:
    case NK_EXISTS:
        return GATEWAY_OUTCOME_CONFLICT;
    case NK_NOT_LEADER:
    case NK_UNAVAILABLE:
        return GATEWAY_OUTCOME_NOT_LEADER;
    case NK_NO_QUORUM:
    case NK_FENCED:
        return GATEWAY_OUTCOME_UNAVAILABLE;
    case NK_TIMEOUT:
    case NK_EXPIRED:
        return GATEWAY_OUTCOME_TIMEOUT;
    case NK_BUSY:
        return GATEWAY_OUTCOME_OVERLOADED;
    case NK_NO_SPACE:
        return GATEWAY_OUTCOME_DISK_FULL;
    case NK_CANCELLED:
        return GATEWAY_OUTCOME_CANCELLED;
    default:
        return GATEWAY_OUTCOME_ERROR;
    }
}

static void add_duration(struct nk_registry *registry, struct nk_histogram *histogram,
                         const char *operation, const char *status, const char *result)
{
    nk_histogram_init(histogram, nk_latency_bounds_us, NK_LATENCY_BOUND_COUNT);
    struct nk_metric metric = {
        .name = "kv_request_duration_ms",
        .help = "Time from a request's arrival to its answer.",
        .scale = NK_SCALE_US_AS_MS,
        .labels = {{"operation", operation}, {"status", status}, {"result", result}},
    };
    nk_registry_add_histogram(registry, &metric, histogram);
}
