#include "services/gateway/gateway.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/limits.h"
#include "common/service/member.h"
#include "proto/frame.h"
#include "services/gateway/report.h"
#include "services/gateway/metrics.h"
#include "services/gateway/relay.h"
#include "services/gateway/watch.h"

/* A write in ten files: front_grpc/call.c -> this file -> router.c.
 *
 * Threads.  The fronts hand requests and watches over through four lock-free queues; everything
 * else happens on the loop thread.  A request or watch that both sides want to end (the answer is
 * there, the caller has gone) belongs to whoever moves `progress` out of LIVE first; when that is
 * the caller, its node is in a queue, and only the loop's taking of that node makes the last call.
 *
 * `handed_over` counts what fronts put into the queues, `given_back` what got its last call.  They
 * are equal exactly when nothing of the fronts' is here, which is how a stop knows that it is done:
 * a front that passed the check of `stopping` has counted itself in before. */

#define PROBE_INTERVAL_US ((uint64_t)NK_US_PER_SEC)
#define BEAT_INTERVAL_US  ((uint64_t)(NK_US_PER_SEC / 2))
#define DRAIN_US          ((uint64_t)(5 * NK_US_PER_SEC))

struct gateway {
    /* Constant after init. */
    struct nk_service_context context;

    /* The fronts write, the loop reads. */
    struct nk_mpsc submits;
    struct nk_mpsc cancels;
    struct nk_mpsc watch_opens;
    struct nk_mpsc watch_closes;
    _Atomic uint64_t handed_over;
    _Atomic bool stopping;

    /* The loop's own. */
    uint64_t given_back;
    struct nk_member *member;
    uint64_t generation; /* of the cluster's state that relay, watches and report have */
    struct gateway_relay relay;
    struct gateway_watches watches; /* the boards: any thread */
    struct gateway_metrics metrics; /* nobody renders the registry after deinit */
    struct gateway_report report;
    struct gateway_request probe;
    bool probe_running;
    uint64_t probe_due_us;
    uint64_t drain_end_us; /* while stopping */
};

static void open_member(struct gateway *gateway);
static uint64_t now_us(const struct gateway *gateway);
static void follow_cluster(struct gateway *gateway);
static void take_requests(struct gateway *gateway);
static void take_watches(struct gateway *gateway);
static void request_ended(void *ctx, struct gateway_request *request);
static void give_back_request(struct gateway *gateway, struct gateway_request *request);
static void end_watch(struct gateway *gateway, struct gateway_watch *watch, enum nk_err err);
static void give_back_watch(struct gateway *gateway, struct gateway_watch *watch, enum nk_err err);
static void end_all_watches(struct gateway *gateway);
static void probe(struct gateway *gateway);
static void probe_done(struct gateway_request *request);
static bool leave_live(_Atomic int *progress, enum gateway_progress to);
static bool count_in(struct gateway *gateway);
static void wake_if(struct gateway *gateway, bool first);

/* ---- The role ---- */

static enum nk_err gateway_init(const struct nk_service_context *context, void **out_role,
                                struct nk_text *reason)
{
    (void)reason; /* nothing here can fail */
    const struct nk_config *config = context->config;
    struct gateway *gateway = nk_alloc_zero(1, sizeof *gateway);
    gateway->context = *context;
    nk_mpsc_init(&gateway->submits);
    nk_mpsc_init(&gateway->cancels);
    nk_mpsc_init(&gateway->watch_opens);
    nk_mpsc_init(&gateway->watch_closes);
    struct gateway_relay_options options = {
        .env = context->env,
        .total_shards = config->cluster.total_shards,
        .limits = {.key_bytes_max = config->limits.max_key_bytes,
                   .value_bytes_max = config->limits.max_value_bytes},
        .request_timeout_us = config->limits.request_timeout_ms * NK_US_PER_MS,
        .inflight_max = nk_min_size(config->limits.inflight_max, NK_GATEWAY_INFLIGHT_MAX),
        .inflight_bytes_max = NK_GATEWAY_INFLIGHT_BYTES_MAX,
        .ended = request_ended,
        .ctx = gateway,
    };
    gateway_relay_init(&gateway->relay, &options);
    gateway_watches_init(&gateway->watches, NK_GATEWAY_WATCHERS_MAX);
    gateway_metrics_init(&gateway->metrics, context->metrics);
    gateway_report_init(&gateway->report, context->health, config->node_id);
    open_member(gateway);
    *out_role = gateway;
    return NK_OK;
}

