/* Tables of half of `mib` first: the store is closed and opened again, with its files in the
 * system's memory (warm) and out of it (cold).  Then the other half, and checkpoints while a writer
 * puts at a steady rate; what he waits for then is held against what he waits for without. */

#include <stdio.h>

#include "common/base/alloc.h"
#include "common/base/units.h"
#include "tests/bench/engine/bounds.h"
#include "tests/bench/engine/data.h"
#include "tests/bench/engine/latency.h"
#include "tests/bench/engine/process.h"
#include "tests/bench/engine/store.h"

#define CHECKPOINT_MS_MAX    50
#define OPEN_MS_MAX          200
#define PAUSE_MS_MAX         10
#define ROUNDS               5
#define PUTS_PER_S           UINT64_C(20000)
#define BESIDE_US            (200 * NK_US_PER_MS) /* of writing before a checkpoint, and after */
#define KEYS_PER_TABLE_BYTES 2 /* values shrink to about half: more keys than are needed */
#define NS_PER_SEC           UINT64_C(1000000000)

struct checkpoint {
    const struct bounds_options *options;
    struct store store;
    struct nk_prng prng;
    uint64_t key_count;
    uint64_t filled; /* keys */

    struct nk_job job;
    struct lsm_checkpoint *under_way;
    char directory[32];
    enum nk_err err;
    bool done;

    double warm_open_ms[ROUNDS];
    double cold_open_ms[ROUNDS];
    double warm_get_ms[ROUNDS]; /* the first one */
    double cold_get_ms[ROUNDS];
    double write_ms[ROUNDS];
    size_t open_tables;
    uint64_t open_bytes;
    struct latency alone; /* of puts */
    struct latency beside;
};

static double most(const double values[ROUNDS])
{
    double max = 0;
    for (size_t i = 0; i < ROUNDS; i++) {
        max = values[i] > max ? values[i] : max;
    }
    return max;
}

static double middle(const double values[ROUNDS])
{
    for (size_t i = 0; i < ROUNDS; i++) {
        size_t below = 0;
        size_t equal = 0;
        for (size_t k = 0; k < ROUNDS; k++) {
            below += values[k] < values[i] ? 1 : 0;
            equal += values[k] == values[i] ? 1 : 0;
        }
        if (below <= ROUNDS / 2 && below + equal > ROUNDS / 2) {
            return values[i];
        }
    }
    return 0;
}

static double ms_since(uint64_t start_ns)
{
    return (double)(process_now_ns() - start_ns) / 1e6;
}

/* Shuffled puts until the tables are as large as that and settled. */
static void fill(struct checkpoint *checkpoint, uint64_t table_bytes)
{
    struct store *store = &checkpoint->store;
    struct lsm_shape shape;
    do {
        lsm_get_shape(store->databases[0], &shape);
        uint64_t missing = table_bytes - nk_min_u64(shape.table_bytes, table_bytes);
        uint64_t until = checkpoint->filled + missing / DATA_PAIR_BYTES + 1;
        while (checkpoint->filled < until) {
            store_turn(store);
            if (!store_may_put(store, 0)) {
                store_sleep(store, STORE_RETRY_US);
                continue;
            }
            uint64_t id = data_shuffled(checkpoint->filled++ % checkpoint->key_count);
            store_put(store, 0, id, &checkpoint->prng);
        }
        store_settle(store);
        lsm_get_shape(store->databases[0], &shape);
    } while (shape.table_bytes < table_bytes);
}

/* ---- Opening ---- */

