#include "tests/bench/engine/store.h"

#include <poll.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/units.h"
#include "tests/bench/engine/data.h"
#include "tests/bench/engine/process.h"

/* As a node has them without any setting. */
#define FILTER_BITS       10
#define TABLE_BYTES       ((size_t)(16 * NK_MIB))
#define SLICE_BYTES       (TABLE_BYTES / 4)
#define READ_THREADS      2

/* What a shardhost lets stand before it answers that it is overloaded (shard.c). */
#define WRITE_WAIT_US_MAX (20 * NK_US_PER_MS)

#define SETTLE_US         1000

/* ---- Opening and closing ---- */

void store_directory_of(size_t database, char out_directory[static 32])
{
    (void)snprintf(out_directory, 32, "lsm/shard-%zu", database);
}

void store_check(const struct store *store, size_t database, enum nk_err err, const char *what)
{
    if (err != NK_OK) {
        const struct lsm_fault *fault = lsm_last_fault(store->databases[database]);
        bench_fail("database %zu: %s: %s, %s %llu", database, what, nk_err_name(err), fault->file,
                   (unsigned long long)fault->offset);
    }
}

void store_init(struct store *store, const struct store_options *options)
{
    memset(store, 0, sizeof *store);
    store->options = *options;
    char memory[256];
    struct nk_text reason;
    nk_text_init(&reason, memory, sizeof memory);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    const struct env_posix_worker_options threads = {
        .read_threads = READ_THREADS,
        .background_threads = cores > 0 ? (unsigned)cores : 1,
    };
    if (env_posix_fs_open(options->directory, &store->posix_fs, &reason) != NK_OK ||
        env_posix_worker_open(&threads, &store->posix_worker, &reason) != NK_OK) {
        bench_fail("%s", memory);
    }
    store->clock = env_posix_clock();
    store->fs = env_posix_fs(store->posix_fs);
    store->worker = env_posix_worker(store->posix_worker);
    store->source = env_posix_loop_source(store->posix_worker);
    store->databases = nk_alloc_zero(options->databases, sizeof(struct lsm_db *));
    store->indexes = nk_alloc_zero(options->databases, sizeof *store->indexes);
}

void store_deinit(struct store *store)
{
    store_close(store);
    env_posix_worker_close(&store->posix_worker);
    env_posix_fs_close(&store->posix_fs);
    nk_free(store->databases);
    nk_free(store->indexes);
}

void store_open(struct store *store)
{
    const struct store_options *options = &store->options;
    const struct lsm_options tables = {
        .memtable_bytes = options->memtable_bytes,
        .write_buffer_total_bytes = options->write_buffer_bytes,
        .block_cache_bytes = options->cache_bytes,
        .open_files_max = (size_t)(env_posix_raise_file_limit() / 2),
        .filter_bits_per_key = FILTER_BITS,
        .compression = LSM_COMPRESSION_LZ4,
        .table_bytes = TABLE_BYTES,
        .max_background_jobs = store->worker.background_threads,
    };
    lsm_engine_open(&store->fs, &tables, &store->engine);
    for (size_t i = 0; i < options->databases; i++) {
        char directory[32];
        store_directory_of(i, directory);
        struct lsm_fault fault;
        enum nk_err err = lsm_open(store->engine, directory, &store->databases[i], &fault);
        if (err != NK_OK) {
            bench_fail("%s cannot be opened: %s", fault.file, nk_err_name(err));
        }
        lsm_set_user(store->databases[i], store);
        store->indexes[i] = lsm_durable_index(store->databases[i]);
    }
}

static void take_ended(struct store *store)
{
    store->rung = store->source.ops->rings(store->source.ctx);
    (void)store->source.ops->run_done(store->source.ctx);
}

void store_close(struct store *store)
{
    if (store->engine == NULL) {
        return;
    }
    for (take_ended(store); store->works > 0; take_ended(store)) {
        store_sleep(store, UINT64_MAX);
    }
    for (size_t i = 0; i < store->options.databases; i++) {
        lsm_close(&store->databases[i]);
    }
    lsm_engine_close(&store->engine);
}

/* ---- Background work ---- */

struct work {
    struct nk_job job;
    struct store *store;
    struct lsm_db *db;
    enum nk_err err;
};

static void work_run(struct nk_job *job)
{
    struct work *work = NK_CONTAINER_OF(job, struct work, job);
    bool more = false;
    work->err = lsm_work(work->db, SLICE_BYTES, &more);
}

static void work_done(struct nk_job *job)
{
    struct work *work = NK_CONTAINER_OF(job, struct work, job);
    struct store *store = work->store;
    if (work->err != NK_OK) {
        const struct lsm_fault *fault = lsm_last_fault(work->db);
        bench_fail("background work: %s, %s %llu", nk_err_name(work->err), fault->file,
                   (unsigned long long)fault->offset);
    }
    lsm_work_ended(work->db, nk_mono_us(&store->clock));
    struct lsm_shape shape;
    lsm_get_shape(work->db, &shape);
    store->l0_max = nk_max_size(store->l0_max, shape.levels[0].table_count);
    store->works--;
    nk_free(work);
}