static void gateway_receive(void *role, nk_peer from, struct nk_bytes frame)
{
    struct gateway *gateway = role;
    enum nk_frame_type type;
    struct nk_bytes message;
    if (nk_frame_parse(frame, &type, &message) != NK_OK) {
        nk_counter_add(&gateway->metrics.garbage, 1);
    } else if (type == NK_FRAME_SHARD_REPLIES) {
        if (!gateway_relay_receive(&gateway->relay, from, message, now_us(gateway))) {
            nk_counter_add(&gateway->metrics.garbage, 1);
        }
    } else if (!nk_member_receive(gateway->member, from, type, message)) {
        nk_counter_add(&gateway->metrics.garbage, 1);
    }
}

static uint64_t gateway_tick(void *role)
{
    struct gateway *gateway = role;
    nk_health_beat(gateway->context.health);
    uint64_t next_us = nk_member_tick(gateway->member);
    if (nk_member_generation(gateway->member) != gateway->generation) {
        follow_cluster(gateway);
    }
    take_requests(gateway);
    take_watches(gateway);
    uint64_t now = now_us(gateway);
    bool stopping = atomic_load(&gateway->stopping);
    if (stopping && now >= gateway->drain_end_us) {
        gateway_relay_abandon(&gateway->relay);
    } else if (!stopping && !gateway->probe_running && now >= gateway->probe_due_us) {
        probe(gateway);
    }
    next_us = nk_min_u64(next_us, gateway_relay_tick(&gateway->relay, now));
    gateway_report_show(&gateway->report, nk_member_registered(gateway->member));
    nk_gauge_set(&gateway->metrics.inflight_requests, (int64_t)gateway->relay.inflight.count);
    nk_gauge_set(&gateway->metrics.inflight_bytes, (int64_t)gateway->relay.inflight.bytes);
    nk_gauge_set(&gateway->metrics.watches, (int64_t)gateway->watches.count);
    next_us = nk_min_u64(next_us, now + BEAT_INTERVAL_US);
    if (!stopping && !gateway->probe_running) {
        next_us = nk_min_u64(next_us, gateway->probe_due_us);
    }
    return next_us;
}

static void gateway_stop(void *role)
{
    struct gateway *gateway = role;
    if (atomic_exchange(&gateway->stopping, true)) {
        return;
    }
    gateway->drain_end_us = now_us(gateway) + DRAIN_US;
    gateway_report_stop(&gateway->report);
    gateway_relay_stop(&gateway->relay);
    end_all_watches(gateway);
}

static bool gateway_stopped(void *role)
{
    struct gateway *gateway = role;
    return atomic_load(&gateway->stopping) &&
           atomic_load(&gateway->handed_over) == gateway->given_back;
}

static void gateway_deinit(void **role)
{
    struct gateway *gateway = *role;
    gateway_end(gateway);
    gateway_relay_deinit(&gateway->relay);
    gateway_watches_deinit(&gateway->watches);
    nk_member_close(&gateway->member);
    nk_free(gateway);
    *role = NULL;
}

static enum nk_err gateway_fault(void *role, struct nk_text *reason)
{
    struct gateway *gateway = role;
    enum nk_err err = nk_member_fault(gateway->member);
    if (err != NK_OK) {
        nk_text_add(reason, "another live gateway has the node_id ");
        nk_text_add(reason, gateway->context.config->node_id);
        return err;
    }
    uint32_t theirs = nk_cluster_total_shards(nk_member_cluster(gateway->member));
    uint32_t ours = gateway->context.config->cluster.total_shards;
    if (theirs != 0 && theirs != ours) {
        nk_text_add(reason, "cluster.total_shards is ");
        nk_text_add_u64(reason, ours);
        nk_text_add(reason, " here, but the cluster's data was created with ");
        nk_text_add_u64(reason, theirs);
        return NK_CONFLICT;
    }
    return NK_OK;
}

const struct nk_role_ops gateway_role_ops = {
    .name = GATEWAY_ROLE,
    .init = gateway_init,
    .receive = gateway_receive,
    .tick = gateway_tick,
    .stop = gateway_stop,
    .stopped = gateway_stopped,
    .deinit = gateway_deinit,
    .fault = gateway_fault,
};

/* ---- For the fronts, any thread ---- */

const struct nk_config *gateway_config(const struct gateway *gateway)
{
    return gateway->context.config;
}

