/* Jobs: each runs at some moment after its submission, in one piece, and its end is heard at some
 * later moment, not while the loop is paused; the log lane keeps its order, the others do not. */

#include "tests/sim/sim.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"

struct job {
    struct sim_event event;
    struct nk_list link; /* process->jobs, in order of submission */
    struct sim_process *process;
    enum nk_lane lane;
    struct nk_job *job;
    bool ran;
};

static bool first_of_log(const struct job *job)
{
    for (struct nk_list *link = job->process->jobs.next; link != &job->process->jobs;
         link = link->next) {
        const struct job *other = NK_CONTAINER_OF(link, struct job, link);
        if (other->lane == NK_LANE_LOG) {
            return other == job;
        }
    }
    return false;
}

static void finish(struct job *job)
{
    struct nk_job *done = job->job;
    nk_list_remove(&job->link);
    nk_free(job);
    done->done(done);
}

static void fire(struct sim_event *event)
{
    struct job *job = NK_CONTAINER_OF(event, struct job, event);
    struct sim_process *process = job->process;
    struct sim_world *world = process->world;
    if (job->lane == NK_LANE_LOG && !first_of_log(job)) {
        sim_at(world, world->now_us + 10, event);
        return;
    }
    if (!job->ran) {
        sim_trace(world, "job", process->ops->name, job->lane);
        job->job->run(job->job);
        job->ran = true;
        sim_at(world, world->now_us + nk_prng_between(&world->prng, 1, world->temper.job_us_max),
               event);
        return;
    }
    if (sim_process_paused(process)) {
        sim_at(world, process->paused_until_us, event);
        return;
    }
    finish(job);
    sim_process_soon(process);
}

static uint64_t delay_of(struct sim_world *world)
{
    const struct sim_temper *temper = &world->temper;
    uint64_t delay_us = nk_prng_between(&world->prng, 5, temper->job_us_max);
    if (nk_prng_chance(&world->prng, temper->job_slow)) {
        delay_us += nk_prng_below(&world->prng, temper->job_slow_us);
    }
    if (world->now_us < world->disk_slow_until_us) {
        delay_us += nk_prng_below(&world->prng, world->disk_slow_until_us - world->now_us + 1);
    }
    return delay_us;
}

static enum nk_err submit(void *ctx, enum nk_lane lane, struct nk_job *nk_job)
{
    struct sim_process *process = ctx;
    struct sim_world *world = process->world;
    if (process->dying || nk_prng_chance(&world->prng, world->temper.lane_full)) {
        return NK_BUSY;
    }
    struct job *job = nk_alloc_zero(1, sizeof *job);
    job->event.name = "job";
    job->event.fire = fire;
    job->process = process;
    job->lane = lane;
    job->job = nk_job;
    nk_list_append(&process->jobs, &job->link);
    sim_at(world, world->now_us + delay_of(world), &job->event);
    return NK_OK;
}

static void wake(void *ctx)
{
    sim_process_soon(ctx);
}

static const struct nk_worker_ops worker_ops = {submit, wake};

void sim_worker_attach(struct sim_process *process)
{
    process->env.worker = (struct nk_worker){&worker_ops, process, 2};
}

void sim_worker_drain(struct sim_process *process)
{
    while (!nk_list_empty(&process->jobs)) {
        struct job *job = NK_CONTAINER_OF(process->jobs.next, struct job, link);
        sim_cancel(process->world, &job->event);
        if (!job->ran) {
            job->job->run(job->job);
        }
        finish(job);
    }
}
