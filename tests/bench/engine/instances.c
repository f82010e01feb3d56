/* Memory, as the system counts it: VmHWM above what the process had before the engine was opened.
 * There are gets among the puts, so the cache gets full too. */

#include <malloc.h>
#include <stdio.h>

#include "common/base/alloc.h"
#include "common/base/units.h"
#include "tests/bench/engine/bounds.h"
#include "tests/bench/engine/data.h"
#include "tests/bench/engine/process.h"
#include "tests/bench/engine/store.h"

#define EMPTY_BYTES_MAX  (8 * NK_KIB)
#define OVER_BUDGET_PART 4  /* the peak may be above the budget by a fourth */
#define BURST            16 /* puts in a turn of the loop */
#define CHECK_EVERY      4096

/* What services/shardhost/lsm/README.md says besides the write buffer and the cache. */
#define JOB_BYTES        (4 * NK_MIB)
#define TABLE_BYTES      512
#define DATABASE_BYTES   (2 * NK_KIB)

struct instances {
    const struct bounds_options *options;
    struct store store;
    struct nk_prng prng;
    uint64_t key_count;
    uint8_t *written; /* a byte for each key */
    uint64_t puts;
    uint64_t refused; /* asked and told to come again */
    uint64_t base_bytes;
    double empty_heap_bytes;
    double empty_resident_bytes;
    int64_t memtable_peak;
    int64_t cache_peak;
    size_t table_peak;
};

static void measure_empty(struct instances *instances)
{
    double count = (double)instances->options->databases;
    struct mallinfo2 before = mallinfo2();
    uint64_t resident = process_memory_bytes();
    store_open(&instances->store);
    store_turn(&instances->store);
    struct mallinfo2 after = mallinfo2();
    instances->empty_heap_bytes =
        (double)(after.uordblks + after.hblkhd - before.uordblks - before.hblkhd) / count;
    instances->empty_resident_bytes = (double)(process_memory_bytes() - resident) / count;
}

static void look(struct instances *instances)
{
    struct lsm_stats *stats = lsm_engine_stats(instances->store.engine);
    int64_t memtables = nk_gauge_get(&stats->memtable_bytes);
    int64_t cache = nk_gauge_get(&stats->cache_bytes);
    instances->memtable_peak =
        memtables > instances->memtable_peak ? memtables : instances->memtable_peak;
    instances->cache_peak = cache > instances->cache_peak ? cache : instances->cache_peak;
}

static void look_at_tables(struct instances *instances)
{
    size_t tables = 0;
    for (size_t i = 0; i < instances->options->databases; i++) {
        struct lsm_shape shape;
        lsm_get_shape(instances->store.databases[i], &shape);
        tables += shape.table_count;
    }
    instances->table_peak = nk_max_size(instances->table_peak, tables);
}

static void read_one(struct instances *instances, struct store_get *get)
{
    if (get->store != NULL && !get->done) {
        return; /* the last one is on its way */
    }
    if (get->done && get->err != NK_OK) {
        bench_fail("WRONG READ: a key is missing, id %llu", (unsigned long long)get->id);
    }
    uint64_t id = nk_prng_below(&instances->prng, instances->key_count);
    if (instances->written[id] != 0) {
        store_get(&instances->store, (size_t)(id % instances->options->databases), id, get);
    }
}

/* Up to BURST puts, each to a database drawn at random.  False: none was taken. */
static bool write_some(struct instances *instances)
{
    bool any = false;
    for (size_t i = 0; i < BURST; i++) {
        uint64_t id = nk_prng_below(&instances->prng, instances->key_count);
        size_t database = (size_t)(id % instances->options->databases);
        if (!store_may_put(&instances->store, database)) {
            instances->refused++;
            continue;
        }
        store_put(&instances->store, database, id, &instances->prng);
        instances->written[id] = 1;
        instances->puts++;
        any = true;
        look(instances);
    }
    return any;
}

