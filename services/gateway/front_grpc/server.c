/* The server: opens, hands each event to its owner, ends.
 *
 * The end.  gRPC must not be asked for anything once its queue is shut down, and the queue must be,
 * for the event thread to come back.  So everybody who may still ask for something is counted:
 * every call from the asking for it until its release, and the server until it says that it has
 * stopped.  The last to leave shuts the queue down.  (That the server has stopped is not enough: it
 * means that all connections are gone, while we may still hold calls of theirs.) */

#include "services/gateway/front_grpc/front.h"

#include <grpc/grpc_security.h>
#include <grpc/support/time.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/limits.h"
#include "common/base/units.h"

/* What one connection may have under way: a client with more waits on its side. */
#define CONNECTION_STREAMS_MAX  1024

/* Metadata is ours to read only for deadlines, later for tokens. */
#define METADATA_BYTES_MAX      (16 * (int)NK_KIB)

/* A connection that has not become HTTP/2 by then is closed. */
#define HANDSHAKE_TIMEOUT_MS    10000

/* A silent client is asked after a while, and gone if it does not answer; idle ones too, or
 * connections that were abandoned without a word would stay for ever.  The timeout is long enough
 * for a client that is only busy. */
#define KEEPALIVE_TIME_MS       60000
#define KEEPALIVE_TIMEOUT_MS    20000

/* Clients that ask us more often than this are taken for broken. */
#define CLIENT_PING_INTERVAL_MS 5000

/* gRPC takes only the identity: a small compressed message can unfold into hundreds of MiB before
 * its size is found to be too large. */
#define IDENTITY_ONLY           (1 << GRPC_COMPRESS_NONE)

/* What gRPC may hold of all callers' requests and answers, also of requests that never become
 * complete; beyond it resets streams, which callers see as RESOURCE_EXHAUSTED. */
#define MEMORY_BYTES_MAX        (2 * NK_GATEWAY_INFLIGHT_BYTES_MAX)

/* How soon a change of our health reaches those who watch it. */
#define HEALTH_POLL_MS          100

/* How many calls are asked for ahead, so that a burst finds takers at once. */
#define ASK_MANY                64
#define ASK_FEW                 4

static const struct front_method methods[] = {
    {.name = "/norikv.v1.Kv/Put",
     .has_payload = true,
     .ask_count = ASK_MANY,
     .op = GATEWAY_OP_PUT,
     .ask = front_call_ask},
    {.name = "/norikv.v1.Kv/Get",
     .has_payload = true,
     .ask_count = ASK_MANY,
     .op = GATEWAY_OP_GET,
     .ask = front_call_ask},
    {.name = "/norikv.v1.Kv/Delete",
     .has_payload = true,
     .ask_count = ASK_MANY,
     .op = GATEWAY_OP_DELETE,
     .ask = front_call_ask},
    {.name = "/norikv.v1.Meta/WatchCluster",
     .has_payload = true,
     .ask_count = ASK_FEW,
     .ask = front_watch_ask},
    {.name = "/grpc.health.v1.Health/Check",
     .has_payload = true,
     .ask_count = ASK_FEW,
     .ask = front_health_check_ask},
    {.name = "/grpc.health.v1.Health/Watch",
     .has_payload = true,
     .ask_count = ASK_FEW,
     .ask = front_health_watch_ask},
    {.name = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
     .ask_count = ASK_FEW,
     .ask = front_reflection_ask},
    {.name = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
     .ask_count = ASK_FEW,
     .ask = front_reflection_ask},
};
static_assert(NK_COUNT_OF(methods) <= FRONT_METHODS_MAX, "front.h has no room for all methods");

static grpc_server *make_server(const struct front_grpc_options *options);
static void register_methods(struct front_grpc *front);
static void *run_events(void *arg);
static gpr_timespec next_poll(const struct front_grpc *front);
static void stopped(struct front_tag *tag, bool ok);

enum nk_err front_grpc_open(const struct front_grpc_options *options, struct front_grpc **out_front,
                            struct nk_text *reason)
{
    grpc_init();
    front_log_begin(NULL); /* what it says about a port that cannot be had is said by `reason` */
    struct front_grpc *front = nk_alloc_zero(1, sizeof *front);
    front->options = *options;
    front->stopped_tag.event = stopped;
    atomic_init(&front->holder_count, 1); /* the server */
    nk_list_init(&front->free_calls);
    nk_list_init(&front->health_watches);
    front->view = grpc_empty_slice();
    front->queue = grpc_completion_queue_create_for_next(NULL);
    front->server = make_server(options);
    grpc_server_register_completion_queue(front->server, front->queue, NULL);
    register_methods(front);
    enum nk_err err = front_bind(front, options->address, reason);
    if (err != NK_OK) {
        front_grpc_close(&front);
        return err;
    }
    front_log_begin(&front->options.log);
    *out_front = front;
    return NK_OK;
}

const char *front_grpc_address(const struct front_grpc *front)
{
    return front->address;
}

void front_grpc_serve(struct front_grpc *front, struct gateway *gateway)
{
    NK_ASSERT(!front->serving);
    front->gateway = gateway;
    grpc_server_start(front->server);
    for (size_t i = 0; i < front->endpoint_count; i++) {
        struct front_endpoint *endpoint = &front->endpoints[i];
        for (unsigned ahead = 0; ahead < endpoint->method->ask_count; ahead++) {
            endpoint->method->ask(endpoint);
        }
    }
    front_unknown_ask(front);
    int error = pthread_create(&front->thread, NULL, run_events, front);
    NK_ASSERT(error == 0);
    front->serving = true;
}

