/* The store is filled and settled, then a reader is alone (quiet), then a writer who never rests is
 * beside him (storm).  Both take turns on the loop, as the requests of a shardhost do; what the
 * reader wants from the disk comes by the read lane.  A time counts from the end of the client's
 * last operation: a put that is refused is tried again, and all of that is its time. */

#include <stdio.h>

#include "common/base/alloc.h"
#include "common/base/units.h"
#include "tests/bench/engine/bounds.h"
#include "tests/bench/engine/data.h"
#include "tests/bench/engine/latency.h"
#include "tests/bench/engine/process.h"
#include "tests/bench/engine/store.h"

#define STALL_MS_MAX   100
#define L0_MAX         12 /* the mark at which writers stop: the default */
#define READ_RATIO_MAX 4
#define QUIET_PART     20 /* the reader is alone for this part of the storm's time, and before */
#define INTERVALS      60
#define IDLE_US        100000
#define NS_PER_US      UINT64_C(1000)

/* Of a time in which something was measured. */
struct span {
    uint64_t puts;
    uint64_t gets;
    struct latency put_latency;
    struct latency get_latency;
    size_t l0_max;
    uint64_t refused_max_ns; /* the longest time in which every try to put was refused */
    uint64_t turn_max_ns;    /* the longest turn of the loop: the engine, or no processor */
};

/* Of a part of the storm. */
struct interval {
    double puts_per_s;
    double gets_per_s;
    double put_max_us;
    double get_p99_us;
    size_t l0_max;
};

struct storm {
    const struct bounds_options *options;
    struct store store;
    struct nk_prng prng;
    uint64_t key_count;

    bool writing;
    uint64_t put_wanted_ns;
    uint64_t put_due_ns;       /* refused until then */
    uint64_t refused_since_ns; /* 0: the last try was taken */
    struct store_get get;
    bool getting;
    uint64_t get_wanted_ns;
    struct span *span;
    struct interval intervals[INTERVALS];
};

struct totals {
    uint64_t flushed;
    uint64_t compacted;
    uint64_t written; /* by the process */
};

static struct totals count(struct storm *storm)
{
    struct lsm_stats *stats = lsm_engine_stats(storm->store.engine);
    return (struct totals){nk_counter_get(&stats->flushed_bytes),
                           nk_counter_get(&stats->compacted_bytes), process_written_bytes()};
}

/* ---- Clients ---- */

static bool may_put(struct storm *storm)
{
    uint64_t now_ns = process_now_ns();
    if (storm->put_due_ns > now_ns) {
        return false;
    }
    bool taken = store_may_put(&storm->store, 0);
    if (!taken) {
        storm->put_due_ns = now_ns + STORE_RETRY_US * NS_PER_US;
        storm->refused_since_ns = storm->refused_since_ns != 0 ? storm->refused_since_ns : now_ns;
    } else if (storm->refused_since_ns != 0) {
        uint64_t refused_ns = now_ns - storm->refused_since_ns;
        storm->span->refused_max_ns = nk_max_u64(storm->span->refused_max_ns, refused_ns);
        storm->refused_since_ns = 0;
    }
    return taken;
}

static bool write_one(struct storm *storm)
{
    if (!storm->writing || !may_put(storm)) {
        return false;
    }
    store_put(&storm->store, 0, nk_prng_below(&storm->prng, storm->key_count), &storm->prng);
    uint64_t now_ns = process_now_ns();
    storm->span->puts++;
    latency_add(&storm->span->put_latency, now_ns - storm->put_wanted_ns);
    storm->put_wanted_ns = now_ns;
    return true;
}

static bool end_get(struct storm *storm)
{
    if (!storm->get.done) {
        return false;
    }
    if (storm->get.err != NK_OK) {
        bench_fail("WRONG READ: a key is missing, id %llu", (unsigned long long)storm->get.id);
    }
    uint64_t now_ns = process_now_ns();
    storm->getting = false;
    storm->span->gets++;
    latency_add(&storm->span->get_latency, now_ns - storm->get_wanted_ns);
    storm->get_wanted_ns = now_ns;
    return true;
}

static bool read_one(struct storm *storm)
{
    if (storm->getting) {
        return end_get(storm);
    }
    storm->getting = true;
    store_get(&storm->store, 0, nk_prng_below(&storm->prng, storm->key_count), &storm->get);
    return end_get(storm);
}

