/* A gateway's callers: threads that put, get, delete, cancel, watch and look at the view, against
 * one loop thread that runs a real gateway, shardhost and gossip.  Run under TSan.
 *
 * What must hold: every request and every watch ends exactly once, also those that a stop finds or
 * that come after it; what a thread put it gets back, for its keys are its own; a cancelled write
 * has its effect or not, and never after a later one; the epochs of a watch grow; a page is one
 * page. */

#include <poll.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>

#include "common/base/assert.h"
#include "common/base/prng.h"
#include "common/base/units.h"
#include "common/env_posix/env_posix.h"
#include "proto/frame.h"
#include "proto/norikv/v1/kv.pb-c.h"
#include "services/gateway/gateway.h"
#include "services/gossip/gossip.h"
#include "services/shardhost/shardhost.h"
#include "tests/sim/circle.h"
#include "tests/stress/place.h"
#include "tests/stress/thread.h"

#define CALLERS       4
#define CALLS_EACH    1500u
#define KEYS_EACH     8
#define WATCHERS      2
#define TOTAL_SHARDS  4
#define MESSAGE_BYTES 256

/* One request with its memory. */
struct call {
    struct gateway_request request;
    uint8_t message[MESSAGE_BYTES];
    sem_t ended;
    enum nk_err err;
    uint64_t value; /* of a get that found something, else 0 */
    _Atomic int done_count;
};

/* What a key of a caller may have; 0 is nothing. */
struct belief {
    uint64_t value;
    uint64_t other; /* of a cancelled write */
    bool unsure;    /* it may be either */
    bool unknown;   /* the stop came in between */
};

struct caller {
    size_t number;
    struct nk_prng prng;
    struct belief beliefs[KEYS_EACH];
    uint64_t value_next;
    size_t answered;
    size_t cancelled;
    size_t refused;
};

struct watcher {
    struct gateway_watch watch;
    sem_t ended;
    uint64_t epoch; /* the loop's */
    uint64_t changes;
    _Atomic int closed_count;
};

struct stress {
    struct gateway *gateway;
    _Atomic bool stopping; /* refusals are right from here on */
    _Atomic size_t callers_left;
    _Atomic size_t pages;
};

static struct stress stress;

/* ---- Calls ---- */

static size_t pack(const ProtobufCMessage *message, uint8_t *out)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    NK_ASSERT(size <= MESSAGE_BYTES);
    return protobuf_c_message_pack(message, out);
}

static size_t pack_request(enum gateway_op op, struct nk_bytes key, uint64_t value, uint8_t *out)
{
    ProtobufCBinaryData key_data = {key.size, (uint8_t *)(uintptr_t)key.data};
    if (op == GATEWAY_OP_PUT) {
        Norikv__V1__PutRequest put = NORIKV__V1__PUT_REQUEST__INIT;
        put.key = key_data;
        put.value = (ProtobufCBinaryData){sizeof value, (uint8_t *)&value};
        return pack(&put.base, out);
    }
    if (op == GATEWAY_OP_DELETE) {
        Norikv__V1__DeleteRequest delete_request = NORIKV__V1__DELETE_REQUEST__INIT;
        delete_request.key = key_data;
        return pack(&delete_request.base, out);
    }
    Norikv__V1__GetRequest get = NORIKV__V1__GET_REQUEST__INIT;
    static char linearizable[] = "linearizable";
    get.key = key_data;
    get.consistency = value % 2 == 0 ? linearizable : get.consistency;
    return pack(&get.base, out);
}

static uint64_t value_in(struct nk_bytes response)
{
    struct nk_arena arena;
    nk_arena_init(&arena, 512, 0);
    const Norikv__V1__GetResponse *get = (const Norikv__V1__GetResponse *)nk_unpack(
        &norikv__v1__get_response__descriptor, response, &arena);
    NK_ASSERT(get != NULL);
    uint64_t value = 0;
    if (get->version != NULL) {
        NK_ASSERT(get->value.len == sizeof value);
        memcpy(&value, get->value.data, sizeof value);
    }
    nk_arena_deinit(&arena);
    return value;
}

static void call_done(struct gateway_request *request)
{
    struct call *call = NK_CONTAINER_OF(request, struct call, request);
    NK_ASSERT(atomic_fetch_add(&call->done_count, 1) == 0);
    call->err = request->err;
    call->value =
        request->err == NK_OK && request->op == GATEWAY_OP_GET ? value_in(request->response) : 0;
    int failed = sem_post(&call->ended);
    NK_ASSERT(failed == 0);
}

static void wait_for(sem_t *ended)
{
    int failed = 0;
    do {
        failed = sem_wait(ended);
    } while (failed != 0);
}

static void begin(struct call *call, enum gateway_op op, struct nk_bytes key, uint64_t value)
{
    memset(call, 0, sizeof *call);
    int failed = sem_init(&call->ended, 0, 0);
    NK_ASSERT(failed == 0);
    call->request.op = op;
    call->request.message = nk_bytes_of(call->message, pack_request(op, key, value, call->message));
    call->request.deadline_us = UINT64_MAX;
    call->request.done = call_done;
    gateway_submit(stress.gateway, &call->request);
}

