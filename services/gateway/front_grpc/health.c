/* grpc.health.v1.Health: what /readyz says, for gRPC clients and Kubernetes probes. */

#include "services/gateway/front_grpc/stream.h"

#include <grpc/byte_buffer.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/units.h"
#include "grpc/health/v1/health.pb-c.h"
#include "proto/frame.h"

/* A request is a short name; this bounds what a hostile one costs. */
#define ARENA_BYTES_MAX ((size_t)(8 * NK_KIB))

typedef Grpc__Health__V1__HealthCheckRequest health_request;
typedef Grpc__Health__V1__HealthCheckResponse health_response;
typedef Grpc__Health__V1__HealthCheckResponse__ServingStatus serving_status;

#define SERVING     GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
#define NOT_SERVING GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING
#define UNKNOWN     GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN

struct check_call {
    struct front_arrival arrival;
};

struct health_watch {
    struct front_arrival arrival;
    struct front_stream stream;
    struct nk_list list; /* in front_grpc.health_watches; the event thread's own */
    bool known;          /* the service is one of ours */
};

static void check_arrived(struct front_tag *tag, bool ok);
static void health_watch_arrived(struct front_tag *tag, bool ok);
static void health_watch_closed(struct front_stream *stream);
static void health_watch_release(struct front_stream *stream);
static enum nk_err read_service(grpc_byte_buffer *payload, bool *out_known);
static bool serves(const struct front_grpc *front);
static grpc_byte_buffer *pack(serving_status status);

void front_health_check_ask(struct front_endpoint *endpoint)
{
    struct check_call *call = nk_alloc_zero(1, sizeof *call);
    front_arrival_ask(&call->arrival, endpoint, check_arrived);
}

void front_health_watch_ask(struct front_endpoint *endpoint)
{
    struct health_watch *watch = nk_alloc_zero(1, sizeof *watch);
    nk_list_init(&watch->list);
    front_arrival_ask(&watch->arrival, endpoint, health_watch_arrived);
}

void front_health_poll(struct front_grpc *front)
{
    bool now = serves(front);
    if (now == front->health_told) {
        return;
    }
    front->health_told = now;
    for (struct nk_list *node = front->health_watches.next; node != &front->health_watches;
         node = node->next) {
        struct health_watch *watch = NK_CONTAINER_OF(node, struct health_watch, list);
        if (watch->known) {
            front_stream_offer(&watch->stream, pack(now ? SERVING : NOT_SERVING));
        }
    }
}

static void check_arrived(struct front_tag *tag, bool ok)
{
    struct check_call *call = NK_CONTAINER_OF(tag, struct check_call, arrival.tag);
    struct front_grpc *front = call->arrival.endpoint->front;
    if (front_arrival_admit(&call->arrival, ok)) {
        bool known = false;
        enum nk_err err = read_service(call->arrival.payload, &known);
        if (err != NK_OK) {
            front_reply(front, call->arrival.call, NULL, err,
                        "the request is no valid grpc.health.v1.HealthCheckRequest");
        } else if (!known) {
            front_reply(front, call->arrival.call, NULL, NK_NOT_FOUND, "no such service here");
        } else {
            front_reply(front, call->arrival.call, pack(serves(front) ? SERVING : NOT_SERVING),
                        NK_OK, "");
        }
        front->open_count--;
    }
    front_arrival_release(&call->arrival);
    nk_free(call);
}

static void health_watch_arrived(struct front_tag *tag, bool ok)
{
    struct health_watch *watch = NK_CONTAINER_OF(tag, struct health_watch, arrival.tag);
    struct front_grpc *front = watch->arrival.endpoint->front;
    if (!front_arrival_admit(&watch->arrival, ok)) {
        front_arrival_release(&watch->arrival);
        nk_free(watch);
        return;
    }
    enum nk_err err = read_service(watch->arrival.payload, &watch->known);
    front_arrival_release(&watch->arrival);
    if (err != NK_OK) {
        front_reply(front, watch->arrival.call, NULL, err,
                    "the request is no valid grpc.health.v1.HealthCheckRequest");
        front->open_count--;
        nk_free(watch);
        return;
    }
    front_health_poll(front); /* so that everybody has heard what this one hears now */
    watch->stream.closed = health_watch_closed;
    watch->stream.release = health_watch_release;
    front_stream_begin(&watch->stream, front, watch->arrival.call);
    nk_list_append(&front->health_watches, &watch->list);
    serving_status status = front->health_told ? SERVING : NOT_SERVING;
    front_stream_offer(&watch->stream, pack(watch->known ? status : UNKNOWN));
}

static void health_watch_closed(struct front_stream *stream)
{
    struct health_watch *watch = NK_CONTAINER_OF(stream, struct health_watch, stream);
    NK_ASSERT(stream->front->open_count > 0);
    stream->front->open_count--;
    nk_list_remove(&watch->list);
    front_stream_end(stream, NK_CANCELLED, "the caller has gone");
}

static void health_watch_release(struct front_stream *stream)
{
    nk_free(NK_CONTAINER_OF(stream, struct health_watch, stream));
}

/* Known are the whole server, whose name is empty, and the service that needs the cluster. */
static enum nk_err read_service(grpc_byte_buffer *payload, bool *out_known)
{
    grpc_slice slice;
    struct nk_bytes message;
    struct nk_arena arena;
    nk_arena_init(&arena, NK_KIB, ARENA_BYTES_MAX);
    const health_request *request = NULL;
    if (front_message(payload, &slice, &message)) {
        request = (const health_request *)nk_unpack(
            &grpc__health__v1__health_check_request__descriptor, message, &arena);
    }
    if (request != NULL) {
        *out_known = request->service[0] == '\0' || strcmp(request->service, "norikv.v1.Kv") == 0;
    }
    nk_arena_deinit(&arena);
    grpc_slice_unref(slice);
    return request != NULL ? NK_OK : NK_INVALID;
}

static bool serves(const struct front_grpc *front)
{
    const char *reason = NULL;
    return nk_health_ready(front->options.health, &reason) && !atomic_load(&front->stopping);
}

static grpc_byte_buffer *pack(serving_status status)
{
    health_response response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    response.status = status;
    uint8_t bytes[16];
    size_t size = grpc__health__v1__health_check_response__get_packed_size(&response);
    NK_ASSERT(size <= sizeof bytes);
    (void)grpc__health__v1__health_check_response__pack(&response, bytes);
    return front_buffer(nk_bytes_of(bytes, size));
}
