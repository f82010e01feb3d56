#pragma once

/* The gateway's gRPC side: norikv.v1 Kv, Meta and Admin, grpc.health.v1, server reflection.  Turns
 * a call into a gateway_request or gateway_watch and back; decides nothing about data.
 *
 * open() binds, serve() begins, stop() closes the door, close() ends what is left.  One main thread
 * calls these. */

#include "common/env/clock.h"
#include "common/env/log.h"
#include "services/gateway/gateway.h"

struct front_grpc;

struct front_grpc_options {
    const char *address;      /* "host:port", "[ipv6]:port"; port 0: any free one */
    size_t request_bytes_max; /* larger messages are refused before they are read whole */
    size_t inflight_max;      /* calls that are being served, streams too */
    struct nk_clock clock;
    struct nk_log log;
    struct nk_health *health; /* borrowed until close */
};

/* Binds.  NK_CONFLICT: the port is taken; NK_INVALID: not an address; NK_IO.  `reason` has one line
 * for the operator.  At most one front exists in a process: gRPC's own log lines go to its log. */
NK_MUST_CHECK enum nk_err front_grpc_open(const struct front_grpc_options *options,
                                          struct front_grpc **out_front, struct nk_text *reason);

/* host:port as bound; borrowed until close. */
const char *front_grpc_address(const struct front_grpc *front);

/* Takes calls from now on.  The gateway is borrowed until close. */
void front_grpc_serve(struct front_grpc *front, struct gateway *gateway);

/* Takes no new connection and no new call; calls under way go on.  Does not block. */
void front_grpc_stop(struct front_grpc *front);

/* Cancels what is left, waits for the last event, and releases.  The gateway has given back
 * everything (gateway_end), or its loop still runs.  *front becomes NULL; NULL is a no-op. */
void front_grpc_close(struct front_grpc **front);