/* ---- The loop ---- */

static void run_until(struct storm *storm, uint64_t end_ns)
{
    struct lsm_shape shape;
    lsm_get_shape(storm->store.databases[0], &shape);
    storm->store.l0_max = shape.levels[0].table_count;
    for (uint64_t now_ns = process_now_ns(); now_ns < end_ns;) {
        store_turn(&storm->store);
        uint64_t turned_ns = process_now_ns();
        storm->span->turn_max_ns = nk_max_u64(storm->span->turn_max_ns, turned_ns - now_ns);
        bool any = write_one(storm);
        any |= read_one(storm);
        now_ns = process_now_ns();
        if (!any) {
            uint64_t due_ns = storm->writing ? storm->put_due_ns : now_ns + IDLE_US * NS_PER_US;
            if (due_ns > now_ns) {
                store_sleep(&storm->store, (due_ns - now_ns) / NS_PER_US + 1);
            }
            now_ns = process_now_ns();
        }
    }
    storm->span->l0_max = storm->store.l0_max;
}

static void run_for(struct storm *storm, double seconds, struct span *span)
{
    memset(span, 0, sizeof *span);
    storm->span = span;
    run_until(storm, process_now_ns() + (uint64_t)(seconds * 1e9));
}

static void merge_span(struct span *total, const struct span *span)
{
    total->puts += span->puts;
    total->gets += span->gets;
    latency_merge(&total->put_latency, &span->put_latency);
    latency_merge(&total->get_latency, &span->get_latency);
    total->l0_max = nk_max_size(total->l0_max, span->l0_max);
    total->refused_max_ns = nk_max_u64(total->refused_max_ns, span->refused_max_ns);
    total->turn_max_ns = nk_max_u64(total->turn_max_ns, span->turn_max_ns);
}

static void fill(struct storm *storm)
{
    for (uint64_t i = 0; i < storm->key_count;) {
        store_turn(&storm->store);
        if (store_may_put(&storm->store, 0)) {
            store_put(&storm->store, 0, data_shuffled(i), &storm->prng);
            i++;
        } else {
            store_sleep(&storm->store, STORE_RETRY_US);
        }
    }
    store_settle(&storm->store);
}

/* The storm itself. */
static void rage(struct storm *storm, struct span *total)
{
    static struct span span; /* large */
    memset(total, 0, sizeof *total);
    storm->writing = true;
    storm->put_wanted_ns = process_now_ns();
    double seconds = storm->options->seconds / INTERVALS;
    for (size_t i = 0; i < INTERVALS; i++) {
        run_for(storm, seconds, &span);
        merge_span(total, &span);
        storm->intervals[i] = (struct interval){
            .puts_per_s = (double)span.puts / seconds,
            .gets_per_s = (double)span.gets / seconds,
            .put_max_us = (double)span.put_latency.max_ns / 1e3,
            .get_p99_us = latency_us(&span.get_latency, 0.99),
            .l0_max = span.l0_max,
        };
    }
    if (storm->refused_since_ns != 0) { /* at the end he still waits */
        uint64_t waited_ns = process_now_ns() - storm->put_wanted_ns;
        total->put_latency.max_ns = nk_max_u64(total->put_latency.max_ns, waited_ns);
    }
    storm->writing = false;
}

/* ---- The report ---- */

static void print_latency(const char *name, const struct latency *latency)
{
    (void)printf("\"%s_p50_us\":%.2f,\"%s_p99_us\":%.2f,\"%s_p999_us\":%.2f,\"%s_max_us\":%.1f,",
                 name, latency_us(latency, 0.5), name, latency_us(latency, 0.99), name,
                 latency_us(latency, 0.999), name, (double)latency->max_ns / 1e3);
}

static void print_intervals(const struct storm *storm)
{
    (void)printf("\"interval_s\":%.3f,\"intervals\":[", storm->options->seconds / INTERVALS);
    for (size_t i = 0; i < INTERVALS; i++) {
        const struct interval *interval = &storm->intervals[i];
        (void)printf("%s{\"puts_per_s\":%.0f,\"gets_per_s\":%.0f,\"l0_max\":%zu,"
                     "\"put_max_us\":%.0f,\"get_p99_us\":%.1f}",
                     i > 0 ? "," : "", interval->puts_per_s, interval->gets_per_s, interval->l0_max,
                     interval->put_max_us, interval->get_p99_us);
    }
    (void)printf("],");
}

