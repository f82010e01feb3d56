/* Jobs, one at a time; many at once are in tests/stress/worker_stress.c. */

#include <criterion/criterion.h>

#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/base/limits.h"
#include "common/base/units.h"

#include "place.h"

TestSuite(env_posix_worker, .timeout = 20);

static const struct env_posix_worker_options two_threads = {.read_threads = 2,
                                                            .background_threads = 1};

struct rig {
    struct env_posix_worker *posix;
    struct nk_worker worker;
    struct nk_loop_source source;
};

static void rig_open(struct rig *rig)
{
    struct reason reason;
    cr_assert_eq(env_posix_worker_open(&two_threads, &rig->posix, reason_init(&reason)), NK_OK);
    rig->worker = env_posix_worker(rig->posix);
    rig->source = env_posix_loop_source(rig->posix);
}

/* Waits as a loop does, until `count` jobs are done. */
static void rig_wait(struct rig *rig, size_t count)
{
    size_t done = 0;
    while (done < count) {
        uint64_t seen = rig->source.ops->rings(rig->source.ctx);
        size_t now = rig->source.ops->run_done(rig->source.ctx);
        done += now;
        if (now == 0 && rig->source.ops->sleep(rig->source.ctx, seen)) {
            struct pollfd wait = {.fd = rig->source.fd, .events = POLLIN};
            int ready = poll(&wait, 1, -1);
            rig->source.ops->awake(rig->source.ctx, ready > 0);
        }
    }
    cr_expect_eq(done, count);
}

struct task {
    struct nk_job job;
    pthread_t ran_on;
    pthread_t done_on;
    int ran_nice;
    int wait_fd; /* >= 0: run() reads a byte from it first */
    size_t *order;
    size_t ran_as; /* its place in `order` */
    size_t done_count;
};

static void task_run(struct nk_job *job)
{
    struct task *task = NK_CONTAINER_OF(job, struct task, job);
    char byte;
    if (task->wait_fd >= 0 && read(task->wait_fd, &byte, 1) != 1) {
        return;
    }
    task->ran_on = pthread_self();
    task->ran_nice = getpriority(PRIO_PROCESS, (id_t)gettid());
    if (task->order != NULL) {
        task->ran_as = (*task->order)++;
    }
}

static void task_done(struct nk_job *job)
{
    struct task *task = NK_CONTAINER_OF(job, struct task, job);
    task->done_on = pthread_self();
    task->done_count++;
}

static struct task task_of(int wait_fd, size_t *order)
{
    return (struct task){
        .job = {.run = task_run, .done = task_done}, .wait_fd = wait_fd, .order = order};
}

Test(env_posix_worker, a_job_runs_elsewhere_and_is_done_on_the_loop)
{
    struct rig rig;
    rig_open(&rig);
    for (enum nk_lane lane = NK_LANE_LOG; lane < NK_LANE_COUNT; lane++) {
        struct task task = task_of(-1, NULL);
        cr_assert_eq(nk_worker_submit(&rig.worker, lane, &task.job), NK_OK);
        rig_wait(&rig, 1);
        cr_expect(!pthread_equal(task.ran_on, pthread_self()), "lane %d", (int)lane);
        cr_expect(pthread_equal(task.done_on, pthread_self()), "lane %d", (int)lane);
        cr_expect_eq(task.done_count, 1);
    }
    env_posix_worker_close(&rig.posix);
    cr_expect_null(rig.posix);
    env_posix_worker_close(&rig.posix);
}

Test(env_posix_worker, background_work_lets_others_go_first)
{
    struct rig rig;
    rig_open(&rig);
    int own = getpriority(PRIO_PROCESS, (id_t)gettid());
    for (enum nk_lane lane = NK_LANE_LOG; lane < NK_LANE_COUNT; lane++) {
        struct task task = task_of(-1, NULL);
        cr_assert_eq(nk_worker_submit(&rig.worker, lane, &task.job), NK_OK);
        rig_wait(&rig, 1);
        int expected = lane != NK_LANE_BACKGROUND ? own : own < 9 ? own + 10 : 19;
        cr_expect_eq(task.ran_nice, expected, "lane %d: %d", (int)lane, task.ran_nice);
    }
    env_posix_worker_close(&rig.posix);
}

Test(env_posix_worker, the_log_lane_keeps_the_order)
{
    enum { COUNT = 500 };
    static struct task tasks[COUNT];
    struct rig rig;
    rig_open(&rig);
    size_t order = 0; /* unprotected: one thread runs them all */
    for (size_t i = 0; i < COUNT; i++) {
        tasks[i] = task_of(-1, &order);
        cr_assert_eq(nk_worker_submit(&rig.worker, NK_LANE_LOG, &tasks[i].job), NK_OK);
    }
    rig_wait(&rig, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        cr_expect_eq(tasks[i].ran_as, i);
    }
    env_posix_worker_close(&rig.posix);
}

