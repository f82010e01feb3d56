#pragma once

/* What the loop needs of the net besides struct nk_net. */

#include "env_zmq.h"

typedef void (*env_zmq_sink)(void *ctx, nk_peer from, struct nk_bytes frame);

/* Further descriptors to wait for. */
enum env_zmq_wake {
    ENV_ZMQ_WAKE_JOBS = 1,
    ENV_ZMQ_WAKE_STOP = 2,
};

NK_MUST_CHECK enum nk_err env_zmq_watch(struct env_zmq *zmq, int fd, enum env_zmq_wake wake);
void env_zmq_unwatch(struct env_zmq *zmq, int fd);

/* Hands over what has arrived, a bounded number of frames of each socket; how many. */
size_t env_zmq_pump(struct env_zmq *zmq, env_zmq_sink sink, void *ctx);

/* More may be there: wait with timeout 0, then pump again. */
bool env_zmq_pending(const struct env_zmq *zmq);

/* Waits until a socket or a watched descriptor is ready, or the time is over (-1: none).  Returns
 * the watched ones that are ready, as bits of enum env_zmq_wake. */
unsigned env_zmq_wait(struct env_zmq *zmq, int timeout_ms);
