/* This project's engine: lsm, with raftlog before it, on the real system (common/env_posix).
 *
 * Wired as in a shardhost (services/shardhost/host.c): one loop owns log and tables; flushes and
 * compactions run on the background lane, one thread a core; the log lets go of what tables hold; a
 * put is an entry of the log and then a record of the memtable; a get asks memory first and then
 * with a view the disk; nobody writes faster than lsm_write_wait_us lets him.
 *
 * Different from a shardhost, so that the work is the peers':
 *   - The log is not synced unless every put is to be.  raftlog always syncs its rounds, so it gets
 *     a file system whose sync does nothing; the tables keep the real one.
 *   - Without sync each put is a round of its own, written before the put returns, as the peers
 *     write theirs.  Rounds are whole sectors, so its 290 bytes take 512.
 *   - What was replayed at the start is flushed at once, since the peers do that too: reads of an
 *     opened store begin with an empty memtable.
 *   - The thread that calls does the step to the disk and writes the round itself, as the peers'
 *     callers do.  With the option `lanes` that step and synced rounds go to the worker lanes, as
 * in a shardhost: the difference is what two changes of threads cost.
 *
 * Group commit: a client that finds nobody at the loop is the loop for everything that was handed
 * in until then: one round, one sync, the records, and the next in the queue takes over. */

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/codec.h"
#include "common/base/list.h"
#include "common/base/units.h"
#include "common/env_posix/env_posix.h"
#include "services/shardhost/lsm/lsm.h"
#include "services/shardhost/raftlog/raftlog.h"
#include "tests/bench/engine/engine.h"

#define SHARD             1
#define TERM              1
#define ENTRY_KIND        1
#define DIRECTORY         "lsm/shard-1"
#define LOG_DIRECTORY     "raft"
#define KEY_SIZE_BYTES    2

/* As a node has them without any setting. */
#define SEGMENT_BYTES     (128 * NK_MIB)
#define SEGMENTS_RECYCLED 2
#define FILTER_BITS       10
#define TABLE_BYTES       ((size_t)(16 * NK_MIB))
#define SLICE_BYTES       (TABLE_BYTES / 4)
#define READ_THREADS      2
#define MEMTABLES         2 /* one that takes, one on its way to disk: as the peers */

/* A put that waits for its round. */
struct handed_in {
    struct nk_list link;
    struct nk_bytes key;
    struct nk_bytes value;
    uint64_t index;
    bool done;
    pthread_cond_t changed; /* done, or first in the queue */
};

struct engine {
    struct env_posix_fs *posix_fs;
    struct env_posix_worker *posix_worker;
    struct nk_clock clock;
    struct nk_fs fs;
    struct nk_fs_ops log_ops;
    struct nk_fs log_fs;
    struct nk_worker worker;
    struct nk_loop_source source;
    struct lsm_engine *tables;
    struct lsm_db *db;
    struct raftlog *log;
    uint64_t index;   /* of the last entry */
    uint64_t rung;    /* rings that the last turn has seen */
    uint64_t written; /* entries, when work was last handed out */
    bool sync;
    bool lanes;
    struct nk_buf payload;
    struct nk_job round;
    enum nk_err round_err;
    bool round_done;

    pthread_mutex_t lock;  /* protects the queue and what is in it */
    struct nk_list queue;  /* the first is the loop */
    struct nk_list served; /* the loop's: of the running round */
};

/* ---- Background work ---- */

struct work {
    struct nk_job job;
    struct engine *engine;
    enum nk_err err;
};

static void work_run(struct nk_job *job)
{
    struct work *work = NK_CONTAINER_OF(job, struct work, job);
    bool more = false;
    work->err = lsm_work(work->engine->db, SLICE_BYTES, &more);
}

static void check_tables(struct engine *engine, enum nk_err err, const char *what)
{
    if (err != NK_OK) {
        const struct lsm_fault *fault = lsm_last_fault(engine->db);
        bench_fail("norikv: %s: %s, %s %llu", what, nk_err_name(err), fault->file,
                   (unsigned long long)fault->offset);
    }
}

