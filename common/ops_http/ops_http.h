#pragma once

/* The HTTP side of every process: health and metrics, one daemon, one port.  A gateway serves its
 * own routes on the same port through a handler (common/env/http.h).
 *
 * Own routes, GET and HEAD: /health/quick /health /healthz /readyz /metrics.  They answer from
 * memory on the HTTP thread and wait for nobody.
 *
 * Refused before a handler sees it: heads that mean different things to different servers (400;
 * head.h), a transfer coding other than "chunked" (501), targets above 4 KiB (414), heads above
 * 8 KiB (431), bodies beyond the handler's limit (413) and beyond the budget of all bodies (429).
 *
 * Slow clients: silence ends a connection after a time.  So does a request that takes long to come,
 * or an answer that takes long to be read, as soon as others want to be served.  When all
 * connections are taken, each new one ends the one whose client has kept us waiting longest. */

#include "common/base/err.h"
#include "common/base/text.h"
#include "common/base/units.h"
#include "common/env/clock.h"
#include "common/env/http.h"
#include "common/env/log.h"
#include "common/observe/observe.h"
#include "common/service/health.h"

struct ops_http;

struct ops_http_options {
    const char *address; /* "host:port", "[ipv6]:port"; port 0: any free one */
    struct nk_health *health;
    struct nk_registry *metrics;           /* NULL: /metrics is no route */
    const struct nk_http_handler *handler; /* NULL: no further routes; copied */
    struct nk_clock clock;                 /* copied */
    struct nk_log log;                     /* copied */
    unsigned connection_max;               /* 0: OPS_HTTP_CONNECTIONS */
    unsigned idle_timeout_s;               /* 0: OPS_HTTP_IDLE_TIMEOUT_S */
    size_t body_total_bytes_max;           /* 0: OPS_HTTP_BODY_TOTAL_BYTES */
};

#define OPS_HTTP_CONNECTIONS      1024u
#define OPS_HTTP_IDLE_TIMEOUT_S   30u /* silence inside a request or between two */
#define OPS_HTTP_TURN_S           60u /* for a whole request, and for an answer */
#define OPS_HTTP_BODY_TOTAL_BYTES ((size_t)(64 * NK_MIB)) /* bodies being read or served */

/* Binds and serves.  On failure `reason` has one line for the operator: NK_INVALID (not an
 * address), NK_CONFLICT (the port is taken), NK_IO. */
NK_MUST_CHECK enum nk_err ops_http_open(const struct ops_http_options *options,
                                        struct ops_http **out_http, struct nk_text *reason);

/* host:port as bound; borrowed until close. */
const char *ops_http_address(const struct ops_http *http);

/* Takes no new connection and ends each one after its next answer; requests under way are still
 * served.  Does not block. */
void ops_http_stop(struct ops_http *http);

/* Stops, gives the last answers a moment to leave, and releases.  The handler has answered
 * everything it was given (asserted).  *http becomes NULL; NULL is a no-op. */
void ops_http_close(struct ops_http **http);
