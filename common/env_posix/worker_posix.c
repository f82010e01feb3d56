/* Threads for what may block.
 *
 * A lane is a bounded queue (NK_WORKER_JOBS_MAX waiting jobs) under a mutex, served by its own
 * threads: a long compaction is never in front of a log write.  A finished job goes onto one queue
 * for the loop, and the bell is rung; done() runs on the loop thread.
 *
 * The mutex is held for a few instructions, and a condition is signalled only when a thread waits,
 * so a busy lane takes jobs without a system call.
 *
 * Order within a job's life: submit (loop) happens before run (thread) by the mutex, run before
 * done (loop) by the release of nk_mpsc_push and the acquire of nk_mpsc_take_all. */

#include "env_posix.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/limits.h"
#include "common/base/mpsc.h"
#include "common/base/units.h"

#include "bell.h"
#include "fs_posix.h"

#define BACKGROUND_NICE 10 /* a tenth of the share of others, while these want to run */
#define NICE_MAX        19
#define SLICE_SHORT_NS  UINT64_C(100000) /* the least and the most that Linux gives */
#define SLICE_LONG_NS   UINT64_C(100000000)

struct lane {
    struct env_posix_worker *worker;
    pthread_t *threads;
    unsigned thread_count; /* started */

    pthread_mutex_t lock; /* protects all below */
    pthread_cond_t work;
    struct nk_mpsc_node *first; /* waiting jobs, oldest first */
    struct nk_mpsc_node *last;  /* meaningless while first is NULL */
    size_t waiting;             /* 0 <= waiting <= NK_WORKER_JOBS_MAX */
    unsigned idle_threads;
    bool stopping;
};

struct env_posix_worker {
    struct lane lanes[NK_LANE_COUNT];
    struct nk_mpsc finished;
    struct bell bell;

    /* The loop thread's. */
    size_t unfinished; /* submitted and not done */
    bool closed;       /* nothing is taken any more */
};

static const char *const lane_names[NK_LANE_COUNT] = {
    [NK_LANE_LOG] = "log", [NK_LANE_READ] = "read", [NK_LANE_BACKGROUND] = "background"};

static enum nk_err lane_start(struct lane *lane, const char *name, unsigned thread_count,
                              struct nk_text *reason);
static void lane_init(struct lane *lane, struct env_posix_worker *worker, unsigned thread_count);
static void lane_stop(struct lane *lane);
static void *lane_main(void *lane);
static struct nk_job *lane_take(struct lane *lane);
static size_t run_done(void *ctx);
static bool finish(void *ctx, int timeout_ms);

enum nk_err env_posix_worker_open(const struct env_posix_worker_options *options,
                                  struct env_posix_worker **out_worker, struct nk_text *reason)
{
    NK_ASSERT(options->read_threads > 0);
    NK_ASSERT(options->background_threads > 0);
    struct env_posix_worker *worker = nk_alloc_zero(1, sizeof *worker);
    nk_mpsc_init(&worker->finished);
    enum nk_err err = bell_init(&worker->bell);
    if (err != NK_OK) {
        env_posix_explain(reason, "cannot make", "an eventfd", errno);
        nk_free(worker);
        return err;
    }
    const unsigned thread_counts[NK_LANE_COUNT] = {
        [NK_LANE_LOG] = 1,
        [NK_LANE_READ] = options->read_threads,
        [NK_LANE_BACKGROUND] = options->background_threads,
    };
    for (size_t i = 0; i < NK_LANE_COUNT; i++) {
        lane_init(&worker->lanes[i], worker, thread_counts[i]);
    }
    for (size_t i = 0; i < NK_LANE_COUNT && err == NK_OK; i++) {
        err = lane_start(&worker->lanes[i], lane_names[i], thread_counts[i], reason);
    }
    if (err != NK_OK) {
        env_posix_worker_close(&worker);
        return err;
    }
    *out_worker = worker;
    return NK_OK;
}

void env_posix_worker_close(struct env_posix_worker **worker)
{
    if (worker == NULL || *worker == NULL) {
        return;
    }
    (void)finish(*worker, -1);
    for (size_t i = 0; i < NK_LANE_COUNT; i++) {
        lane_stop(&(*worker)->lanes[i]);
    }
    bell_deinit(&(*worker)->bell);
    nk_free(*worker);
    *worker = NULL;
}

