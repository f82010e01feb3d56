#pragma once

/* Frames between the processes of a cluster.  Implementations: common/env_zmq/net_zmq.c (ZeroMQ),
 * tests/sim/net.c.  All calls from the loop thread of the role.
 *
 * A peer is one conversation partner of this process: a link that we opened to an address, or a
 * process that opened one to us.  Peer numbers are never reused while the process lives.  Frames of
 * one peer arrive whole, at most once and in order; any of them may be lost (a process died, a
 * connection broke), and nobody is told.  Who needs an answer keeps a deadline. */

#include "common/base/bytes.h"
#include "common/base/err.h"

typedef uint64_t nk_peer; /* 0: none */

enum nk_link_kind {
    NK_LINK_TALK,   /* both ways: send() to it, its answers arrive by receive() */
    NK_LINK_LISTEN, /* one way: what the other side publishes arrives by receive() */
};

struct nk_net_ops {
    /* Opens a link to `address` ("tcp://host:port", "ipc://path", or the simulator's).  Connecting
     * goes on in the background for ever.  NK_INVALID: not an address; NK_BUSY: too many links. */
    enum nk_err (*open)(void *ctx, const char *address, enum nk_link_kind kind, nk_peer *out_peer);

    /* Forgets a link; what waits on it is dropped.  0 and unknown peers are no-ops. */
    void (*close)(void *ctx, nk_peer peer);

    /* Hands one frame over; the bytes are copied or gone when the call returns.
     * NK_BUSY: the partner's queue is full; NK_UNAVAILABLE: it is gone or not connected now.
     * Either way nothing was sent. */
    enum nk_err (*send)(void *ctx, nk_peer peer, struct nk_bytes frame);

    /* Sends one frame to every process that listens to us; slow ones lose frames. */
    void (*publish)(void *ctx, struct nk_bytes frame);

    /* The addresses under which others reach this process (talk) and hear it (listen); borrowed for
     * the life of the process, "" where it offers none. */
    const char *(*talk_address)(void *ctx);
    const char *(*listen_address)(void *ctx);
};

struct nk_net {
    const struct nk_net_ops *ops;
    void *ctx;
};