static void write_all(struct instances *instances)
{
    uint64_t wanted = instances->options->mib * NK_MIB / DATA_PAIR_BYTES;
    struct store_get get = {0};
    for (uint64_t turn = 0; instances->puts < wanted; turn++) {
        store_turn(&instances->store);
        if (!write_some(instances)) {
            store_sleep(&instances->store, STORE_RETRY_US);
        }
        read_one(instances, &get);
        if (turn % CHECK_EVERY == 0) {
            look_at_tables(instances);
        }
    }
    look_at_tables(instances);
    while (get.store != NULL && !get.done) {
        store_turn(&instances->store);
        store_sleep(&instances->store, STORE_RETRY_US);
    }
    nk_buf_deinit(&get.value);
}

static bool report(struct instances *instances, double seconds)
{
    const struct bounds_options *options = instances->options;
    struct lsm_stats *stats = lsm_engine_stats(instances->store.engine);
    uint64_t jobs = instances->store.worker.background_threads;
    uint64_t budget = options->write_buffer_bytes + options->cache_bytes + jobs * JOB_BYTES +
                      instances->table_peak * TABLE_BYTES + options->databases * DATABASE_BYTES;
    uint64_t peak = process_peak_bytes() - instances->base_bytes;
    double limit = (double)(budget + budget / OVER_BUDGET_PART) / 1e6;
    bool broken = store_broken("instances", "heap of an empty database",
                               instances->empty_heap_bytes, (double)EMPTY_BYTES_MAX);
    broken |= store_broken("instances", "resident memory of an empty database",
                           instances->empty_resident_bytes, (double)EMPTY_BYTES_MAX);
    broken |= store_broken("instances", "peak memory in MB", (double)peak / 1e6, limit);
    (void)printf("{\"workload\":\"instances\",\"databases\":%zu,\"empty_heap_bytes\":%.0f,"
                 "\"empty_resident_bytes\":%.0f,\"seconds\":%.1f,\"puts\":%llu,\"put_mb\":%.1f,"
                 "\"refused\":%llu,",
                 options->databases, instances->empty_heap_bytes, instances->empty_resident_bytes,
                 seconds, (unsigned long long)instances->puts,
                 (double)(instances->puts * DATA_PAIR_BYTES) / 1e6,
                 (unsigned long long)instances->refused);
    (void)printf("\"write_buffer_mb\":%.1f,\"cache_mb\":%.1f,\"budget_mb\":%.1f,\"limit_mb\":%.1f,"
                 "\"peak_mb\":%.1f,\"before_mb\":%.1f,\"memtables_peak_mb\":%.1f,"
                 "\"cache_peak_mb\":%.1f,\"tables_peak\":%zu,\"flushes\":%llu,"
                 "\"compactions\":%llu,\"l0_max\":%zu,\"kept\":%s}\n",
                 (double)options->write_buffer_bytes / 1e6, (double)options->cache_bytes / 1e6,
                 (double)budget / 1e6, limit, (double)peak / 1e6,
                 (double)instances->base_bytes / 1e6, (double)instances->memtable_peak / 1e6,
                 (double)instances->cache_peak / 1e6, instances->table_peak,
                 (unsigned long long)nk_counter_get(&stats->flushes),
                 (unsigned long long)nk_counter_get(&stats->compactions), instances->store.l0_max,
                 broken ? "false" : "true");
    return !broken;
}

bool bounds_instances(const struct bounds_options *options)
{
    static struct instances instances;
    instances.options = options;
    nk_prng_init(&instances.prng, options->seed);
    instances.key_count =
        nk_max_u64(options->mib * NK_MIB / DATA_PAIR_BYTES / 2, options->databases);
    data_init(instances.key_count, options->seed);
    instances.written = nk_alloc(instances.key_count);
    memset(instances.written, 0, instances.key_count); /* in memory before it counts */
    const struct store_options store = {
        .directory = options->directory,
        .databases = options->databases,
        .memtable_bytes = options->write_buffer_bytes / 4,
        .write_buffer_bytes = options->write_buffer_bytes,
        .cache_bytes = options->cache_bytes,
    };
    store_init(&instances.store, &store);
    instances.base_bytes = process_memory_bytes();
    measure_empty(&instances);
    uint64_t start_ns = process_now_ns();
    write_all(&instances);
    bool kept = report(&instances, (double)(process_now_ns() - start_ns) / 1e9);
    store_deinit(&instances.store);
    nk_free(instances.written);
    data_deinit();
    return kept;
}