void gateway_submit(struct gateway *gateway, struct gateway_request *request)
{
    NK_ASSERT(request->op != GATEWAY_OP_PROBE);
    NK_ASSERT(request->entry == NULL);
    if (count_in(gateway)) {
        request->submitted_us = now_us(gateway);
        wake_if(gateway, nk_mpsc_push(&gateway->submits, &request->submit_node));
        return;
    }
    atomic_store(&request->progress, GATEWAY_PROGRESS_ENDED);
    gateway_relay_refuse(request);
    request->done(request);
}

void gateway_cancel(struct gateway *gateway, struct gateway_request *request)
{
    if (leave_live(&request->progress, GATEWAY_PROGRESS_CANCELLED)) {
        wake_if(gateway, nk_mpsc_push(&gateway->cancels, &request->cancel_node));
    }
}

void gateway_report_fault(struct gateway *gateway, enum nk_err err, const char *detail,
                          struct nk_text *text)
{
    gateway_relay_fault(&gateway->relay, err, detail, text);
}

void gateway_watch_open(struct gateway *gateway, struct gateway_watch *watch)
{
    if (count_in(gateway)) {
        wake_if(gateway, nk_mpsc_push(&gateway->watch_opens, &watch->node));
        return;
    }
    atomic_store(&watch->progress, GATEWAY_PROGRESS_ENDED);
    watch->closed(watch, NK_UNAVAILABLE);
}

void gateway_watch_close(struct gateway *gateway, struct gateway_watch *watch)
{
    if (leave_live(&watch->progress, GATEWAY_PROGRESS_CANCELLED)) {
        wake_if(gateway, nk_mpsc_push(&gateway->watch_closes, &watch->close_node));
    }
}

void gateway_view_json(struct gateway *gateway, struct nk_buf *out)
{
    nk_board_copy(&gateway->watches.view_json, out);
}

void gateway_targets_json(struct gateway *gateway, struct nk_buf *out)
{
    nk_board_copy(&gateway->watches.targets_json, out);
}

void gateway_end(struct gateway *gateway)
{
    gateway_stop(gateway);
    gateway_relay_abandon(&gateway->relay);
    while (!gateway_stopped(gateway)) { /* a front may be in the middle of a call */
        take_requests(gateway);
        take_watches(gateway);
    }
}

/* ---- The loop ---- */

static void open_member(struct gateway *gateway)
{
    const struct nk_service_context *context = &gateway->context;
    const char *rpc_address = context->config->advertise_rpc_addr;
    struct nk_cluster_member self = {.session = context->session, .state = NK_MEMBER_ALIVE};
    struct nk_text text;
    nk_text_init(&text, self.node_id, sizeof self.node_id);
    nk_text_add(&text, context->config->node_id);
    nk_text_init(&text, self.role, sizeof self.role);
    nk_text_add(&text, GATEWAY_ROLE);
    nk_text_init(&text, self.rpc_address, sizeof self.rpc_address);
    nk_text_add(&text, rpc_address[0] != '\0' ? rpc_address : context->rpc_address);
    nk_text_init(&text, self.http_address, sizeof self.http_address);
    nk_text_add(&text, context->http_address);
    nk_member_open(context, &self, &gateway->member);
    gateway->generation = nk_member_generation(gateway->member);
}

static uint64_t now_us(const struct gateway *gateway)
{
    return nk_mono_us(&gateway->context.env->clock);
}

static void follow_cluster(struct gateway *gateway)
{
    const struct nk_cluster *cluster = nk_member_cluster(gateway->member);
    gateway->generation = nk_member_generation(gateway->member);
    gateway_relay_follow(&gateway->relay, cluster, now_us(gateway));
    gateway_watches_publish(&gateway->watches, cluster);
    gateway_report_follow(&gateway->report, cluster, &gateway->relay.router);
    nk_gauge_set(&gateway->metrics.epoch, (int64_t)nk_cluster_epoch(cluster));
    gateway->probe_due_us = 0; /* what was true of shard 0 may have changed with it */
}

/* Cancels are taken out of their queue before submits are: a request was submitted before it was
 * cancelled, so it is then in the table or in this very chain. */
static void take_requests(struct gateway *gateway)
{
    struct nk_mpsc_node *cancels = nk_mpsc_take_all(&gateway->cancels);
    struct nk_mpsc_node *node = nk_mpsc_take_all(&gateway->submits);
    uint64_t now = node != NULL ? now_us(gateway) : 0;
    while (node != NULL) {
        struct gateway_request *request =
            NK_CONTAINER_OF(node, struct gateway_request, submit_node);
        node = node->next;
        gateway_relay_accept(&gateway->relay, request, now);
    }
    while (cancels != NULL) {
        struct gateway_request *request =
            NK_CONTAINER_OF(cancels, struct gateway_request, cancel_node);
        cancels = cancels->next;
        gateway_relay_withdraw(&gateway->relay, request);
        give_back_request(gateway, request);
    }
}

