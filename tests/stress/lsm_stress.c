/* One database in use from all sides, on a real disk: the loop writes, commits, hands out work and
 * takes snapshots; workers flush, compact, write checkpoints, read and walk.  Run under TSan.
 *
 * What must hold: a snapshot shows exactly what was committed when it was taken, however much was
 * written, flushed and thrown away since; so does a checkpoint; and everything is there after the
 * next open.
 *
 * Log entry n writes key n * STRIDE % KEYS, so what a snapshot must show needs no bookkeeping: the
 * last n at or below its index that is that key's. */

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/codec.h"
#include "common/base/prng.h"
#include "common/base/units.h"
#include "common/env_posix/env_posix.h"
#include "services/shardhost/lsm/lsm.h"
#include "tests/stress/place.h"

#define ENTRIES       60000u
#define READS         4000u
#define AHEAD         2000u /* entries that writing is ahead of reading at most */
#define KEYS          4001u /* prime, as STRIDE is: every key in turn */
#define STRIDE        1009u
#define READS_MAX     12 /* under way at once */
#define GETS_PER_READ 24
#define VIEWS_MAX     4 /* kept for long */
#define VALUE_BYTES   400
#define DIRECTORY     "lsm/shard-3"
#define CHECKPOINT    "lsm/checkpoint"

struct stress;

struct read {
    struct nk_job job;
    struct stress *stress;
    struct lsm_view *view;
    uint64_t index;
    uint64_t seed;
    bool busy;
};

struct work {
    struct nk_job job;
    struct stress *stress;
    struct lsm_db *db;
};

struct checkpoint {
    struct nk_job job;
    struct lsm_checkpoint *checkpoint; /* NULL: none is under way */
    uint64_t index;
};

struct stress {
    struct nk_clock clock;
    struct nk_fs fs;
    struct env_posix_worker *posix;
    struct nk_worker worker;
    struct nk_loop_source source;
    struct lsm_engine *engine;
    struct lsm_db *db;
    struct nk_prng prng;
    uint64_t index;                 /* committed */
    uint64_t position_of_key[KEYS]; /* the first n that writes it */
    struct read reads[READS_MAX];
    struct lsm_view *kept[VIEWS_MAX];
    uint64_t kept_index[VIEWS_MAX];
    size_t reads_done;
    struct checkpoint checkpoint;
    size_t checkpoints_done;
    size_t works_running;
    _Atomic size_t walked; /* records */
    bool ending;
};

static struct stress stress;

/* ---- What there should be ---- */

static size_t key_of(uint64_t n, uint8_t out[16])
{
    return (size_t)snprintf((char *)out, 16, "key-%06llu", (unsigned long long)(n * STRIDE % KEYS));
}

static bool is_delete(uint64_t n)
{
    return n % 13 == 5;
}

static size_t value_of(uint64_t n, uint8_t out[VALUE_BYTES])
{
    size_t size = 8 + (size_t)(n * 31 % (VALUE_BYTES - 8));
    memset(out, (int)(n % 251), size);
    nk_put_u64(out, n);
    return size;
}

/* The last entry at or below `index` that writes `key`; 0: none does. */
static uint64_t last_of(uint64_t key, uint64_t index)
{
    uint64_t first = stress.position_of_key[key];
    return index < first ? 0 : index - (index - first) % KEYS;
}

static void check_record(uint64_t n, const struct lsm_entry *entry, struct nk_bytes value)
{
    NK_ASSERT(entry->version.index == n);
    NK_ASSERT(entry->tombstone == is_delete(n));
    uint8_t expected[VALUE_BYTES];
    size_t size = is_delete(n) ? 0 : value_of(n, expected);
    NK_ASSERT(nk_bytes_equal(value, nk_bytes_of(expected, size)));
}

/* A tombstone may have been dropped once nothing was below it. */
static bool may_be_missing(uint64_t n)
{
    return n == 0 || is_delete(n);
}

/* ---- Reading: any thread ---- */

static void check_gets(struct lsm_view *view, uint64_t index, struct nk_prng *prng)
{
    struct nk_buf value = {0};
    for (size_t i = 0; i < GETS_PER_READ; i++) {
        uint64_t key = nk_prng_below(prng, KEYS);
        uint64_t n = last_of(key, index);
        uint8_t name[16];
        struct nk_bytes bytes = nk_bytes_of(name, key_of(stress.position_of_key[key], name));
        struct lsm_entry entry;
        enum lsm_reach reach = nk_prng_chance(prng, 300000) ? LSM_MEMORY : LSM_DISK;
        enum nk_err err = lsm_view_get(view, bytes, reach, &entry, &value);
        NK_ASSERT(err == NK_OK || (err == NK_NOT_FOUND && may_be_missing(n)) ||
                  (err == NK_WOULD_BLOCK && reach == LSM_MEMORY));
        if (err == NK_OK) {
            check_record(n, &entry, nk_buf_bytes(&value));
        }
    }
    nk_buf_deinit(&value);
}