static void work_done(struct nk_job *job)
{
    struct work *work = NK_CONTAINER_OF(job, struct work, job);
    struct engine *engine = work->engine;
    check_tables(engine, work->err, "background work");
    nk_free(work);
    lsm_work_ended(engine->db, nk_mono_us(&engine->clock));
    raftlog_release(engine->log, SHARD, lsm_durable_index(engine->db));
}

static void hand_out_work(struct engine *engine)
{
    while (lsm_engine_pick(engine->tables, nk_mono_us(&engine->clock)) != NULL) {
        struct work *work = nk_alloc_zero(1, sizeof *work);
        work->job = (struct nk_job){.run = work_run, .done = work_done};
        work->engine = engine;
        enum nk_err err = nk_worker_submit(&engine->worker, NK_LANE_BACKGROUND, &work->job);
        NK_ASSERT(err == NK_OK); /* never more than a few */
    }
}

/* One turn of the loop, if there is anything to see to. */
static void turn(struct engine *engine)
{
    uint64_t rung = engine->source.ops->rings(engine->source.ctx);
    if (rung == engine->rung && engine->index == engine->written) {
        return;
    }
    engine->rung = rung;
    engine->written = engine->index;
    (void)engine->source.ops->run_done(engine->source.ctx);
    hand_out_work(engine);
}

/* Until somebody rings, at most `us`. */
static void sleep_until_rung(struct engine *engine, uint64_t us)
{
    const struct nk_loop_source *source = &engine->source;
    if (!source->ops->sleep(source->ctx, engine->rung)) {
        return;
    }
    struct pollfd wait = {.fd = source->fd, .events = POLLIN};
    struct timespec limit = {(time_t)(us / NK_US_PER_SEC), (long)(us % NK_US_PER_SEC) * 1000};
    int ready = ppoll(&wait, 1, us == UINT64_MAX ? NULL : &limit, NULL);
    source->ops->awake(source->ctx, ready > 0);
}

static void wait_for(struct engine *engine, const bool *done)
{
    for (turn(engine); !*done; turn(engine)) {
        sleep_until_rung(engine, UINT64_MAX);
    }
}

static void pause_engine(struct engine *engine, uint64_t us)
{
    turn(engine);
    hand_out_work(engine); /* a reader may have been the last in the way of some */
    uint64_t now_us = nk_mono_us(&engine->clock);
    uint64_t next_us = nk_max_u64(lsm_engine_next_us(engine->tables), now_us);
    sleep_until_rung(engine, nk_min_u64(us, next_us - now_us));
    turn(engine);
}

/* ---- The log ---- */

static enum nk_err no_sync(void *ctx, struct nk_file *file)
{
    (void)ctx;
    (void)file;
    return NK_OK;
}

static void round_run(struct nk_job *job)
{
    struct engine *engine = NK_CONTAINER_OF(job, struct engine, round);
    engine->round_err = raftlog_write(engine->log);
}

static void round_done(struct nk_job *job)
{
    NK_CONTAINER_OF(job, struct engine, round)->round_done = true;
}

/* What was staged is in the log when it returns. */
static void run_round(struct engine *engine)
{
    bool begun = raftlog_begin(engine->log);
    NK_ASSERT(begun);
    if (engine->lanes && engine->sync) {
        engine->round_done = false;
        enum nk_err err = nk_worker_submit(&engine->worker, NK_LANE_LOG, &engine->round);
        NK_ASSERT(err == NK_OK);
        wait_for(engine, &engine->round_done);
    } else {
        round_run(&engine->round);
    }
    if (engine->round_err != NK_OK) {
        const struct raftlog_fault *fault = raftlog_last_fault(engine->log);
        bench_fail("norikv: the log: %s, %s %llu: %s", nk_err_name(engine->round_err), fault->file,
                   (unsigned long long)fault->offset, fault->what);
    }
    raftlog_end(engine->log);
}

