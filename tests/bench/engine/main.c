/* This project's storage engine beside RocksDB and LevelDB: tests/bench/README.md.
 *
 * One process measures one engine: it opens a store below DIRECTORY/ENGINE, does one workload after
 * the other to it and prints a JSON object for each.  Memory and bytes written are those of the
 * process so far, so what is to be told apart runs in processes of its own (engine_run). */

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/units.h"
#include "tests/bench/engine/data.h"
#include "tests/bench/engine/engine.h"
#include "tests/bench/engine/process.h"
#include "tests/bench/engine/workload.h"

#define PATH_BYTES 1024
#define LIST_BYTES 1024

static const struct engine_ops *const engines[] = {&engine_norikv, &engine_rocksdb,
                                                   &engine_leveldb};

struct options {
    const struct engine_ops *ops;
    uint64_t keys;
    uint64_t cache_mb;
    uint64_t write_buffer_mb;
    char workloads[LIST_BYTES];
    const char *directory; /* NULL: one of its own, removed at the end */
    uint64_t seed;
    double seconds;
    bool lanes;
    bool describe;
};

struct bench {
    struct options options;
    char directory[PATH_BYTES]; /* of the store */
    struct engine *engine;      /* NULL: not open */
    bool sync;                  /* as it was opened */
    uint64_t written_start;
    uint64_t user_bytes; /* put so far */
};

/* ---- Options ---- */

static _Noreturn void usage(int code)
{
    (void)fprintf(code == 0 ? stdout : stderr,
                  "usage: bench_engine --engine norikv|rocksdb|leveldb [--keys 5000000]\n"
                  "  [--cache-mb 2048] [--write-buffer-mb 64] [--workloads LIST]\n"
                  "  [--directory DIR] [--seed 1] [--seconds 10] [--lanes] [--describe]\n"
                  "LIST: of %s\n"
                  "  fill* begin with an empty store; the others use what is in DIR/ENGINE, which\n"
                  "  stays there.  Without --directory it is removed at the end.\n"
                  "  --seconds: of what is not done once for each key\n"
                  "  --lanes: norikv only: synced rounds and reads from disk on other threads\n",
                  workload_names());
    exit(code);
}

static uint64_t number_of(const char *text)
{
    char *end = NULL;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (errno != 0 || *text < '0' || *text > '9' || *end != '\0') {
        bench_fail("not a number: %s", text);
    }
    return number;
}

static double seconds_of(const char *text)
{
    char *end = NULL;
    double number = strtod(text, &end);
    if (end == text || *end != '\0' || !(number > 0)) {
        bench_fail("not a time: %s", text);
    }
    return number;
}

static const struct engine_ops *engine_of(const char *name)
{
    for (size_t i = 0; i < NK_COUNT_OF(engines); i++) {
        if (strcmp(engines[i]->name, name) == 0) {
            return engines[i];
        }
    }
    bench_fail("no engine: %s", name);
}

static void set_workloads(struct options *options, const char *list)
{
    if (strlen(list) >= sizeof options->workloads) {
        bench_fail("too many workloads");
    }
    memcpy(options->workloads, list, strlen(list) + 1);
}

static void parse(struct options *options, int argc, char **argv)
{
    enum {
        ENGINE,
        KEYS,
        CACHE,
        WRITE_BUFFER,
        WORKLOADS,
        DIRECTORY,
        SEED,
        SECONDS,
        LANES,
        DESCRIBE,
        HELP
    };
    static const struct option known[] = {
        {"engine", required_argument, NULL, ENGINE},
        {"keys", required_argument, NULL, KEYS},
        {"cache-mb", required_argument, NULL, CACHE},
        {"write-buffer-mb", required_argument, NULL, WRITE_BUFFER},
        {"workloads", required_argument, NULL, WORKLOADS},
        {"directory", required_argument, NULL, DIRECTORY},
        {"seed", required_argument, NULL, SEED},
        {"seconds", required_argument, NULL, SECONDS},
        {"lanes", no_argument, NULL, LANES},
        {"describe", no_argument, NULL, DESCRIBE},
        {"help", no_argument, NULL, HELP},
        {0},
    };
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        switch (option) {
        case ENGINE:
            options->ops = engine_of(optarg);
            break;
        case KEYS:
            options->keys = number_of(optarg);
            break;
        case CACHE:
            options->cache_mb = number_of(optarg);
            break;
        case WRITE_BUFFER:
            options->write_buffer_mb = number_of(optarg);
            break;
        case WORKLOADS:
            set_workloads(options, optarg);
            break;
        case DIRECTORY:
            options->directory = optarg;
            break;
        case SEED:
            options->seed = number_of(optarg);
            break;
        case SECONDS:
            options->seconds = seconds_of(optarg);
            break;
        case LANES:
            options->lanes = true;
            break;
        case DESCRIBE:
            options->describe = true;
            break;
        default:
            usage(option == HELP ? 0 : 2);
        }
    }
    if (options->ops == NULL || optind != argc || options->keys == 0 ||
        options->write_buffer_mb == 0 || options->cache_mb == 0) {
        usage(2);
    }
}

/* ---- The run ---- */

static void close_store(struct bench *bench)
{
    if (bench->engine != NULL) {
        bench->options.ops->close(bench->engine);
        bench->engine = NULL;
    }
}