static bool report(struct storm *storm, const struct span *quiet, const struct span *total,
                   struct totals before, struct totals after)
{
    struct lsm_shape shape;
    lsm_get_shape(storm->store.databases[0], &shape);
    double user_bytes = (double)nk_max_u64(total->puts, 1) * DATA_PAIR_BYTES;
    double live_bytes = (double)storm->key_count * DATA_PAIR_BYTES;
    double quiet_us = latency_us(&quiet->get_latency, 0.99);
    double storm_us = latency_us(&total->get_latency, 0.99);
    double stall_ms = (double)total->put_latency.max_ns / 1e6;
    double ratio = quiet_us > 0 ? storm_us / quiet_us : 0;
    bool broken = store_broken("storm", "the longest stall in ms", stall_ms, STALL_MS_MAX);
    broken |= store_broken("storm", "tables in level 0", (double)total->l0_max, L0_MAX);
    broken |= store_broken("storm", "p99 of reads, to quiet", ratio, READ_RATIO_MAX);
    (void)printf("{\"workload\":\"storm\",");
    print_latency("put", &total->put_latency);
    print_latency("quiet_get", &quiet->get_latency);
    print_latency("get", &total->get_latency);
    (void)printf("\"keys\":%llu,\"seconds\":%.1f,\"puts\":%llu,\"puts_per_s\":%.0f,"
                 "\"gets_per_s\":%.0f,\"quiet_gets_per_s\":%.0f,\"stall_ms\":%.2f,"
                 "\"refused_max_ms\":%.2f,\"turn_max_ms\":%.2f,\"l0_max\":%zu,"
                 "\"get_p99_to_quiet\":%.2f,",
                 (unsigned long long)storm->key_count, storm->options->seconds,
                 (unsigned long long)total->puts, (double)total->puts / storm->options->seconds,
                 (double)total->gets / storm->options->seconds,
                 (double)quiet->gets * QUIET_PART / storm->options->seconds, stall_ms,
                 (double)total->refused_max_ns / 1e6, (double)total->turn_max_ns / 1e6,
                 total->l0_max, ratio);
    print_intervals(storm);
    (void)printf(
        "\"tables_written_per_user_byte\":%.3f,\"written_per_user_byte\":%.3f,"
        "\"table_mb\":%.1f,\"table_bytes_per_live_byte\":%.3f,\"debt_mb\":%.1f,"
        "\"peak_memory_mb\":%.1f,\"kept\":%s}\n",
        (double)(after.flushed - before.flushed + after.compacted - before.compacted) / user_bytes,
        (double)(after.written - before.written) / user_bytes, (double)shape.table_bytes / 1e6,
        (double)shape.table_bytes / live_bytes, (double)shape.debt_bytes / 1e6,
        (double)process_peak_bytes() / 1e6, broken ? "false" : "true");
    return !broken;
}

bool bounds_storm(const struct bounds_options *options)
{
    static struct storm storm;
    static struct span quiet;
    static struct span total;
    storm.options = options;
    nk_prng_init(&storm.prng, options->seed);
    storm.key_count = nk_max_u64(options->mib * NK_MIB / DATA_PAIR_BYTES, 1);
    data_init(storm.key_count, options->seed);
    const struct store_options store = {
        .directory = options->directory,
        .databases = 1,
        .memtable_bytes = options->write_buffer_bytes / 4,
        .write_buffer_bytes = options->write_buffer_bytes,
        .cache_bytes = options->cache_bytes,
    };
    store_init(&storm.store, &store);
    store_open(&storm.store);
    fill(&storm);
    storm.get_wanted_ns = process_now_ns();
    run_for(&storm, options->seconds / QUIET_PART, &quiet); /* the cache gets warm */
    run_for(&storm, options->seconds / QUIET_PART, &quiet);
    struct totals before = count(&storm);
    rage(&storm, &total);
    struct totals after = count(&storm);
    bool kept = report(&storm, &quiet, &total, before, after);
    while (storm.getting && !storm.get.done) {
        store_turn(&storm.store);
        store_sleep(&storm.store, STORE_RETRY_US);
    }
    nk_buf_deinit(&storm.get.value);
    store_deinit(&storm.store);
    data_deinit();
    return kept;
}