/* An entry: the size of the key in two bytes, the key, the value. */
static uint64_t stage(struct engine *engine, struct nk_bytes key, struct nk_bytes value)
{
    nk_buf_clear(&engine->payload);
    nk_put_u16(nk_buf_extend(&engine->payload, KEY_SIZE_BYTES), (uint16_t)key.size);
    nk_buf_append(&engine->payload, key);
    nk_buf_append(&engine->payload, value);
    const struct raftlog_record record = {
        .kind = RAFTLOG_ENTRY,
        .shard = SHARD,
        .term = TERM,
        .index = ++engine->index,
        .entry_kind = ENTRY_KIND,
        .payload = nk_buf_bytes(&engine->payload),
    };
    raftlog_stage(engine->log, &record);
    return record.index;
}

static void apply(struct engine *engine, uint64_t index, struct nk_bytes key, struct nk_bytes value)
{
    const struct lsm_record record = {.key = key, .value = value, .version = {TERM, index}};
    lsm_write(engine->db, &record);
    lsm_commit(engine->db, record.version, 0, nk_bytes_of(NULL, 0));
}

/* What the tables do not have yet comes from the log. */
static void replay(void *visitor, const struct raftlog_record *record)
{
    struct engine *engine = visitor;
    if (record->kind != RAFTLOG_ENTRY || record->index <= engine->index) {
        return;
    }
    const uint8_t *data = record->payload.data;
    size_t size = record->payload.size;
    size_t key_size = size >= KEY_SIZE_BYTES ? nk_get_u16(data) : SIZE_MAX;
    if (record->index != engine->index + 1 || key_size > size - KEY_SIZE_BYTES) {
        bench_fail("norikv: entry %llu of the log makes no sense here",
                   (unsigned long long)record->index);
    }
    size_t head_size = KEY_SIZE_BYTES + key_size;
    apply(engine, record->index, nk_bytes_of(data + KEY_SIZE_BYTES, key_size),
          nk_bytes_of(data + head_size, size - head_size));
    engine->index = record->index;
}

/* ---- Opening and closing ---- */

static void open_machine(struct engine *engine, const struct engine_options *options)
{
    char memory[256];
    struct nk_text reason;
    nk_text_init(&reason, memory, sizeof memory);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    const struct env_posix_worker_options threads = {
        .read_threads = READ_THREADS,
        .background_threads = cores > 0 ? (unsigned)cores : 1,
    };
    if (env_posix_fs_open(options->directory, &engine->posix_fs, &reason) != NK_OK ||
        env_posix_worker_open(&threads, &engine->posix_worker, &reason) != NK_OK) {
        bench_fail("norikv: %s", memory);
    }
    engine->clock = env_posix_clock();
    engine->fs = env_posix_fs(engine->posix_fs);
    engine->log_ops = *engine->fs.ops;
    if (!options->sync) {
        engine->log_ops.sync = no_sync;
    }
    engine->log_fs = (struct nk_fs){&engine->log_ops, engine->fs.ctx};
    engine->worker = env_posix_worker(engine->posix_worker);
    engine->source = env_posix_loop_source(engine->posix_worker);
}

static void open_store(struct engine *engine, const struct engine_options *options)
{
    const struct lsm_options tables = {
        .memtable_bytes = options->write_buffer_bytes,
        .write_buffer_total_bytes = MEMTABLES * options->write_buffer_bytes,
        .block_cache_bytes = options->cache_bytes,
        .open_files_max = (size_t)(env_posix_raise_file_limit() / 2),
        .filter_bits_per_key = FILTER_BITS,
        .compression = LSM_COMPRESSION_LZ4,
        .table_bytes = TABLE_BYTES,
        .max_background_jobs = engine->worker.background_threads,
    };
    lsm_engine_open(&engine->fs, &tables, &engine->tables);
    struct lsm_fault fault;
    enum nk_err err = lsm_open(engine->tables, DIRECTORY, &engine->db, &fault);
    if (err != NK_OK) {
        bench_fail("norikv: %s cannot be opened: %s", fault.file, nk_err_name(err));
    }
    engine->index = lsm_durable_index(engine->db);
    const struct raftlog_options log = {SEGMENT_BYTES, SEGMENTS_RECYCLED};
    struct raftlog_fault log_fault;
    err = raftlog_open(&engine->log_fs, LOG_DIRECTORY, &log, replay, engine, &engine->log,
                       &log_fault);
    if (err != NK_OK) {
        bench_fail("norikv: %s cannot be opened: %s", log_fault.file, log_fault.what);
    }
    raftlog_release(engine->log, SHARD, lsm_durable_index(engine->db));
    lsm_request_flush(engine->db);
    hand_out_work(engine);
}

