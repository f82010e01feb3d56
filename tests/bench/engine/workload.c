/* Clients that do one operation after the other.  Each has a thread, or all take turns on this one
 * (engine_ops.one_thread).  The time of an operation counts from when its client wanted it: the end
 * of its last one.  So it includes the turns of others and what a writer had to wait. */

#include "tests/bench/engine/workload.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/units.h"
#include "tests/bench/engine/data.h"
#include "tests/bench/engine/process.h"

#define SCAN_RECORDS         100
#define CHECK_WHOLE_OF       16 /* one value, or scan, in so many is looked at byte by byte */
#define NS_PER_SEC           UINT64_C(1000000000)
#define NS_PER_US            UINT64_C(1000)

/* Debts below are let stand: a sleep is never as short.  A shardhost lets 20 ms stand. */
#define PUT_WAIT_US_MIN      1000

/* A store is calm after so many slices in which the process took next to nothing.  They are long,
 * for a thread that waits for a sync takes nothing either. */
#define SETTLE_SLICES        3
#define SETTLE_SLICE_US_MAX  ((uint64_t)500000)
#define SETTLE_CPU_OF        50 /* one part in so many of a slice */
#define SETTLE_WRITTEN_BYTES 65536
#define SETTLE_SECONDS_MAX   600

static const struct workload workloads[] = {
    {"fillseq", WORKLOAD_FILL_SEQUENTIAL, true, false, false, 1, false, 0},
    {"fillrandom", WORKLOAD_FILL_SHUFFLED, true, false, false, 1, false, 0},
    {"overwrite", WORKLOAD_PUT_ANY, false, false, false, 1, false, 0},
    {"settle", WORKLOAD_SETTLE, false, true, false, 0, false, 0},
    {"readall", WORKLOAD_GET_ALL, false, false, false, 1, false, 0},
    {"readrandom", WORKLOAD_GET_ANY, false, true, false, 1, false, 0},
    {"readmissing", WORKLOAD_GET_MISSING, false, true, false, 1, false, 0},
    {"scan100", WORKLOAD_SCAN, false, true, false, 1, false, 0},
    {"readwhilewriting", WORKLOAD_GET_ANY, false, true, false, 1, true, 0},
    {"readwhilewriting20k", WORKLOAD_GET_ANY, false, true, false, 1, true, 20000},
    {"fillsync1", WORKLOAD_PUT_ANY, true, true, true, 1, false, 0},
    {"fillsync4", WORKLOAD_PUT_ANY, true, true, true, 4, false, 0},
    {"fillsync16", WORKLOAD_PUT_ANY, true, true, true, 16, false, 0},
};

struct run {
    const struct engine_ops *ops;
    struct engine *engine;
    uint64_t key_count;
    uint64_t start_ns;
    uint64_t end_ns; /* UINT64_MAX: not by time */
    _Atomic bool over;
};

struct client {
    struct run *run;
    enum workload_op op;
    bool helper;      /* goes on until the others are done */
    uint64_t ops_max; /* UINT64_MAX: not by number */
    uint64_t rate;    /* 0: no limit */
    struct nk_prng prng;
    uint64_t ops;
    uint64_t wanted_ns; /* since when it has wanted its next operation */
    uint64_t due_ns;    /* when it may have it */
    bool finished;
    struct nk_buf value;
    struct latency latency;
    pthread_t thread;
};

/* ---- One operation ---- */

struct scanned {
    uint64_t id; /* that must come next */
    bool whole;
    bool wrong;
};

static void check_scanned(void *visitor, struct nk_bytes key, struct nk_bytes value)
{
    struct scanned *scanned = visitor;
    if (scanned->whole) {
        uint8_t expected[DATA_KEY_BYTES];
        data_key(scanned->id, expected);
        scanned->wrong |= !nk_bytes_equal(key, nk_bytes_of(expected, sizeof expected));
    }
    scanned->wrong |= !data_value_is(scanned->id, value, scanned->whole);
    scanned->id++;
}

static _Noreturn void fail_read(const struct client *client, const char *what, uint64_t id)
{
    bench_fail("%s: WRONG READ: %s, id %llu", client->run->ops->name, what, (unsigned long long)id);
}

static void do_scan(struct client *client, uint64_t id)
{
    const struct run *run = client->run;
    uint8_t key[DATA_KEY_BYTES];
    data_key(id, key);
    struct scanned scanned = {.id = id, .whole = client->ops % CHECK_WHOLE_OF == 0};
    size_t wanted = (size_t)nk_min_u64(SCAN_RECORDS, run->key_count - id);
    size_t seen = run->ops->scan(run->engine, nk_bytes_of(key, sizeof key), SCAN_RECORDS,
                                 check_scanned, &scanned);
    if (scanned.wrong || seen != wanted) {
        fail_read(client, "a scan", id);
    }
}