static void end(struct call *call)
{
    wait_for(&call->ended);
    NK_ASSERT(atomic_load(&call->done_count) == 1);
    int failed = sem_destroy(&call->ended);
    NK_ASSERT(failed == 0);
}

/* ---- Callers ---- */

static void learn_value(struct belief *belief, uint64_t value)
{
    NK_ASSERT(belief->unknown || value == belief->value ||
              (belief->unsure && value == belief->other));
}

/* A write that was told settles what was unsure before it: one gateway sends a key's writes in
 * their order. */
static void learn_write(struct belief *belief, enum nk_err err, uint64_t value)
{
    if (err == NK_OK) {
        *belief = (struct belief){.value = value};
    } else if (err != NK_UNAVAILABLE) {
        belief->unknown |= belief->unsure;
        belief->unsure = true;
        belief->other = value;
    }
}

static void one_call(struct caller *caller)
{
    size_t key = (size_t)nk_prng_below(&caller->prng, KEYS_EACH);
    struct belief *belief = &caller->beliefs[key];
    uint8_t name[2] = {(uint8_t)('A' + caller->number), (uint8_t)('a' + key)};
    enum gateway_op op =
        (enum gateway_op)nk_prng_between(&caller->prng, GATEWAY_OP_PUT, GATEWAY_OP_DELETE);
    uint64_t value = op == GATEWAY_OP_DELETE ? 0 : ++caller->value_next;
    bool cancelled = !belief->unsure && nk_prng_chance(&caller->prng, 150000);
    struct call call;
    begin(&call, op, nk_bytes_of(name, sizeof name), value);
    if (cancelled) {
        for (uint64_t i = nk_prng_below(&caller->prng, 4); i > 0; i--) {
            (void)sched_yield();
        }
        gateway_cancel(stress.gateway, &call.request);
    }
    end(&call);
    if (call.err == NK_CANCELLED) {
        NK_ASSERT(cancelled);
    } else if (call.err != NK_OK) {
        NK_ASSERT(call.err == NK_UNAVAILABLE || call.err == NK_TIMEOUT);
        NK_ASSERT(atomic_load(&stress.stopping));
    }
    caller->answered += call.err == NK_OK;
    caller->cancelled += call.err == NK_CANCELLED;
    caller->refused += call.err == NK_UNAVAILABLE;
    if (op != GATEWAY_OP_GET) {
        learn_write(belief, call.err, value);
    } else if (call.err == NK_OK) {
        learn_value(belief, call.value);
    }
}

static void *run_caller(void *argument)
{
    struct caller *caller = argument;
    for (size_t i = 0; i < CALLS_EACH; i++) {
        one_call(caller);
    }
    atomic_fetch_sub(&stress.callers_left, 1);
    while (caller->refused < 3) { /* into the stop and beyond it */
        one_call(caller);
    }
    return NULL;
}

/* ---- Watchers ---- */

static void watch_changed(struct gateway_watch *gateway_watch, struct nk_bytes view)
{
    struct watcher *watcher = NK_CONTAINER_OF(gateway_watch, struct watcher, watch);
    NK_ASSERT(gateway_watch->epoch > watcher->epoch);
    NK_ASSERT(view.size > 0);
    NK_ASSERT(atomic_load(&watcher->closed_count) == 0);
    watcher->epoch = gateway_watch->epoch;
    watcher->changes++;
}

static void watch_closed(struct gateway_watch *gateway_watch, enum nk_err err)
{
    struct watcher *watcher = NK_CONTAINER_OF(gateway_watch, struct watcher, watch);
    NK_ASSERT(err == NK_CANCELLED || err == NK_UNAVAILABLE);
    NK_ASSERT(atomic_fetch_add(&watcher->closed_count, 1) == 0);
    int failed = sem_post(&watcher->ended);
    NK_ASSERT(failed == 0);
}

static void read_pages(struct nk_buf *page)
{
    nk_buf_clear(page);
    gateway_view_json(stress.gateway, page);
    NK_ASSERT(page->size > 2);
    NK_ASSERT(page->data[0] == '{');
    nk_buf_clear(page);
    gateway_targets_json(stress.gateway, page);
    NK_ASSERT(page->size >= 2);
    NK_ASSERT(page->data[0] == '[');
    atomic_fetch_add_explicit(&stress.pages, 2, memory_order_relaxed);
}

static void *run_watcher(void *argument)
{
    struct nk_prng prng;
    struct nk_buf page = {0};
    nk_prng_init(&prng, (uint64_t)(uintptr_t)argument);
    while (!atomic_load(&stress.stopping)) {
        struct watcher watcher;
        memset(&watcher, 0, sizeof watcher);
        int failed = sem_init(&watcher.ended, 0, 0);
        NK_ASSERT(failed == 0);
        watcher.watch.changed = watch_changed;
        watcher.watch.closed = watch_closed;
        gateway_watch_open(stress.gateway, &watcher.watch);
        for (uint64_t i = nk_prng_below(&prng, 20); i > 0; i--) {
            read_pages(&page);
        }
        gateway_watch_close(stress.gateway, &watcher.watch);
        wait_for(&watcher.ended);
        failed = sem_destroy(&watcher.ended);
        NK_ASSERT(failed == 0);
    }
    nk_buf_deinit(&page);
    return NULL;
}