static void take_watches(struct gateway *gateway)
{
    struct nk_mpsc_node *closes = nk_mpsc_take_all(&gateway->watch_closes);
    struct nk_mpsc_node *node = nk_mpsc_take_all(&gateway->watch_opens);
    while (node != NULL) {
        struct gateway_watch *watch = NK_CONTAINER_OF(node, struct gateway_watch, node);
        node = node->next;
        enum nk_err err = atomic_load(&gateway->stopping)
                              ? NK_UNAVAILABLE
                              : gateway_watches_add(&gateway->watches, watch);
        if (err != NK_OK) {
            end_watch(gateway, watch, err);
        }
    }
    while (closes != NULL) {
        struct gateway_watch *watch = NK_CONTAINER_OF(closes, struct gateway_watch, close_node);
        closes = closes->next;
        give_back_watch(gateway, watch, NK_CANCELLED);
    }
}

/* The relay has let go of the request. */
static void request_ended(void *ctx, struct gateway_request *request)
{
    if (leave_live(&request->progress, GATEWAY_PROGRESS_ENDED)) {
        give_back_request(ctx, request);
    }
    /* Else its cancel node is on the way, and what was said is told to nobody. */
}

static void give_back_request(struct gateway *gateway, struct gateway_request *request)
{
    if (atomic_load(&request->progress) == GATEWAY_PROGRESS_CANCELLED) {
        request->err = NK_CANCELLED;
        request->response = nk_bytes_of(NULL, 0);
        struct nk_text text;
        nk_text_init(&text, request->text, sizeof request->text);
        nk_text_add(&text, "the caller has gone");
    }
    if (request->op != GATEWAY_OP_PROBE) {
        gateway_metrics_count(&gateway->metrics, request, now_us(gateway) - request->submitted_us);
    }
    gateway->given_back++;
    request->done(request);
}

static void end_watch(struct gateway *gateway, struct gateway_watch *watch, enum nk_err err)
{
    if (leave_live(&watch->progress, GATEWAY_PROGRESS_ENDED)) {
        give_back_watch(gateway, watch, err);
    } else if (watch->place != NULL) {
        gateway_watches_remove(&gateway->watches, watch);
    }
}

static void give_back_watch(struct gateway *gateway, struct gateway_watch *watch, enum nk_err err)
{
    if (watch->place != NULL) {
        gateway_watches_remove(&gateway->watches, watch);
    }
    gateway->given_back++;
    watch->closed(watch, err);
}

static void end_all_watches(struct gateway *gateway)
{
    struct gateway_watch *watch = NULL;
    while ((watch = gateway_watches_first(&gateway->watches)) != NULL) {
        end_watch(gateway, watch, NK_UNAVAILABLE);
    }
}

/* ---- Does shard 0 answer? ---- */

static void probe(struct gateway *gateway)
{
    uint64_t now = now_us(gateway);
    gateway->probe_running = true;
    gateway->probe_due_us = now + PROBE_INTERVAL_US;
    memset(&gateway->probe, 0, sizeof gateway->probe);
    gateway->probe.op = GATEWAY_OP_PROBE;
    gateway->probe.deadline_us = now + PROBE_INTERVAL_US;
    gateway->probe.done = probe_done;
    atomic_fetch_add(&gateway->handed_over, 1);
    gateway_relay_accept(&gateway->relay, &gateway->probe, now);
}

static void probe_done(struct gateway_request *request)
{
    struct gateway *gateway = NK_CONTAINER_OF(request, struct gateway, probe);
    gateway->probe_running = false;
    gateway_report_shard0(&gateway->report, request->err);
}

/* ---- Between the threads ---- */

static bool leave_live(_Atomic int *progress, enum gateway_progress to)
{
    int live = GATEWAY_PROGRESS_LIVE;
    return atomic_compare_exchange_strong(progress, &live, (int)to);
}

/* False: the gateway takes nothing new. */
static bool count_in(struct gateway *gateway)
{
    atomic_fetch_add(&gateway->handed_over, 1); /* first, so that stopped() waits for us */
    if (atomic_load(&gateway->stopping)) {
        atomic_fetch_sub(&gateway->handed_over, 1);
        return false;
    }
    return true;
}

static void wake_if(struct gateway *gateway, bool first)
{
    if (first) {
        nk_worker_wake(&gateway->context.env->worker);
    }
}