static void do_get(struct client *client, uint64_t id)
{
    const struct run *run = client->run;
    uint8_t key[DATA_KEY_BYTES];
    data_key(id, key);
    if (!run->ops->get(run->engine, nk_bytes_of(key, sizeof key), &client->value)) {
        fail_read(client, "a key is missing", id);
    }
    bool whole = client->ops % CHECK_WHOLE_OF == 0;
    if (!data_value_is(id, nk_buf_bytes(&client->value), whole)) {
        fail_read(client, "another value", id);
    }
}

static void do_get_missing(struct client *client, uint64_t id)
{
    const struct run *run = client->run;
    uint8_t key[DATA_KEY_BYTES];
    data_missing_key(id, key);
    if (run->ops->get(run->engine, nk_bytes_of(key, sizeof key), &client->value)) {
        fail_read(client, "a key that was never written", id);
    }
}

static void do_put(struct client *client, uint64_t id)
{
    const struct run *run = client->run;
    uint8_t key[DATA_KEY_BYTES];
    uint8_t value[DATA_VALUE_BYTES];
    data_key(id, key);
    data_value(id, &client->prng, value);
    run->ops->put(run->engine, nk_bytes_of(key, sizeof key), nk_bytes_of(value, sizeof value));
}

static void do_op(struct client *client)
{
    uint64_t key_count = client->run->key_count;
    switch (client->op) {
    case WORKLOAD_FILL_SEQUENTIAL:
        do_put(client, client->ops);
        break;
    case WORKLOAD_FILL_SHUFFLED:
        do_put(client, data_shuffled(client->ops));
        break;
    case WORKLOAD_PUT_ANY:
        do_put(client, nk_prng_below(&client->prng, key_count));
        break;
    case WORKLOAD_GET_ALL:
        do_get(client, data_shuffled(client->ops));
        break;
    case WORKLOAD_GET_ANY:
        do_get(client, nk_prng_below(&client->prng, key_count));
        break;
    case WORKLOAD_GET_MISSING:
        do_get_missing(client, nk_prng_below(&client->prng, key_count));
        break;
    case WORKLOAD_SCAN:
        do_scan(client, nk_prng_below(&client->prng, key_count));
        break;
    case WORKLOAD_SETTLE:
        NK_ASSERT(!"has no clients");
    }
}

static bool is_put(const struct client *client)
{
    return client->op <= WORKLOAD_PUT_ANY;
}

/* One operation and its time.  Returns the time now. */
static uint64_t step(struct client *client)
{
    const struct run *run = client->run;
    do_op(client);
    uint64_t now_ns = process_now_ns();
    client->ops++;
    latency_add(&client->latency, now_ns - client->wanted_ns);
    client->wanted_ns = now_ns;
    if (client->rate > 0) {
        client->due_ns = run->start_ns + client->ops * NS_PER_SEC / client->rate;
        client->wanted_ns = nk_max_u64(now_ns, client->due_ns);
    }
    client->finished = client->ops == client->ops_max || now_ns >= run->end_ns;
    return now_ns;
}

/* ---- A thread for each ---- */

static void *client_main(void *argument)
{
    struct client *client = argument;
    client->wanted_ns = process_now_ns();
    uint64_t now_ns = client->wanted_ns;
    while (!client->finished &&
           !(client->helper && atomic_load_explicit(&client->run->over, memory_order_relaxed))) {
        if (client->due_ns > now_ns) {
            process_sleep_us((client->due_ns - now_ns + NS_PER_US - 1) / NS_PER_US);
        }
        now_ns = step(client);
    }
    return NULL;
}

static void run_threads(struct client *clients, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int failed = pthread_create(&clients[i].thread, NULL, client_main, &clients[i]);
        NK_ASSERT(failed == 0);
    }
    for (size_t i = 0; i < count; i++) { /* helpers are the last */
        if (clients[i].helper) {
            atomic_store(&clients[i].run->over, true);
        }
        int failed = pthread_join(clients[i].thread, NULL);
        NK_ASSERT(failed == 0);
    }
}

/* ---- All on this one ---- */

/* Whether the client may have its next operation now; else due_ns says when to ask again. */
static bool may_step(struct client *client, uint64_t now_ns)
{
    const struct run *run = client->run;
    if (client->due_ns > now_ns) {
        return false;
    }
    uint64_t wait_us = is_put(client) ? run->ops->put_wait_us(run->engine) : 0;
    if (wait_us < PUT_WAIT_US_MIN) {
        return true;
    }
    client->due_ns = now_ns + wait_us * NS_PER_US;
    return false;
}