static struct engine *open_engine(const struct engine_options *options)
{
    struct engine *engine = nk_alloc_zero(1, sizeof *engine);
    engine->sync = options->sync;
    engine->lanes = options->lanes;
    engine->round = (struct nk_job){.run = round_run, .done = round_done};
    nk_list_init(&engine->queue);
    nk_list_init(&engine->served);
    int failed = pthread_mutex_init(&engine->lock, NULL);
    NK_ASSERT(failed == 0);
    open_machine(engine, options);
    open_store(engine, options);
    return engine;
}

static void close_engine(struct engine *engine)
{
    env_posix_worker_close(&engine->posix_worker); /* waits for work, whose done() needs the rest */
    raftlog_close(&engine->log);
    lsm_close(&engine->db);
    lsm_engine_close(&engine->tables);
    env_posix_fs_close(&engine->posix_fs);
    nk_buf_deinit(&engine->payload);
    (void)pthread_mutex_destroy(&engine->lock);
    nk_free(engine);
}

/* ---- Writing ---- */

static struct handed_in *first_of(const struct nk_list *list)
{
    return NK_CONTAINER_OF(list->next, struct handed_in, link);
}

static void move_all(struct nk_list *from, struct nk_list *to)
{
    while (!nk_list_empty(from)) {
        struct nk_list *link = from->next;
        nk_list_remove(link);
        nk_list_append(to, link);
    }
}

/* The loop's: all that is in the queue, with one round.  Called and left with the lock. */
static void serve_queue(struct engine *engine, struct handed_in *own)
{
    move_all(&engine->queue, &engine->served);
    nk_list_remove(&own->link); /* others come behind: nobody else becomes the loop meanwhile */
    nk_list_append(&engine->queue, &own->link);
    (void)pthread_mutex_unlock(&engine->lock);
    own->index = stage(engine, own->key, own->value);
    for (struct nk_list *at = engine->served.next; at != &engine->served; at = at->next) {
        struct handed_in *handed_in = NK_CONTAINER_OF(at, struct handed_in, link);
        handed_in->index = stage(engine, handed_in->key, handed_in->value);
    }
    run_round(engine);
    apply(engine, own->index, own->key, own->value);
    for (struct nk_list *at = engine->served.next; at != &engine->served; at = at->next) {
        struct handed_in *handed_in = NK_CONTAINER_OF(at, struct handed_in, link);
        apply(engine, handed_in->index, handed_in->key, handed_in->value);
    }
    turn(engine);
    (void)pthread_mutex_lock(&engine->lock);
    own->done = true;
    nk_list_remove(&own->link);
    while (!nk_list_empty(&engine->served)) {
        struct handed_in *handed_in = first_of(&engine->served);
        nk_list_remove(&handed_in->link);
        handed_in->done = true;
        (void)pthread_cond_signal(&handed_in->changed);
    }
    if (!nk_list_empty(&engine->queue)) {
        (void)pthread_cond_signal(&first_of(&engine->queue)->changed);
    }
}

static void put_synced(struct engine *engine, struct nk_bytes key, struct nk_bytes value)
{
    struct handed_in own = {.key = key, .value = value};
    nk_list_init(&own.link);
    int failed = pthread_cond_init(&own.changed, NULL);
    NK_ASSERT(failed == 0);
    (void)pthread_mutex_lock(&engine->lock);
    nk_list_append(&engine->queue, &own.link);
    while (!own.done && engine->queue.next != &own.link) {
        (void)pthread_cond_wait(&own.changed, &engine->lock);
    }
    if (!own.done) {
        serve_queue(engine, &own);
    }
    (void)pthread_mutex_unlock(&engine->lock);
    (void)pthread_cond_destroy(&own.changed);
}

static void put(struct engine *engine, struct nk_bytes key, struct nk_bytes value)
{
    if (engine->sync) {
        put_synced(engine, key, value);
        return;
    }
    uint64_t index = stage(engine, key, value);
    run_round(engine);
    apply(engine, index, key, value);
    turn(engine);
}