static void hand_out_work(struct store *store)
{
    struct lsm_db *db;
    while ((db = lsm_engine_pick(store->engine, nk_mono_us(&store->clock))) != NULL) {
        struct work *work = nk_alloc_zero(1, sizeof *work);
        work->job = (struct nk_job){.run = work_run, .done = work_done};
        work->store = store;
        work->db = db;
        enum nk_err err = nk_worker_submit(&store->worker, NK_LANE_BACKGROUND, &work->job);
        NK_ASSERT(err == NK_OK); /* never more than a few */
        store->works++;
    }
}

void store_turn(struct store *store)
{
    if (store->source.ops->rings(store->source.ctx) != store->rung) {
        take_ended(store);
    }
    hand_out_work(store);
}

void store_sleep(struct store *store, uint64_t us)
{
    const struct nk_loop_source *source = &store->source;
    if (!source->ops->sleep(source->ctx, store->rung)) {
        return;
    }
    struct pollfd wait = {.fd = source->fd, .events = POLLIN};
    struct timespec limit = {(time_t)(us / NK_US_PER_SEC), (long)(us % NK_US_PER_SEC) * 1000};
    int ready = ppoll(&wait, 1, us == UINT64_MAX ? NULL : &limit, NULL);
    source->ops->awake(source->ctx, ready > 0);
}

void store_settle(struct store *store)
{
    for (size_t i = 0; i < store->options.databases; i++) {
        lsm_request_flush(store->databases[i]);
    }
    for (store_turn(store); store->works > 0; store_turn(store)) {
        store_sleep(store, SETTLE_US);
    }
}

/* ---- Clients ---- */

bool store_may_put(struct store *store, size_t database)
{
    uint64_t now_us = nk_mono_us(&store->clock);
    return lsm_write_wait_us(store->databases[database], now_us) <= WRITE_WAIT_US_MAX;
}

void store_put(struct store *store, size_t database, uint64_t id, struct nk_prng *prng)
{
    uint8_t key[DATA_KEY_BYTES];
    uint8_t value[DATA_VALUE_BYTES];
    data_key(id, key);
    data_value(id, prng, value);
    const struct lsm_record record = {
        .key = nk_bytes_of(key, sizeof key),
        .value = nk_bytes_of(value, sizeof value),
        .version = {1, ++store->indexes[database]},
    };
    lsm_write(store->databases[database], &record);
    lsm_commit(store->databases[database], record.version, 0, nk_bytes_of(NULL, 0));
}

static void end_get(struct store_get *get)
{
    if (get->err != NK_NOT_FOUND) {
        store_check(get->store, get->database, get->err, "get");
        if (!data_value_is(get->id, nk_buf_bytes(&get->value), true)) {
            bench_fail("WRONG READ: another value, id %llu", (unsigned long long)get->id);
        }
    }
    get->done = true;
}

static void get_run(struct nk_job *job)
{
    struct store_get *get = NK_CONTAINER_OF(job, struct store_get, job);
    uint8_t key[DATA_KEY_BYTES];
    data_key(get->id, key);
    struct lsm_entry entry;
    get->err = lsm_view_get(get->view, nk_bytes_of(key, sizeof key), LSM_DISK, &entry, &get->value);
}

static void get_done(struct nk_job *job)
{
    struct store_get *get = NK_CONTAINER_OF(job, struct store_get, job);
    lsm_view_release(&get->view);
    end_get(get);
}

void store_get(struct store *store, size_t database, uint64_t id, struct store_get *get)
{
    get->job = (struct nk_job){.run = get_run, .done = get_done};
    get->store = store;
    get->database = database;
    get->id = id;
    get->done = false;
    uint8_t key[DATA_KEY_BYTES];
    data_key(id, key);
    struct lsm_entry entry;
    struct lsm_db *db = store->databases[database];
    get->err = lsm_get(db, nk_bytes_of(key, sizeof key), LSM_MEMORY, &entry, &get->value);
    if (get->err != NK_WOULD_BLOCK) {
        end_get(get);
        return;
    }
    get->view = lsm_view_acquire(db);
    enum nk_err err = nk_worker_submit(&store->worker, NK_LANE_READ, &get->job);
    NK_ASSERT(err == NK_OK);
}

/* ---- Bounds ---- */

bool store_broken(const char *workload, const char *what, double value, double limit)
{
    if (value <= limit) {
        return false;
    }
    (void)fprintf(stderr, "BROKEN: %s: %s is %.2f, may be %.2f\n", workload, what, value, limit);
    return true;
}