static void check_walk(struct lsm_view *view, uint64_t index, uint64_t start, size_t count)
{
    struct lsm_iter *iter = NULL;
    uint8_t name[16];
    struct nk_bytes from = nk_bytes_of(name, key_of(stress.position_of_key[start], name));
    lsm_iter_open(view, from, nk_bytes_of(NULL, 0), &iter);
    uint64_t expected = start; /* the next key that may come */
    for (size_t i = 0; i < count; i++) {
        struct nk_bytes key;
        struct nk_bytes value;
        struct lsm_entry entry;
        enum nk_err err = lsm_iter_next(iter, &key, &entry, &value);
        uint64_t found = KEYS;
        if (err == NK_OK) {
            NK_ASSERT(key.size == 10);
            char digits[8] = {0};
            memcpy(digits, key.data + 4, 6);
            found = strtoull(digits, NULL, 10);
        } else {
            NK_ASSERT(err == NK_NOT_FOUND);
        }
        NK_ASSERT(found >= expected);
        for (; expected < found; expected++) {
            NK_ASSERT(may_be_missing(last_of(expected, index)));
        }
        if (err != NK_OK) {
            break;
        }
        check_record(last_of(found, index), &entry, value);
        atomic_fetch_add_explicit(&stress.walked, 1, memory_order_relaxed);
        expected = found + 1;
    }
    lsm_iter_close(&iter);
}

static void read_run(struct nk_job *job)
{
    struct read *read = NK_CONTAINER_OF(job, struct read, job);
    struct nk_prng prng;
    nk_prng_init(&prng, read->seed);
    if (nk_prng_chance(&prng, 200000)) {
        check_walk(read->view, read->index, nk_prng_below(&prng, KEYS), 300);
    } else {
        check_gets(read->view, read->index, &prng);
    }
}

static bool is_kept(const struct lsm_view *view)
{
    for (size_t i = 0; i < VIEWS_MAX; i++) {
        if (stress.kept[i] == view) {
            return true;
        }
    }
    return false;
}

static void read_done(struct nk_job *job)
{
    struct read *read = NK_CONTAINER_OF(job, struct read, job);
    if (!is_kept(read->view)) {
        lsm_view_release(&read->view);
    }
    read->busy = false;
    stress.reads_done++;
}

/* ---- The loop ---- */

static void write_entry(void)
{
    uint64_t n = stress.index + 1;
    uint8_t name[16];
    uint8_t value[VALUE_BYTES];
    struct lsm_record record = {
        .key = nk_bytes_of(name, key_of(n, name)),
        .version = {1, n},
        .tombstone = is_delete(n),
    };
    if (!record.tombstone) {
        record.value = nk_bytes_of(value, value_of(n, value));
    }
    lsm_write(stress.db, &record);
    uint8_t state[8];
    nk_put_u64(state, n);
    lsm_commit(stress.db, record.version, n, nk_bytes_of(state, sizeof state));
    stress.index = n;
}

static void work_run(struct nk_job *job)
{
    struct work *work = NK_CONTAINER_OF(job, struct work, job);
    bool more = false;
    enum nk_err err = lsm_work(work->db, 64 * NK_KIB, &more);
    NK_ASSERT(err == NK_OK);
}

static void work_done(struct nk_job *job)
{
    struct work *work = NK_CONTAINER_OF(job, struct work, job);
    lsm_work_ended(work->db, nk_mono_us(&stress.clock));
    stress.works_running--;
    nk_free(work);
}

static void hand_out_work(void)
{
    struct lsm_db *db = NULL;
    while ((db = lsm_engine_pick(stress.engine, nk_mono_us(&stress.clock))) != NULL) {
        struct work *work = nk_alloc_zero(1, sizeof *work);
        work->job = (struct nk_job){.run = work_run, .done = work_done};
        work->db = db;
        enum nk_err err = nk_worker_submit(&stress.worker, NK_LANE_BACKGROUND, &work->job);
        NK_ASSERT(err == NK_OK);
        stress.works_running++;
    }
}