static void open_once(struct checkpoint *checkpoint, bool cold, double *out_open_ms,
                      double *out_get_ms)
{
    struct store *store = &checkpoint->store;
    store_close(store);
    if (cold) {
        char path[1024];
        (void)snprintf(path, sizeof path, "%s/lsm/shard-0", checkpoint->options->directory);
        process_forget_pages(path);
    }
    uint64_t start_ns = process_now_ns();
    store_open(store);
    *out_open_ms = ms_since(start_ns);
    start_ns = process_now_ns();
    struct store_get get = {0};
    store_get(store, 0, data_shuffled(nk_prng_below(&checkpoint->prng, checkpoint->filled)), &get);
    while (!get.done) {
        store_sleep(store, STORE_RETRY_US);
        store_turn(store);
    }
    *out_get_ms = ms_since(start_ns);
    if (get.err != NK_OK) {
        bench_fail("WRONG READ: a key is missing, id %llu", (unsigned long long)get.id);
    }
    nk_buf_deinit(&get.value);
}

static void open_some(struct checkpoint *checkpoint)
{
    struct lsm_shape shape;
    lsm_get_shape(checkpoint->store.databases[0], &shape);
    checkpoint->open_tables = shape.table_count;
    checkpoint->open_bytes = shape.table_bytes;
    for (size_t i = 0; i < ROUNDS; i++) {
        open_once(checkpoint, false, &checkpoint->warm_open_ms[i], &checkpoint->warm_get_ms[i]);
        open_once(checkpoint, true, &checkpoint->cold_open_ms[i], &checkpoint->cold_get_ms[i]);
    }
}

/* ---- Checkpoints ---- */

static void write_run(struct nk_job *job)
{
    struct checkpoint *checkpoint = NK_CONTAINER_OF(job, struct checkpoint, job);
    checkpoint->err = lsm_checkpoint_write(checkpoint->under_way, checkpoint->directory);
}

static void write_done(struct nk_job *job)
{
    NK_CONTAINER_OF(job, struct checkpoint, job)->done = true;
}

/* The writer, until `end_ns` or the checkpoint is done.  Each put has its time at which it is due:
 * one that comes late counts from then. */
static void write_steadily(struct checkpoint *checkpoint, uint64_t end_ns, struct latency *latency)
{
    struct store *store = &checkpoint->store;
    uint64_t start_ns = process_now_ns();
    uint64_t puts = 0;
    for (uint64_t now_ns = start_ns; now_ns < end_ns && !checkpoint->done;
         now_ns = process_now_ns()) {
        store_turn(store);
        uint64_t due_ns = start_ns + puts * NS_PER_SEC / PUTS_PER_S;
        if (due_ns > now_ns) {
            store_sleep(store, (due_ns - now_ns) / 1000 + 1);
            continue;
        }
        if (!store_may_put(store, 0)) {
            store_sleep(store, STORE_RETRY_US);
            continue;
        }
        uint64_t id = data_shuffled(nk_prng_below(&checkpoint->prng, checkpoint->filled));
        store_put(store, 0, id, &checkpoint->prng);
        puts++;
        latency_add(latency, process_now_ns() - due_ns);
    }
}

static void write_checkpoint(struct checkpoint *checkpoint, size_t round)
{
    struct store *store = &checkpoint->store;
    (void)snprintf(checkpoint->directory, sizeof checkpoint->directory, "lsm/checkpoint-%zu",
                   round);
    checkpoint->done = false;
    write_steadily(checkpoint, process_now_ns() + BESIDE_US * 1000, &checkpoint->alone);
    uint64_t start_ns = process_now_ns();
    checkpoint->under_way = lsm_checkpoint_begin(store->databases[0]);
    checkpoint->job = (struct nk_job){.run = write_run, .done = write_done};
    enum nk_err err = nk_worker_submit(&store->worker, NK_LANE_BACKGROUND, &checkpoint->job);
    store_check(store, 0, err, "checkpoint");
    write_steadily(checkpoint, UINT64_MAX, &checkpoint->beside);
    lsm_checkpoint_end(&checkpoint->under_way);
    checkpoint->write_ms[round] = ms_since(start_ns);
    store_check(store, 0, checkpoint->err, "checkpoint");
    checkpoint->done = false;
    write_steadily(checkpoint, process_now_ns() + BESIDE_US * 1000, &checkpoint->alone);
    err = lsm_remove(store->engine, checkpoint->directory);
    store_check(store, 0, err, "removal of a checkpoint");
}

