/* Workers under pressure: a loop that submits to every lane and sleeps whenever it may, jobs that
 * ring the loop, and threads that only ring.  Run under TSan.
 *
 * What must hold: every job runs once, is done once, on the loop thread, and sees what the loop
 * wrote before it was submitted; the log lane keeps its order; the loop never sleeps through a
 * ring: every wait is without a timeout, so a lost one shows as a test that hangs. */

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/assert.h"
#include "common/base/prng.h"
#include "common/base/units.h"
#include "common/env_posix/env_posix.h"

#define JOBS         64
#define ROUNDS_TOTAL 200000u
#define RINGERS      2
#define RINGS_EACH   100000u

struct stress;

struct task {
    struct nk_job job;
    struct stress *stress;
    enum nk_lane lane;
    uint64_t input;  /* written by the loop before submit */
    uint64_t output; /* written by run, read by the loop in done */
    uint64_t log_number;
    bool busy;
};

struct stress {
    struct env_posix_worker *posix;
    struct nk_worker worker;
    struct nk_loop_source source;
    pthread_t loop_thread;
    struct nk_prng prng;
    struct task tasks[JOBS];
    uint64_t submitted;
    uint64_t done;
    uint64_t log_submitted;
    uint64_t log_ran;      /* by the log lane's one thread */
    uint64_t log_done;     /* by the loop */
    _Atomic uint64_t rung; /* by the ringers, before each ring */
};

static void task_run(struct nk_job *job)
{
    struct task *task = NK_CONTAINER_OF(job, struct task, job);
    if (task->lane == NK_LANE_LOG) {
        NK_ASSERT(task->log_number == task->stress->log_ran);
        task->stress->log_ran++;
    }
    task->output = task->input * 3;
    if (task->input % 7 == 0) {
        nk_worker_wake(&task->stress->worker);
    }
}

static void task_done(struct nk_job *job)
{
    struct task *task = NK_CONTAINER_OF(job, struct task, job);
    struct stress *stress = task->stress;
    NK_ASSERT(pthread_equal(pthread_self(), stress->loop_thread));
    NK_ASSERT(task->busy);
    NK_ASSERT(task->output == task->input * 3);
    if (task->lane == NK_LANE_LOG) {
        NK_ASSERT(task->log_number == stress->log_done);
        stress->log_done++;
    }
    task->busy = false;
    stress->done++;
}

static void submit_idle(struct stress *stress)
{
    for (size_t i = 0; i < JOBS && stress->submitted < ROUNDS_TOTAL; i++) {
        struct task *task = &stress->tasks[i];
        if (task->busy) {
            continue;
        }
        task->lane = (enum nk_lane)nk_prng_below(&stress->prng, NK_LANE_COUNT);
        task->input = nk_prng_below(&stress->prng, 1000000);
        task->busy = true;
        task->log_number = stress->log_submitted;
        stress->log_submitted += task->lane == NK_LANE_LOG;
        enum nk_err err = nk_worker_submit(&stress->worker, task->lane, &task->job);
        NK_ASSERT(err == NK_OK); /* so few jobs always fit */
        stress->submitted++;
    }
}

static void *ring(void *argument)
{
    struct stress *stress = argument;
    for (uint64_t i = 0; i < RINGS_EACH; i++) {
        atomic_fetch_add_explicit(&stress->rung, 1, memory_order_relaxed);
        nk_worker_wake(&stress->worker);
    }
    return NULL;
}

/* Until all jobs are done and the last announced ring was seen. */
static uint64_t run_loop(struct stress *stress)
{
    const struct nk_loop_source *source = &stress->source;
    uint64_t sleeps = 0;
    for (;;) {
        uint64_t seen = source->ops->rings(source->ctx);
        source->ops->run_done(source->ctx);
        submit_idle(stress);
        if (stress->done == ROUNDS_TOTAL &&
            atomic_load_explicit(&stress->rung, memory_order_relaxed) ==
                (uint64_t)RINGERS * RINGS_EACH) {
            return sleeps;
        }
        if (source->ops->sleep(source->ctx, seen)) {
            struct pollfd wait = {.fd = source->fd, .events = POLLIN};
            int ready = poll(&wait, 1, -1);
            source->ops->awake(source->ctx, ready > 0);
            sleeps++;
        }
    }
}

int main(void)
{
    static struct stress stress;
    char memory[256];
    struct nk_text reason;
    nk_text_init(&reason, memory, sizeof memory);
    const struct env_posix_worker_options options = {.read_threads = 3, .background_threads = 2};
    enum nk_err err = env_posix_worker_open(&options, &stress.posix, &reason);
    if (err != NK_OK) {
        (void)fprintf(stderr, "%s\n", memory);
        return 1;
    }
    stress.worker = env_posix_worker(stress.posix);
    stress.source = env_posix_loop_source(stress.posix);
    stress.loop_thread = pthread_self();
    nk_prng_init(&stress.prng, 1);
    for (size_t i = 0; i < JOBS; i++) {
        stress.tasks[i].job = (struct nk_job){.run = task_run, .done = task_done};
        stress.tasks[i].stress = &stress;
    }
    pthread_t ringers[RINGERS];
    for (size_t i = 0; i < RINGERS; i++) {
        int failed = pthread_create(&ringers[i], NULL, ring, &stress);
        NK_ASSERT(failed == 0);
    }
    uint64_t sleeps = run_loop(&stress);
    for (size_t i = 0; i < RINGERS; i++) {
        int failed = pthread_join(ringers[i], NULL);
        NK_ASSERT(failed == 0);
    }
    env_posix_worker_close(&stress.posix);
    NK_ASSERT(stress.log_done == stress.log_submitted);
    NK_ASSERT(stress.log_ran == stress.log_submitted);
    NK_ASSERT(stress.done == stress.submitted);
    (void)printf("%llu jobs, %llu of the log lane in order, %llu sleeps\n",
                 (unsigned long long)stress.done, (unsigned long long)stress.log_done,
                 (unsigned long long)sleeps);
    return 0;
}