/* Most reads take a snapshot of now, some use an old one together with others. */
static void hand_out_reads(void)
{
    for (size_t i = 0; i < READS_MAX; i++) {
        struct read *read = &stress.reads[i];
        if (read->busy) {
            continue;
        }
        size_t place = (size_t)nk_prng_below(&stress.prng, 2 * VIEWS_MAX);
        read->busy = true;
        read->seed = nk_prng_next(&stress.prng);
        read->index = stress.index;
        if (place < VIEWS_MAX && stress.kept[place] != NULL) {
            read->view = stress.kept[place];
            read->index = stress.kept_index[place];
        } else {
            read->view = lsm_view_acquire(stress.db);
        }
        enum nk_err err = nk_worker_submit(&stress.worker, NK_LANE_READ, &read->job);
        NK_ASSERT(err == NK_OK);
    }
}

static void checkpoint_run(struct nk_job *job)
{
    struct checkpoint *checkpoint = NK_CONTAINER_OF(job, struct checkpoint, job);
    enum nk_err err = lsm_checkpoint_write(checkpoint->checkpoint, CHECKPOINT);
    NK_ASSERT(err == NK_OK);
}

/* Opens it beside the database, reads some of it, and removes it. */
static void checkpoint_done(struct nk_job *job)
{
    struct checkpoint *checkpoint = NK_CONTAINER_OF(job, struct checkpoint, job);
    lsm_checkpoint_end(&checkpoint->checkpoint);
    struct lsm_db *db = NULL;
    enum nk_err err = lsm_open(stress.engine, CHECKPOINT, &db, NULL);
    NK_ASSERT(err == NK_OK);
    NK_ASSERT(lsm_durable_index(db) == checkpoint->index);
    struct lsm_view *view = lsm_view_acquire(db);
    check_walk(view, checkpoint->index, nk_prng_below(&stress.prng, KEYS), 200);
    lsm_view_release(&view);
    lsm_close(&db);
    err = lsm_remove(stress.engine, CHECKPOINT);
    NK_ASSERT(err == NK_OK);
    stress.checkpoints_done++;
}

static void begin_checkpoint(void)
{
    struct checkpoint *checkpoint = &stress.checkpoint;
    if (checkpoint->checkpoint != NULL) {
        return;
    }
    checkpoint->job = (struct nk_job){.run = checkpoint_run, .done = checkpoint_done};
    checkpoint->checkpoint = lsm_checkpoint_begin(stress.db);
    checkpoint->index = lsm_durable_index(stress.db);
    enum nk_err err = nk_worker_submit(&stress.worker, NK_LANE_BACKGROUND, &checkpoint->job);
    NK_ASSERT(err == NK_OK);
}

static bool in_use(const struct lsm_view *view)
{
    for (size_t i = 0; i < READS_MAX; i++) {
        if (stress.reads[i].busy && stress.reads[i].view == view) {
            return true;
        }
    }
    return false;
}

static void exchange_kept(void)
{
    size_t place = (size_t)nk_prng_below(&stress.prng, VIEWS_MAX);
    if (stress.kept[place] != NULL && in_use(stress.kept[place])) {
        return;
    }
    lsm_view_release(&stress.kept[place]);
    if (!stress.ending) {
        stress.kept[place] = lsm_view_acquire(stress.db);
        stress.kept_index[place] = stress.index;
    }
}

static bool idle(void)
{
    for (size_t i = 0; i < READS_MAX; i++) {
        if (stress.reads[i].busy) {
            return false;
        }
    }
    return stress.works_running == 0 && stress.checkpoint.checkpoint == NULL;
}

static void wait_for_jobs(uint64_t seen)
{
    const struct nk_loop_source *source = &stress.source;
    if (source->ops->sleep(source->ctx, seen)) {
        struct pollfd wait = {.fd = source->fd, .events = POLLIN};
        int ready = poll(&wait, 1, -1);
        source->ops->awake(source->ctx, ready > 0);
    }
}

/* Writing and reading end together. */
static bool may_write(void)
{
    uint64_t limit = AHEAD + (uint64_t)stress.reads_done * ENTRIES / READS;
    return stress.index < ENTRIES && stress.index < limit &&
           lsm_write_wait_us(stress.db, nk_mono_us(&stress.clock)) == 0;
}