/* ---- The report ---- */

static bool report(const struct checkpoint *checkpoint, const struct lsm_shape *shape)
{
    const char *name = "checkpoint";
    double pause_ms = (double)checkpoint->beside.max_ns / 1e6;
    double write_ms = most(checkpoint->write_ms);
    double warm_ms = most(checkpoint->warm_open_ms);
    double cold_ms = most(checkpoint->cold_open_ms);
    bool broken = store_broken(name, "a checkpoint in ms", write_ms, CHECKPOINT_MS_MAX);
    broken |= store_broken(name, "the pause of a writer in ms", pause_ms, PAUSE_MS_MAX);
    broken |= store_broken(name, "an open in ms, warm", warm_ms, OPEN_MS_MAX);
    broken |= store_broken(name, "an open in ms, cold", cold_ms, OPEN_MS_MAX);
    (void)printf(
        "{\"workload\":\"checkpoint\",\"table_mb\":%.1f,\"tables\":%zu,\"rounds\":%d,"
        "\"checkpoint_ms\":%.2f,\"checkpoint_max_ms\":%.2f,\"puts_beside\":%llu,"
        "\"pause_max_ms\":%.3f,\"pause_p99_ms\":%.3f,\"pause_alone_max_ms\":%.3f,"
        "\"pause_alone_p99_ms\":%.3f,",
        (double)shape->table_bytes / 1e6, shape->table_count, ROUNDS, middle(checkpoint->write_ms),
        write_ms, (unsigned long long)checkpoint->beside.count, pause_ms,
        latency_us(&checkpoint->beside, 0.99) / 1e3, (double)checkpoint->alone.max_ns / 1e6,
        latency_us(&checkpoint->alone, 0.99) / 1e3);
    (void)printf("\"open_table_mb\":%.1f,\"open_tables\":%zu,\"open_warm_ms\":%.2f,"
                 "\"open_warm_max_ms\":%.2f,\"open_cold_ms\":%.2f,\"open_cold_max_ms\":%.2f,"
                 "\"first_get_warm_ms\":%.2f,\"first_get_cold_ms\":%.2f,\"kept\":%s}\n",
                 (double)checkpoint->open_bytes / 1e6, checkpoint->open_tables,
                 middle(checkpoint->warm_open_ms), warm_ms, middle(checkpoint->cold_open_ms),
                 cold_ms, middle(checkpoint->warm_get_ms), middle(checkpoint->cold_get_ms),
                 broken ? "false" : "true");
    return !broken;
}

bool bounds_checkpoint(const struct bounds_options *options)
{
    static struct checkpoint checkpoint;
    checkpoint.options = options;
    nk_prng_init(&checkpoint.prng, options->seed);
    checkpoint.key_count = options->mib * NK_MIB * KEYS_PER_TABLE_BYTES / DATA_PAIR_BYTES + 1;
    data_init(checkpoint.key_count, options->seed);
    const struct store_options store = {
        .directory = options->directory,
        .databases = 1,
        .memtable_bytes = options->write_buffer_bytes / 4,
        .write_buffer_bytes = options->write_buffer_bytes,
        .cache_bytes = options->cache_bytes,
    };
    store_init(&checkpoint.store, &store);
    store_open(&checkpoint.store);
    fill(&checkpoint, options->mib * NK_MIB / 2);
    open_some(&checkpoint);
    fill(&checkpoint, options->mib * NK_MIB);
    struct lsm_shape shape;
    lsm_get_shape(checkpoint.store.databases[0], &shape);
    for (size_t i = 0; i < ROUNDS; i++) {
        write_checkpoint(&checkpoint, i);
    }
    bool kept = report(&checkpoint, &shape);
    store_deinit(&checkpoint.store);
    data_deinit();
    return kept;
}