static uint64_t put_wait_us(struct engine *engine)
{
    return lsm_write_wait_us(engine->db, nk_mono_us(&engine->clock));
}

/* ---- Reading ---- */

struct read {
    struct nk_job job;
    struct lsm_view *view;
    struct nk_bytes key;
    struct lsm_entry entry;
    struct nk_buf *out_value;
    enum nk_err err;
    bool done;
};

static void read_run(struct nk_job *job)
{
    struct read *read = NK_CONTAINER_OF(job, struct read, job);
    read->err = lsm_view_get(read->view, read->key, LSM_DISK, &read->entry, read->out_value);
}

static void read_done(struct nk_job *job)
{
    NK_CONTAINER_OF(job, struct read, job)->done = true;
}

static enum nk_err get_from_disk(struct engine *engine, struct nk_bytes key,
                                 struct nk_buf *out_value)
{
    struct read read = {
        .job = {.run = read_run, .done = read_done},
        .view = lsm_view_acquire(engine->db),
        .key = key,
        .out_value = out_value,
    };
    if (engine->lanes) {
        enum nk_err err = nk_worker_submit(&engine->worker, NK_LANE_READ, &read.job);
        NK_ASSERT(err == NK_OK);
        wait_for(engine, &read.done);
    } else {
        read_run(&read.job);
    }
    lsm_view_release(&read.view);
    return read.err;
}

static bool get(struct engine *engine, struct nk_bytes key, struct nk_buf *out_value)
{
    turn(engine);
    struct lsm_entry entry;
    enum nk_err err = lsm_get(engine->db, key, LSM_MEMORY, &entry, out_value);
    if (err == NK_WOULD_BLOCK) {
        err = get_from_disk(engine, key, out_value);
    }
    if (err == NK_NOT_FOUND) {
        return false;
    }
    check_tables(engine, err, "get");
    return true;
}

static size_t scan(struct engine *engine, struct nk_bytes start, size_t count,
                   void (*visit)(void *visitor, struct nk_bytes key, struct nk_bytes value),
                   void *visitor)
{
    turn(engine);
    struct lsm_view *view = lsm_view_acquire(engine->db);
    struct lsm_iter *iter = NULL;
    lsm_iter_open(view, start, nk_bytes_of(NULL, 0), &iter);
    size_t seen = 0;
    for (; seen < count; seen++) {
        struct nk_bytes key;
        struct nk_bytes value;
        struct lsm_entry entry;
        enum nk_err err = lsm_iter_next(iter, &key, &entry, &value);
        if (err == NK_NOT_FOUND) {
            break;
        }
        check_tables(engine, err, "iterator");
        visit(visitor, key, value);
    }
    lsm_iter_close(&iter);
    lsm_view_release(&view);
    return seen;
}

/* ---- Looking inside ---- */

static bool is_log(const char *path)
{
    return strncmp(path, LOG_DIRECTORY "/", sizeof LOG_DIRECTORY) == 0;
}

static void describe(struct engine *engine)
{
    char memory[512];
    struct nk_text text;
    nk_text_init(&text, memory, sizeof memory);
    lsm_describe(engine->db, &text);
    struct lsm_stats *stats = lsm_engine_stats(engine->tables);
    struct raftlog_stats *log = raftlog_stats(engine->log);
    (void)fprintf(stderr,
                  "norikv\n%s\nMB: log %.1f flushed %.1f compacted %.1f; cache hits %llu misses "
                  "%llu\n",
                  memory, (double)nk_counter_get(&log->bytes) / 1e6,
                  (double)nk_counter_get(&stats->flushed_bytes) / 1e6,
                  (double)nk_counter_get(&stats->compacted_bytes) / 1e6,
                  (unsigned long long)nk_counter_get(&stats->cache_hits),
                  (unsigned long long)nk_counter_get(&stats->cache_misses));
}

const struct engine_ops engine_norikv = {
    .name = "norikv",
    .one_thread = true,
    .open = open_engine,
    .close = close_engine,
    .put = put,
    .get = get,
    .scan = scan,
    .put_wait_us = put_wait_us,
    .pause = pause_engine,
    .is_log = is_log,
    .describe = describe,
};