static enum nk_err submit(void *ctx, enum nk_lane lane_number, struct nk_job *job)
{
    struct env_posix_worker *worker = ctx;
    struct lane *lane = &worker->lanes[lane_number];
    if (worker->closed) {
        return NK_BUSY;
    }
    (void)pthread_mutex_lock(&lane->lock);
    if (lane->waiting == NK_WORKER_JOBS_MAX) {
        (void)pthread_mutex_unlock(&lane->lock);
        return NK_BUSY;
    }
    job->node.next = NULL;
    if (lane->first == NULL) {
        lane->first = &job->node;
    } else {
        lane->last->next = &job->node;
    }
    lane->last = &job->node;
    lane->waiting++;
    bool somebody_waits = lane->idle_threads > 0;
    (void)pthread_mutex_unlock(&lane->lock);
    if (somebody_waits) {
        (void)pthread_cond_signal(&lane->work);
    }
    worker->unfinished++;
    return NK_OK;
}

static void wake(void *ctx)
{
    struct env_posix_worker *worker = ctx;
    bell_ring(&worker->bell);
}

struct nk_worker env_posix_worker(struct env_posix_worker *worker)
{
    static const struct nk_worker_ops ops = {submit, wake};
    unsigned threads = worker->lanes[NK_LANE_BACKGROUND].thread_count;
    return (struct nk_worker){&ops, worker, threads};
}

/* ---- The loop's side ---- */

static uint64_t rings(void *ctx)
{
    struct env_posix_worker *worker = ctx;
    return bell_word(&worker->bell);
}

static bool sleep_until_rung(void *ctx, uint64_t seen)
{
    struct env_posix_worker *worker = ctx;
    return bell_sleep(&worker->bell, seen);
}

static void awake(void *ctx, bool readable)
{
    struct env_posix_worker *worker = ctx;
    bell_awake(&worker->bell, readable);
}

static size_t run_done(void *ctx)
{
    struct env_posix_worker *worker = ctx;
    size_t count = 0;
    if (nk_mpsc_empty(&worker->finished)) {
        return 0;
    }
    struct nk_mpsc_node *node = nk_mpsc_take_all(&worker->finished);
    while (node != NULL) {
        struct nk_job *job = NK_CONTAINER_OF(node, struct nk_job, node);
        node = node->next; /* done() may submit the job again */
        NK_ASSERT(worker->unfinished > 0);
        worker->unfinished--;
        job->done(job);
        count++;
    }
    return count;
}

static bool finish(void *ctx, int timeout_ms)
{
    struct env_posix_worker *worker = ctx;
    struct nk_clock clock = env_posix_clock();
    uint64_t start_us = nk_mono_us(&clock);
    worker->closed = true;
    while (worker->unfinished > 0) {
        uint64_t seen = bell_word(&worker->bell);
        if (run_done(worker) > 0 || !bell_sleep(&worker->bell, seen)) {
            continue;
        }
        int left_ms = -1;
        if (timeout_ms >= 0) {
            uint64_t passed_ms = (nk_mono_us(&clock) - start_us) / NK_US_PER_MS;
            left_ms = timeout_ms - (int)nk_min_u64(passed_ms, (uint64_t)timeout_ms);
        }
        struct pollfd wait = {.fd = worker->bell.fd, .events = POLLIN};
        int ready = poll(&wait, 1, left_ms);
        bell_awake(&worker->bell, ready > 0);
        if (left_ms == 0 && ready == 0) {
            return false;
        }
    }
    return true;
}

struct nk_loop_source env_posix_loop_source(struct env_posix_worker *worker)
{
    static const struct nk_loop_source_ops ops = {
        .rings = rings,
        .run_done = run_done,
        .sleep = sleep_until_rung,
        .awake = awake,
        .finish = finish,
    };
    return (struct nk_loop_source){&ops, worker, worker->bell.fd};
}

/* ---- A lane ---- */

static void lane_init(struct lane *lane, struct env_posix_worker *worker, unsigned thread_count)
{
    lane->worker = worker;
    lane->threads = nk_alloc_zero(thread_count, sizeof *lane->threads);
    int failed = pthread_mutex_init(&lane->lock, NULL);
    NK_ASSERT(failed == 0);
    failed = pthread_cond_init(&lane->work, NULL);
    NK_ASSERT(failed == 0);
}