static void run_loop(void)
{
    const struct nk_loop_source *source = &stress.source;
    while (!stress.ending || !idle()) {
        uint64_t seen = source->ops->rings(source->ctx);
        source->ops->run_done(source->ctx);
        for (size_t i = 0; i < 20 && may_write(); i++) {
            write_entry();
        }
        stress.ending = stress.index == ENTRIES && stress.reads_done >= READS;
        if (nk_prng_chance(&stress.prng, 2000)) {
            lsm_request_flush(stress.db);
        }
        hand_out_work();
        if (!stress.ending) {
            hand_out_reads();
        }
        if (!stress.ending && nk_prng_chance(&stress.prng, 10000)) {
            begin_checkpoint();
        }
        if (nk_prng_chance(&stress.prng, 50000)) {
            exchange_kept();
        }
        if (!may_write() && !idle()) {
            wait_for_jobs(seen);
        }
    }
    for (size_t i = 0; i < VIEWS_MAX; i++) {
        lsm_view_release(&stress.kept[i]);
    }
}

/* ---- Around it ---- */

static void flush_rest(void)
{
    lsm_request_flush(stress.db);
    const struct nk_loop_source *source = &stress.source;
    hand_out_work();
    while (stress.works_running > 0) {
        uint64_t seen = source->ops->rings(source->ctx);
        source->ops->run_done(source->ctx);
        hand_out_work();
        if (stress.works_running > 0) {
            wait_for_jobs(seen);
        }
    }
}

static void open_database(void)
{
    enum nk_err err = lsm_open(stress.engine, DIRECTORY, &stress.db, NULL);
    NK_ASSERT(err == NK_OK);
}

static void check_reopened(void)
{
    lsm_close(&stress.db);
    open_database();
    struct lsm_version applied;
    struct nk_bytes state;
    lsm_applied(stress.db, &applied, &state);
    NK_ASSERT(applied.index == ENTRIES);
    struct lsm_view *view = lsm_view_acquire(stress.db);
    check_walk(view, ENTRIES, 0, KEYS + 1);
    lsm_view_release(&view);
}

static void init_model(void)
{
    for (uint64_t n = 1; n <= KEYS; n++) {
        stress.position_of_key[n * STRIDE % KEYS] = n;
    }
    for (size_t i = 0; i < READS_MAX; i++) {
        stress.reads[i].job = (struct nk_job){.run = read_run, .done = read_done};
    }
}

int main(void)
{
    struct stress_place place = stress_place_make();
    char memory[256];
    struct nk_text reason;
    nk_text_init(&reason, memory, sizeof memory);
    struct env_posix_fs *posix_fs = NULL;
    enum nk_err err = env_posix_fs_open(place.root, &posix_fs, &reason);
    NK_ASSERT(err == NK_OK);
    const struct env_posix_worker_options threads = {.read_threads = 3, .background_threads = 4};
    err = env_posix_worker_open(&threads, &stress.posix, &reason);
    NK_ASSERT(err == NK_OK);
    stress.clock = env_posix_clock();
    stress.fs = env_posix_fs(posix_fs);
    stress.worker = env_posix_worker(stress.posix);
    stress.source = env_posix_loop_source(stress.posix);
    nk_prng_init(&stress.prng, 1);
    init_model();
    const struct lsm_options options = {
        .memtable_bytes = 256 * NK_KIB,
        .write_buffer_total_bytes = NK_MIB,
        .block_cache_bytes = 256 * NK_KIB, /* so that blocks come and go */
        .open_files_max = 8,               /* and files */
        .filter_bits_per_key = 10,
        .compression = LSM_COMPRESSION_LZ4,
        .table_bytes = 8 * NK_KIB, /* so that compactions have parts */
        .fanout = 4,
        .max_background_jobs = threads.background_threads,
    };
    lsm_engine_open(&stress.fs, &options, &stress.engine);
    open_database();
    run_loop();
    flush_rest();
    check_reopened();
    struct lsm_shape shape;
    lsm_get_shape(stress.db, &shape);
    struct lsm_stats *stats = lsm_engine_stats(stress.engine);
    (void)printf("%u entries, %zu reads, %zu records walked, %llu flushes, %zu tables at the end, "
                 "%zu checkpoints, %llu cache hits, %llu misses\n",
                 ENTRIES, stress.reads_done, atomic_load(&stress.walked),
                 (unsigned long long)nk_counter_get(&stats->flushes), shape.table_count,
                 stress.checkpoints_done, (unsigned long long)nk_counter_get(&stats->cache_hits),
                 (unsigned long long)nk_counter_get(&stats->cache_misses));
    lsm_close(&stress.db);
    lsm_engine_close(&stress.engine);
    env_posix_worker_close(&stress.posix);
    env_posix_fs_close(&posix_fs);
    stress_place_remove(&place);
    return 0;
}