/* ---- The loop ---- */

struct loop {
    struct nk_clock clock;
    struct nk_loop_source source;
    struct circle *circle;
};

/* One turn, and a sleep until something rings or is due. */
static void turn(const struct loop *loop)
{
    const struct nk_loop_source *source = &loop->source;
    uint64_t seen = source->ops->rings(source->ctx);
    (void)source->ops->run_done(source->ctx);
    uint64_t next_us = circle_turn(loop->circle);
    enum nk_err fault = circle_fault(loop->circle);
    NK_ASSERT(fault == NK_OK);
    uint64_t now_us = nk_mono_us(&loop->clock);
    if (next_us > now_us && source->ops->sleep(source->ctx, seen)) {
        uint64_t wait_ms = nk_min_u64((next_us - now_us) / NK_US_PER_MS + 1, 1000);
        struct pollfd wait = {.fd = source->fd, .events = POLLIN};
        int ready = poll(&wait, 1, (int)wait_ms);
        source->ops->awake(source->ctx, ready > 0);
    }
}

static void configure(struct nk_config *config)
{
    static const char *const gossip[] = {"circle://gossip"};
    nk_config_defaults(config);
    config->node_id = "node0";
    config->data_dir = "stress";
    config->cluster.total_shards = TOTAL_SHARDS;
    config->lsm.memtable_bytes = 64 * NK_KIB;
    config->lsm.write_buffer_total_bytes = 256 * NK_KIB;
    config->lsm.block_cache_bytes = 64 * NK_KIB;
    config->raft.segment_bytes = 256 * NK_KIB;
    config->limits.request_timeout_ms = 600000; /* a slow machine is no reason to give up */
    config->disk.reserve_bytes = 0;
    config->bus.gossip_addrs = (struct nk_config_list){.items = gossip, .count = 1};
}

static void run(const struct loop *loop)
{
    pthread_t caller_threads[CALLERS];
    pthread_t watcher_threads[WATCHERS];
    static struct caller callers[CALLERS];
    atomic_store(&stress.callers_left, CALLERS);
    for (size_t i = 0; i < CALLERS; i++) {
        callers[i].number = i;
        nk_prng_init(&callers[i].prng, i);
        stress_start(&caller_threads[i], run_caller, &callers[i]);
    }
    for (size_t i = 0; i < WATCHERS; i++) {
        stress_start(&watcher_threads[i], run_watcher, (void *)(uintptr_t)(i + 1));
    }
    while (atomic_load(&stress.callers_left) > 0) {
        turn(loop);
    }
    atomic_store(&stress.stopping, true);
    circle_stop(loop->circle);
    for (int i = 0; i < 20; i++) {
        turn(loop);
    }
    gateway_end(stress.gateway);
    struct caller sum = {0};
    for (size_t i = 0; i < CALLERS; i++) {
        stress_join(caller_threads[i]);
        sum.answered += callers[i].answered;
        sum.cancelled += callers[i].cancelled;
        sum.refused += callers[i].refused;
    }
    for (size_t i = 0; i < WATCHERS; i++) {
        stress_join(watcher_threads[i]);
    }
    (void)printf("%zu answers, %zu cancelled, %zu refused by the stop, %zu pages\n", sum.answered,
                 sum.cancelled, sum.refused, atomic_load(&stress.pages));
    NK_ASSERT(sum.answered >= CALLERS * CALLS_EACH / 2);
}

int main(void)
{
    struct stress_place place = stress_place_make();
    char memory[256];
    struct nk_text reason;
    nk_text_init(&reason, memory, sizeof memory);
    struct env_posix_fs *fs = NULL;
    struct env_posix_worker *posix = NULL;
    const struct env_posix_worker_options threads = {.read_threads = 2, .background_threads = 1};
    enum nk_err err = env_posix_fs_open(place.root, &fs, &reason);
    NK_ASSERT(err == NK_OK);
    err = env_posix_worker_open(&threads, &posix, &reason);
    NK_ASSERT(err == NK_OK);
    struct nk_config config;
    configure(&config);
    struct loop loop = {.clock = env_posix_clock(), .source = env_posix_loop_source(posix)};
    const struct circle_options options = {
        .config = &config,
        .clock = loop.clock,
        .worker = env_posix_worker(posix),
        .fs = env_posix_fs(fs),
    };
    circle_new(&options, &loop.circle);
    (void)circle_add(loop.circle, &gossip_role_ops, 1);
    (void)circle_add(loop.circle, &shardhost_role_ops, 2);
    stress.gateway = circle_add(loop.circle, &gateway_role_ops, 3);
    run(&loop);
    (void)loop.source.ops->finish(loop.source.ctx, -1);
    circle_free(&loop.circle);
    env_posix_worker_close(&posix);
    env_posix_fs_close(&fs);
    stress_place_remove(&place);
    return 0;
}