/* Threads start with every signal blocked, so stop signals stay with the loop. */
static enum nk_err lane_start(struct lane *lane, const char *name, unsigned thread_count,
                              struct nk_text *reason)
{
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    int error = pthread_sigmask(SIG_SETMASK, &all, &before);
    NK_ASSERT(error == 0);
    while (lane->thread_count < thread_count && error == 0) {
        error = pthread_create(&lane->threads[lane->thread_count], NULL, lane_main, lane);
        if (error == 0) {
            char thread_name[16];
            (void)snprintf(thread_name, sizeof thread_name, "%s-%u", name, lane->thread_count);
            (void)pthread_setname_np(lane->threads[lane->thread_count], thread_name);
            lane->thread_count++;
        }
    }
    int restored = pthread_sigmask(SIG_SETMASK, &before, NULL);
    NK_ASSERT(restored == 0);
    if (error != 0) {
        env_posix_explain(reason, "cannot start a thread for", name, error);
        return NK_IO;
    }
    return NK_OK;
}

static void lane_stop(struct lane *lane)
{
    (void)pthread_mutex_lock(&lane->lock);
    lane->stopping = true;
    (void)pthread_mutex_unlock(&lane->lock);
    (void)pthread_cond_broadcast(&lane->work);
    for (unsigned i = 0; i < lane->thread_count; i++) {
        int failed = pthread_join(lane->threads[i], NULL);
        NK_ASSERT(failed == 0);
    }
    NK_ASSERT(lane->first == NULL);
    (void)pthread_cond_destroy(&lane->work);
    (void)pthread_mutex_destroy(&lane->lock);
    nk_free(lane->threads);
}

/* struct sched_attr of the kernel, version 0; the C library does not have it. */
struct thread_wishes {
    uint32_t size;
    uint32_t policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t slice_ns;
    uint64_t deadline_ns;
    uint64_t period_ns;
};

/* Nobody waits for background work, and it can take a processor for long; a read is short, and a
 * client waits.  So the former has little weight and long slices, the others have short ones: whose
 * slice is shorter goes first when it wakes up (Linux 6.12; before, a slice asked for is ignored).
 * What the kernel refuses is left as it is: then all are served alike. */
static void tell_scheduler(enum nk_lane lane)
{
    struct thread_wishes wishes = {.size = sizeof wishes, .policy = SCHED_OTHER};
    errno = 0;
    wishes.nice = getpriority(PRIO_PROCESS, 0); /* on Linux: of this thread */
    if (errno != 0) {
        return;
    }
    wishes.slice_ns = SLICE_SHORT_NS;
    if (lane == NK_LANE_BACKGROUND) {
        wishes.nice += BACKGROUND_NICE;
        wishes.nice = wishes.nice < NICE_MAX ? wishes.nice : NICE_MAX;
        wishes.slice_ns = SLICE_LONG_NS;
    }
    (void)syscall(SYS_sched_setattr, 0, &wishes, 0);
}

static void *lane_main(void *argument)
{
    struct lane *lane = argument;
    struct env_posix_worker *worker = lane->worker;
    tell_scheduler((enum nk_lane)(lane - worker->lanes));
    for (;;) {
        struct nk_job *job = lane_take(lane);
        if (job == NULL) {
            return NULL;
        }
        job->run(job);
        nk_mpsc_push(&worker->finished, &job->node);
        bell_ring(&worker->bell);
    }
}

/* The oldest job; waits for one; NULL when the lane stops. */
static struct nk_job *lane_take(struct lane *lane)
{
    (void)pthread_mutex_lock(&lane->lock);
    while (lane->first == NULL && !lane->stopping) {
        lane->idle_threads++;
        (void)pthread_cond_wait(&lane->work, &lane->lock);
        lane->idle_threads--;
    }
    struct nk_mpsc_node *node = lane->first;
    if (node != NULL) {
        NK_ASSERT(lane->waiting > 0);
        lane->first = node->next;
        lane->waiting--;
    }
    (void)pthread_mutex_unlock(&lane->lock);
    return node != NULL ? NK_CONTAINER_OF(node, struct nk_job, node) : NULL;
}
