#pragma once

/* Tries addresses of this machine: may one be listened at, is who listens there ready? */

#include <stdbool.h>

#include "common/base/err.h"
#include "common/base/text.h"

/* Whether `address` (host:port, port 0 too) can be listened at just now.  NK_UNAVAILABLE: somebody
 * else does; NK_INVALID: the host is none; NK_IO: the system refuses; `reason` has one line. */
NK_MUST_CHECK enum nk_err server_probe_free(const char *address, struct nk_text *reason);

/* GET /readyz at `http_address` (host:port).  True: 200.  Waits some tenths of a second at most,
 * and however long it takes to resolve a host that is a name. */
bool server_probe_ready(const char *http_address);