Test(env_posix_worker, a_full_lane_refuses_and_the_others_go_on)
{
    static struct task tasks[NK_WORKER_JOBS_MAX + 1];
    int gate[2];
    cr_assert_eq(pipe(gate), 0);
    struct rig rig;
    rig_open(&rig);
    struct task blocker = task_of(gate[0], NULL);
    cr_assert_eq(nk_worker_submit(&rig.worker, NK_LANE_BACKGROUND, &blocker.job), NK_OK);
    size_t taken = 0;
    enum nk_err err = NK_OK;
    while (err == NK_OK) {
        cr_assert_leq(taken, NK_WORKER_JOBS_MAX);
        tasks[taken] = task_of(-1, NULL);
        err = nk_worker_submit(&rig.worker, NK_LANE_BACKGROUND, &tasks[taken].job);
        taken += err == NK_OK;
    }
    cr_expect_eq(err, NK_BUSY);
    /* The thread may or may not have taken the blocker from the queue by then. */
    cr_expect_geq(taken, NK_WORKER_JOBS_MAX - 1);

    struct task other = task_of(-1, NULL);
    cr_assert_eq(nk_worker_submit(&rig.worker, NK_LANE_READ, &other.job), NK_OK);
    rig_wait(&rig, 1);
    cr_expect_eq(other.done_count, 1);

    cr_assert_eq(write(gate[1], "x", 1), 1);
    rig_wait(&rig, taken + 1);
    env_posix_worker_close(&rig.posix);
    (void)close(gate[0]);
    (void)close(gate[1]);
}

Test(env_posix_worker, finish_runs_what_was_taken_and_takes_no_more)
{
    enum { COUNT = 100 };
    static struct task tasks[COUNT];
    struct rig rig;
    rig_open(&rig);
    for (size_t i = 0; i < COUNT; i++) {
        tasks[i] = task_of(-1, NULL);
        cr_assert_eq(nk_worker_submit(&rig.worker, i % NK_LANE_COUNT, &tasks[i].job), NK_OK);
    }
    cr_expect(rig.source.ops->finish(rig.source.ctx, -1));
    for (size_t i = 0; i < COUNT; i++) {
        cr_expect_eq(tasks[i].done_count, 1);
    }
    struct task late = task_of(-1, NULL);
    cr_expect_eq(nk_worker_submit(&rig.worker, NK_LANE_READ, &late.job), NK_BUSY);
    env_posix_worker_close(&rig.posix);
    cr_expect_eq(late.done_count, 0);
}

/* A disk may hang for ever; whoever ends must not. */
Test(env_posix_worker, finish_gives_up_on_a_job_that_does_not_end)
{
    int gate[2];
    cr_assert_eq(pipe(gate), 0);
    struct rig rig;
    rig_open(&rig);
    struct task blocker = task_of(gate[0], NULL);
    cr_assert_eq(nk_worker_submit(&rig.worker, NK_LANE_LOG, &blocker.job), NK_OK);
    cr_expect(!rig.source.ops->finish(rig.source.ctx, 1));
    cr_expect_eq(blocker.done_count, 0);
    cr_assert_eq(write(gate[1], "x", 1), 1);
    cr_expect(rig.source.ops->finish(rig.source.ctx, -1));
    cr_expect_eq(blocker.done_count, 1);
    env_posix_worker_close(&rig.posix);
    (void)close(gate[0]);
    (void)close(gate[1]);
}

static bool is_readable(int fd)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    return poll(&wait, 1, 0) == 1;
}

Test(env_posix_worker, a_ring_before_sleep_prevents_it_and_one_after_ends_it)
{
    struct rig rig;
    rig_open(&rig);
    const struct nk_loop_source *source = &rig.source;

    uint64_t seen = source->ops->rings(source->ctx);
    nk_worker_wake(&rig.worker);
    cr_expect(!source->ops->sleep(source->ctx, seen));
    cr_expect(!is_readable(source->fd), "nobody slept: a system call was wasted");

    seen = source->ops->rings(source->ctx);
    cr_assert(source->ops->sleep(source->ctx, seen));
    cr_expect(!is_readable(source->fd));
    nk_worker_wake(&rig.worker);
    nk_worker_wake(&rig.worker);
    cr_expect(is_readable(source->fd));
    source->ops->awake(source->ctx, true);
    cr_expect(!is_readable(source->fd));
    cr_expect_neq(source->ops->rings(source->ctx), seen);

    seen = source->ops->rings(source->ctx);
    cr_assert(source->ops->sleep(source->ctx, seen));
    source->ops->awake(source->ctx, false); /* a timeout */
    cr_expect_eq(source->ops->rings(source->ctx), seen);
    env_posix_worker_close(&rig.posix);
}