static void open_store(struct bench *bench, const struct workload *workload)
{
    const struct options *options = &bench->options;
    if (bench->engine != NULL && !workload->fresh && bench->sync == workload->sync) {
        return;
    }
    close_store(bench);
    if (workload->fresh) {
        process_remove(bench->directory);
        bench->user_bytes = 0;
        bench->written_start = process_written_bytes();
    }
    const struct engine_options engine_options = {
        .directory = bench->directory,
        .cache_bytes = (size_t)(options->cache_mb * NK_MIB),
        .write_buffer_bytes = (size_t)(options->write_buffer_mb * NK_MIB),
        .sync = workload->sync,
        .lanes = options->lanes,
    };
    bench->engine = options->ops->open(&engine_options);
    bench->sync = workload->sync;
}

static bool writes(const struct workload *workload)
{
    return workload->op <= WORKLOAD_PUT_ANY;
}

static void print_row(const struct bench *bench, const struct workload *workload,
                      const struct workload_result *result, uint64_t cpu_us)
{
    const struct options *options = &bench->options;
    uint64_t log_bytes = 0;
    uint64_t disk_bytes = process_disk_bytes(bench->directory, options->ops->is_log, &log_bytes);
    uint64_t written = process_written_bytes() - bench->written_start;
    (void)printf("{\"engine\":\"%s\",\"workload\":\"%s\",\"keys\":%llu,\"cache_mb\":%llu,"
                 "\"write_buffer_mb\":%llu,\"seed\":%llu,\"lanes\":%s,",
                 options->ops->name, workload->name, (unsigned long long)options->keys,
                 (unsigned long long)options->cache_mb,
                 (unsigned long long)options->write_buffer_mb, (unsigned long long)options->seed,
                 options->lanes ? "true" : "false");
    (void)printf("\"clients\":%u,\"seconds\":%.3f,\"ops\":%llu,\"ops_per_s\":%.1f,"
                 "\"writer_ops_per_s\":%.1f,\"p50_us\":%.2f,\"p99_us\":%.2f,\"p999_us\":%.2f,"
                 "\"max_us\":%.1f,\"cpu_s\":%.2f,",
                 workload->clients, result->seconds, (unsigned long long)result->ops,
                 (double)result->ops / result->seconds,
                 (double)result->writer_ops / result->seconds, latency_us(&result->latency, 0.5),
                 latency_us(&result->latency, 0.99), latency_us(&result->latency, 0.999),
                 (double)result->latency.max_ns / 1e3, (double)cpu_us / 1e6);
    (void)printf(
        "\"writer_p50_us\":%.2f,\"writer_p99_us\":%.2f,\"writer_p999_us\":%.2f,"
        "\"writer_max_us\":%.1f,",
        latency_us(&result->writer_latency, 0.5), latency_us(&result->writer_latency, 0.99),
        latency_us(&result->writer_latency, 0.999), (double)result->writer_latency.max_ns / 1e3);
    (void)printf("\"written_mb\":%.1f,\"written_per_user_byte\":%.3f,\"disk_mb\":%.1f,"
                 "\"log_mb\":%.1f,\"peak_memory_mb\":%.1f}\n",
                 (double)written / 1e6,
                 bench->user_bytes > 0 ? (double)written / (double)bench->user_bytes : 0,
                 (double)disk_bytes / 1e6, (double)log_bytes / 1e6,
                 (double)process_peak_bytes() / 1e6);
    (void)fflush(stdout);
}

static void run(struct bench *bench, const char *name)
{
    const struct options *options = &bench->options;
    const struct workload *workload = workload_find(name);
    if (workload == NULL) {
        bench_fail("no workload: %s; there are %s", name, workload_names());
    }
    open_store(bench, workload);
    static struct workload_result result; /* large */
    uint64_t cpu_us = process_cpu_us();
    workload_run(workload, options->ops, bench->engine, options->keys, options->seconds,
                 options->seed, &result);
    cpu_us = process_cpu_us() - cpu_us;
    uint64_t puts = (writes(workload) ? result.ops : 0) + result.writer_ops;
    bench->user_bytes += puts * DATA_PAIR_BYTES;
    print_row(bench, workload, &result, cpu_us);
    if (options->describe) {
        options->ops->describe(bench->engine);
    }
}

int main(int argc, char **argv)
{
    struct bench bench = {
        .options =
            {.keys = 5000000, .cache_mb = 2048, .write_buffer_mb = 64, .seed = 1, .seconds = 10},
    };
    struct options *options = &bench.options;
    set_workloads(options, "fillrandom,settle,readrandom");
    parse(options, argc, argv);
    char own[] = "/tmp/norikv-engine-XXXXXX";
    const char *root = options->directory;
    if (root == NULL && (root = mkdtemp(own)) == NULL) {
        bench_fail("cannot make %s: %s", own, strerror(errno));
    }
    int size = snprintf(bench.directory, sizeof bench.directory, "%s/%s", root, options->ops->name);
    if (size < 0 || (size_t)size >= sizeof bench.directory) {
        bench_fail("the name of the directory is too long");
    }
    data_init(options->keys, options->seed);
    bench.written_start = process_written_bytes();
    char *rest = options->workloads;
    for (char *name; (name = strsep(&rest, ",")) != NULL;) {
        run(&bench, name);
    }
    close_store(&bench);
    data_deinit();
    if (options->directory == NULL) {
        process_remove(own);
    }
    return 0;
}
