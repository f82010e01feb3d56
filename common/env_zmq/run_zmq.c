/* The loop of a process.  One turn:
 *
 *   1. hand over what arrived at each socket, a bounded number of frames      role.receive
 *   2. run done() of finished jobs                                            job.done
 *   3. if either did something, somebody rang, or its time has come           role.tick
 *   4. wait: not at all while sockets may have more, else until the next tick is due
 *
 * What a burst gathers leaves in one tick, so batches grow with the load and need no timer.  The
 * wait of step 4 also looks at all other descriptors, so that a busy socket starves nobody. */

#include "net_zmq.h"

#include <sys/signalfd.h>
#include <unistd.h>

#include "common/base/units.h"

/* The longest sleep: the health board wants a beat every second. */
#define SLEEP_US_MAX (500 * NK_US_PER_MS)

struct loop {
    const struct nk_run_options *options;
    uint64_t next_tick_us; /* UINT64_MAX: not by time */
    uint64_t ticked_rings; /* rings that the last tick has seen */
    bool stopping;
    uint64_t stop_deadline_us; /* while stopping */
};

static enum nk_err turn(struct loop *loop, bool *out_end, struct nk_text *reason);
static void deliver(void *ctx, nk_peer from, struct nk_bytes frame);
static void wait_for_news(struct loop *loop, uint64_t rings, uint64_t now_us);
static int sleep_ms(const struct loop *loop, uint64_t now_us);
static void begin_stop(struct loop *loop);
static void empty_signals(int fd);

enum nk_err nk_run(const struct nk_run_options *options, bool *out_stuck, struct nk_text *reason)
{
    *out_stuck = false;
    struct loop loop = {.options = options, .ticked_rings = UINT64_MAX};
    struct nk_loop_source jobs = options->jobs;
    enum nk_err err = env_zmq_watch(options->zmq, jobs.fd, ENV_ZMQ_WAKE_JOBS);
    if (err == NK_OK) {
        err = env_zmq_watch(options->zmq, options->stop_fd, ENV_ZMQ_WAKE_STOP);
    }
    if (err != NK_OK) {
        nk_text_add(reason, "cannot wait for the workers and stop signals");
        return err;
    }
    bool end = false;
    while (!end && err == NK_OK) {
        err = turn(&loop, &end, reason);
    }
    *out_stuck = !jobs.ops->finish(jobs.ctx, (int)options->finish_timeout_ms);
    env_zmq_unwatch(options->zmq, jobs.fd);
    env_zmq_unwatch(options->zmq, options->stop_fd);
    return err;
}

static enum nk_err turn(struct loop *loop, bool *out_end, struct nk_text *reason)
{
    const struct nk_run_options *options = loop->options;
    const struct nk_loop_source *jobs = &options->jobs;
    uint64_t rings = jobs->ops->rings(jobs->ctx);
    size_t news = env_zmq_pump(options->zmq, deliver, loop);
    news += jobs->ops->run_done(jobs->ctx);
    uint64_t now_us = nk_mono_us(&options->clock);
    nk_health_beat(options->health);
    if (news > 0 || rings != loop->ticked_rings || now_us >= loop->next_tick_us) {
        loop->next_tick_us = options->ops->tick(options->role);
        loop->ticked_rings = rings;
        enum nk_err err = options->ops->fault(options->role, reason);
        if (err != NK_OK) {
            return err;
        }
        now_us = nk_mono_us(&options->clock);
    }
    if (loop->stopping && options->ops->stopped(options->role)) {
        *out_end = true;
        return NK_OK;
    }
    if (loop->stopping && now_us >= loop->stop_deadline_us) {
        nk_text_add(reason, "the role had not stopped in time");
        return NK_TIMEOUT;
    }
    wait_for_news(loop, rings, now_us);
    return NK_OK;
}

static void deliver(void *ctx, nk_peer from, struct nk_bytes frame)
{
    struct loop *loop = ctx;
    loop->options->ops->receive(loop->options->role, from, frame);
}

static void wait_for_news(struct loop *loop, uint64_t rings, uint64_t now_us)
{
    const struct nk_run_options *options = loop->options;
    const struct nk_loop_source *jobs = &options->jobs;
    int timeout_ms = env_zmq_pending(options->zmq) ? 0 : sleep_ms(loop, now_us);
    bool asleep = timeout_ms > 0 && jobs->ops->sleep(jobs->ctx, rings);
    unsigned wakes = env_zmq_wait(options->zmq, asleep ? timeout_ms : 0);
    if (asleep) {
        jobs->ops->awake(jobs->ctx, (wakes & ENV_ZMQ_WAKE_JOBS) != 0);
    }
    if ((wakes & ENV_ZMQ_WAKE_STOP) != 0) {
        empty_signals(options->stop_fd);
        if (!loop->stopping) {
            begin_stop(loop);
        }
    }
}

/* Rounded up: a millisecond late costs less than turns that find nothing due yet. */
static int sleep_ms(const struct loop *loop, uint64_t now_us)
{
    uint64_t until_us = nk_min_u64(loop->next_tick_us, now_us + SLEEP_US_MAX);
    if (until_us <= now_us) {
        return 0;
    }
    return (int)((until_us - now_us + NK_US_PER_MS - 1) / NK_US_PER_MS);
}

static void begin_stop(struct loop *loop)
{
    const struct nk_run_options *options = loop->options;
    nk_log_info(&options->log, options->ops->name, "stopping",
                NK_LOG_NUMBER("timeout_ms", options->stop_timeout_ms));
    loop->stopping = true;
    loop->stop_deadline_us =
        nk_mono_us(&options->clock) + (uint64_t)options->stop_timeout_ms * NK_US_PER_MS;
    loop->next_tick_us = 0;
    if (options->stopping != NULL) {
        options->stopping(options->ctx);
    }
    options->ops->stop(options->role);
}

/* Further signals change nothing: Ctrl-C reaches every process of a terminal, and then the
 * supervisor says the same once more. */
static void empty_signals(int fd)
{
    struct signalfd_siginfo signal;
    while (read(fd, &signal, sizeof signal) == (ssize_t)sizeof signal) {
    }
}
