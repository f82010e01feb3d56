#pragma once

/* Frames between processes over ZeroMQ, and the loop that drives a role with them.  The only place
 * that knows ZeroMQ.
 *
 * Reasons: where a call takes `reason`, it has one line for the operator after a failure. */

#include "common/env/clock.h"
#include "common/env/log.h"
#include "common/env/loop.h"
#include "common/env/net.h"
#include "common/observe/observe.h"
#include "common/service/health.h"
#include "common/service/service.h"

/* ---- The net ---- */

struct env_zmq;

struct env_zmq_options {
    /* "tcp://host:port" (host: an address of this machine or '*'; port 0: any free one) or
     * "ipc://path".  NULL: not offered. */
    const char *talk_bind;
    const char *listen_bind;
    const char *advertise_host; /* replaces the host in what others are told; NULL: as bound */
};

/* Binds.  NK_INVALID: not an address; NK_CONFLICT: taken by another process; NK_IO. */
NK_MUST_CHECK enum nk_err env_zmq_open(const struct env_zmq_options *options,
                                       struct env_zmq **out_zmq, struct nk_text *reason);

/* Frames that were handed over get a moment (LINGER_MS) to leave.  *zmq becomes NULL. */
void env_zmq_close(struct env_zmq **zmq);

/* Loop thread only; before nk_run any one thread. */
struct nk_net env_zmq_net(struct env_zmq *zmq);

/* norikv_bus_* (README.md). */
void env_zmq_register(struct env_zmq *zmq, struct nk_registry *metrics);

/* ---- The loop ---- */

struct nk_run_options {
    const struct nk_role_ops *ops;
    void *role; /* initialised; the caller calls deinit after nk_run */
    struct env_zmq *zmq;
    struct nk_loop_source jobs;
    struct nk_clock clock;
    struct nk_log log;
    struct nk_health *health;
    int stop_fd; /* readable: stop; read only by nk_run */
    uint32_t stop_timeout_ms;
    uint32_t finish_timeout_ms; /* for jobs that still run at the end */

    /* Called once, before the role's stop(), when the stop begins: fronts close their doors.  May
     * be NULL. */
    void (*stopping)(void *ctx);
    void *ctx;
};

/* Drives the role until it has stopped, or a second stop signal or `stop_timeout_ms` cut that short
 * (NK_TIMEOUT), or it reports a fault (that error).  No jobs are taken any more when it returns,
 * and all are done unless *out_stuck: then one has not ended in `finish_timeout_ms` (its disk
 * hangs), nothing that jobs use may be closed, and all that is left to the process is _exit. */
NK_MUST_CHECK enum nk_err nk_run(const struct nk_run_options *options, bool *out_stuck,
                                 struct nk_text *reason);