static void run_in_turns(struct run *run, struct client *clients, size_t count)
{
    size_t left = 0;
    for (size_t i = 0; i < count; i++) {
        clients[i].wanted_ns = run->start_ns;
        left += clients[i].helper ? 0 : 1;
    }
    uint64_t now_ns = run->start_ns;
    while (left > 0) {
        bool any = false;
        uint64_t soonest_ns = UINT64_MAX;
        for (size_t i = 0; i < count; i++) {
            struct client *client = &clients[i];
            if (client->finished) {
                continue;
            }
            if (!may_step(client, now_ns)) {
                soonest_ns = nk_min_u64(soonest_ns, client->due_ns);
                continue;
            }
            now_ns = step(client);
            any = true;
            left -= client->finished && !client->helper ? 1 : 0;
        }
        if (!any) {
            run->ops->pause(run->engine, (soonest_ns - now_ns) / NS_PER_US + 1);
            now_ns = process_now_ns();
        }
    }
}

/* ---- A workload ---- */

const struct workload *workload_find(const char *name)
{
    for (size_t i = 0; i < NK_COUNT_OF(workloads); i++) {
        if (strcmp(workloads[i].name, name) == 0) {
            return &workloads[i];
        }
    }
    return NULL;
}

const char *workload_names(void)
{
    static char names[512];
    size_t size = 0;
    for (size_t i = 0; i < NK_COUNT_OF(workloads); i++) {
        size += (size_t)snprintf(names + size, sizeof names - size, "%s%s", i > 0 ? "," : "",
                                 workloads[i].name);
    }
    return names;
}

static void idle(const struct run *run, uint64_t us)
{
    uint64_t end_ns = process_now_ns() + us * NS_PER_US;
    for (uint64_t now_ns = process_now_ns(); now_ns < end_ns; now_ns = process_now_ns()) {
        uint64_t left_us = (end_ns - now_ns) / NS_PER_US + 1;
        if (run->ops->one_thread) {
            run->ops->pause(run->engine, left_us);
        } else {
            process_sleep_us(left_us);
        }
    }
}

/* Until the store has nothing left to flush or compact: no engine tells, but all of them show it by
 * what the process takes. */
static void settle(const struct run *run)
{
    uint64_t slice_us = (run->end_ns - run->start_ns) / NS_PER_US / SETTLE_SLICES;
    slice_us = nk_min_u64(slice_us, SETTLE_SLICE_US_MAX);
    uint64_t limit_ns = run->start_ns + SETTLE_SECONDS_MAX * NS_PER_SEC;
    for (unsigned calm = 0; calm < SETTLE_SLICES;) {
        uint64_t cpu_us = process_cpu_us();
        uint64_t written = process_written_bytes();
        idle(run, slice_us);
        bool is_calm = process_cpu_us() - cpu_us < slice_us / SETTLE_CPU_OF &&
                       process_written_bytes() - written < SETTLE_WRITTEN_BYTES;
        calm = is_calm ? calm + 1 : 0;
        if (process_now_ns() > limit_ns) {
            bench_fail("%s does not settle", run->ops->name);
        }
    }
}

static void init_client(struct client *client, struct run *run, const struct workload *workload,
                        size_t number, uint64_t seed)
{
    bool helper = number == workload->clients;
    *client = (struct client){
        .run = run,
        .op = helper ? WORKLOAD_PUT_ANY : workload->op,
        .helper = helper,
        .ops_max = workload->timed ? UINT64_MAX : run->key_count,
        .rate = helper ? workload->writer_rate : 0,
    };
    nk_prng_init(&client->prng, seed * 1000 + number);
}

static void take_results(struct client *clients, size_t count, struct workload_result *result)
{
    for (size_t i = 0; i < count; i++) {
        if (clients[i].helper) {
            result->writer_ops += clients[i].ops;
            latency_merge(&result->writer_latency, &clients[i].latency);
        } else {
            result->ops += clients[i].ops;
            latency_merge(&result->latency, &clients[i].latency);
        }
        nk_buf_deinit(&clients[i].value);
    }
}

void workload_run(const struct workload *workload, const struct engine_ops *ops,
                  struct engine *engine, uint64_t key_count, double seconds, uint64_t seed,
                  struct workload_result *out_result)
{
    size_t count = (size_t)workload->clients + (workload->writer ? 1 : 0);
    struct client *clients = nk_alloc_zero(count + 1, sizeof *clients);
    struct run run = {
        .ops = ops,
        .engine = engine,
        .key_count = key_count,
        .start_ns = process_now_ns(),
    };
    run.end_ns =
        workload->timed ? run.start_ns + (uint64_t)(seconds * (double)NS_PER_SEC) : UINT64_MAX;
    for (size_t i = 0; i < count; i++) {
        init_client(&clients[i], &run, workload, i, seed);
    }
    memset(out_result, 0, sizeof *out_result);
    if (workload->op == WORKLOAD_SETTLE) {
        settle(&run);
    } else if (ops->one_thread && !workload->sync) {
        run_in_turns(&run, clients, count);
    } else {
        run_threads(clients, count);
    }
    out_result->seconds = (double)(process_now_ns() - run.start_ns) / 1e9;
    take_results(clients, count, out_result);
    nk_free(clients);
}
