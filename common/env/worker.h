#pragma once

/* Work beside the loop thread: what may block or take long.  Implementations:
 * common/env_posix/worker_posix.c (threads), tests/sim/worker.c (the scheduler decides when).
 *
 * A job is owned by its submitter and must stay in place until `done` was called.  `run` happens on
 * some other thread and touches only what the job owns or what is documented as shared; `done`
 * happens on the loop thread.  Jobs of the log lane run one at a time in the order of submission;
 * jobs of the other lanes in any order, several at once. */

#include "common/base/err.h"
#include "common/base/mpsc.h"

enum nk_lane {
    NK_LANE_LOG,        /* the raft log's writer: one thread, never behind other work */
    NK_LANE_READ,       /* reads that miss the cache, shard activation */
    NK_LANE_BACKGROUND, /* flush, compaction, clean-up */
    NK_LANE_COUNT,
};

struct nk_job {
    void (*run)(struct nk_job *job);
    void (*done)(struct nk_job *job);
    struct nk_mpsc_node node; /* the implementation's */
};

struct nk_worker_ops {
    /* Loop thread only.  NK_BUSY: the lane is full, nothing happened. */
    enum nk_err (*submit)(void *ctx, enum nk_lane lane, struct nk_job *job);

    /* Any thread: the role's tick will be called soon. */
    void (*wake)(void *ctx);
};

struct nk_worker {
    const struct nk_worker_ops *ops;
    void *ctx;
    unsigned background_threads; /* jobs of that lane that run at once; 0: unknown */
};

NK_MUST_CHECK static inline enum nk_err nk_worker_submit(const struct nk_worker *worker,
                                                         enum nk_lane lane, struct nk_job *job)
{
    return worker->ops->submit(worker->ctx, lane, job);
}

static inline void nk_worker_wake(const struct nk_worker *worker)
{
    worker->ops->wake(worker->ctx);
}
