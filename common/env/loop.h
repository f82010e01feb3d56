#pragma once

/* What the loop of a process serves besides frames: finished jobs, and the wish of another thread
 * to be noticed.  The other side of struct nk_worker.  Implementation:
 * common/env_posix/worker_posix.c; driver: common/env_zmq/run_zmq.c.  Loop thread only.
 *
 *   seen = rings()             before serving anything
 *   run_done(), tick, ...      whoever rings now changes the count
 *   if sleep(seen)             nothing rang since: `fd` becomes readable with the next ring
 *       readable = poll(fd, ...); awake(readable)
 *
 * A ring costs a system call only while the loop sleeps, and none is lost between the two. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nk_loop_source_ops {
    uint64_t (*rings)(void *ctx);  /* so far */
    size_t (*run_done)(void *ctx); /* calls done() of every finished job; how many */
    bool (*sleep)(void *ctx, uint64_t seen);
    void (*awake)(void *ctx, bool readable); /* after every sleep() that was true; what poll said */

    /* For the end: no job is taken any more, all that were are run, and their done() called.
     * False: that took longer than `timeout_ms` (negative: no limit), jobs still run, and what they
     * use must stay. */
    bool (*finish)(void *ctx, int timeout_ms);
};

struct nk_loop_source {
    const struct nk_loop_source_ops *ops;
    void *ctx;
    int fd;
};