void front_grpc_stop(struct front_grpc *front)
{
    if (atomic_exchange(&front->stopping, true)) {
        return;
    }
    front_lend(&front->stopped_tag);
    grpc_server_shutdown_and_notify(front->server, front->queue, &front->stopped_tag);
}

void front_grpc_close(struct front_grpc **front_p)
{
    struct front_grpc *front = *front_p;
    if (front == NULL) {
        return;
    }
    front_grpc_stop(front);
    grpc_server_cancel_all_calls(front->server);
    if (front->serving) {
        int error = pthread_join(front->thread, NULL);
        NK_ASSERT(error == 0);
    } else {
        (void)run_events(front);
    }
    front_call_forget(front);
    grpc_slice_unref(front->view);
    grpc_server_destroy(front->server);
    grpc_completion_queue_destroy(front->queue);
    grpc_shutdown();
    front_log_end();
    nk_free(front);
    *front_p = NULL;
}

static grpc_server *make_server(const struct front_grpc_options *options)
{
    const struct {
        const char *key;
        int value;
    } settings[] = {
        {GRPC_ARG_ALLOW_REUSEPORT, 0}, /* else two servers share a port without a word */
        {GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, (int)options->request_bytes_max},
        {GRPC_ARG_MAX_METADATA_SIZE, METADATA_BYTES_MAX},
        {GRPC_ARG_MAX_CONCURRENT_STREAMS, CONNECTION_STREAMS_MAX},
        {GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, IDENTITY_ONLY},
        {GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, HANDSHAKE_TIMEOUT_MS},
        {GRPC_ARG_KEEPALIVE_TIME_MS, KEEPALIVE_TIME_MS},
        {GRPC_ARG_KEEPALIVE_TIMEOUT_MS, KEEPALIVE_TIMEOUT_MS},
        {GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1},
        {GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, CLIENT_PING_INTERVAL_MS},
    };
    grpc_resource_quota *quota = grpc_resource_quota_create("norikv");
    grpc_resource_quota_resize(quota, MEMORY_BYTES_MAX);
    grpc_arg args[NK_COUNT_OF(settings) + 1];
    for (size_t i = 0; i < NK_COUNT_OF(settings); i++) {
        args[i].type = GRPC_ARG_INTEGER;
        args[i].key = (char *)(uintptr_t)settings[i].key; /* only read */
        args[i].value.integer = settings[i].value;
    }
    grpc_arg *last = &args[NK_COUNT_OF(settings)];
    last->type = GRPC_ARG_POINTER;
    last->key = (char *)(uintptr_t)GRPC_ARG_RESOURCE_QUOTA;
    last->value.pointer.p = quota;
    last->value.pointer.vtable = grpc_resource_quota_arg_vtable();
    const grpc_channel_args all = {.num_args = NK_COUNT_OF(args), .args = args};
    grpc_server *server = grpc_server_create(&all, NULL);
    grpc_resource_quota_unref(quota);
    return server;
}

static void register_methods(struct front_grpc *front)
{
    for (size_t i = 0; i < NK_COUNT_OF(methods); i++) {
        struct front_endpoint *endpoint = &front->endpoints[front->endpoint_count++];
        endpoint->method = &methods[i];
        endpoint->front = front;
        endpoint->handle = grpc_server_register_method(
            front->server, methods[i].name, NULL,
            methods[i].has_payload ? GRPC_SRM_PAYLOAD_READ_INITIAL_BYTE_BUFFER
                                   : GRPC_SRM_PAYLOAD_NONE,
            0);
        NK_ASSERT(endpoint->handle != NULL);
    }
}

/* ---- The event thread ---- */

static void *run_events(void *arg)
{
    struct front_grpc *front = arg;
    for (;;) {
        grpc_event event = grpc_completion_queue_next(front->queue, next_poll(front), NULL);
        if (event.type == GRPC_QUEUE_SHUTDOWN) {
            return NULL;
        }
        if (event.type == GRPC_OP_COMPLETE) {
            struct front_tag *tag = event.tag;
            front_take_back(tag);
            tag->event(tag, event.success != 0);
        }
        if (!nk_list_empty(&front->health_watches)) {
            front_health_poll(front);
        }
    }
}

/* Nobody wakes this thread when our health changes; while it is watched, we look. */
static gpr_timespec next_poll(const struct front_grpc *front)
{
    if (nk_list_empty(&front->health_watches)) {
        return gpr_inf_future(GPR_CLOCK_MONOTONIC);
    }
    return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                        gpr_time_from_millis(HEALTH_POLL_MS, GPR_TIMESPAN));
}

static void stopped(struct front_tag *tag, bool ok)
{
    (void)ok;
    front_leave(NK_CONTAINER_OF(tag, struct front_grpc, stopped_tag));
}

void front_enter(struct front_grpc *front)
{
    atomic_fetch_add(&front->holder_count, 1);
}

void front_leave(struct front_grpc *front)
{
    if (atomic_fetch_sub(&front->holder_count, 1) == 1) {
        grpc_completion_queue_shutdown(front->queue);
    }
}
