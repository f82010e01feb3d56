#pragma once

/* Asks a process on this machine whether it is ready. */

#include <stdbool.h>

/* GET /readyz at `http_address` (host:port with a numeric host).  True: 200.  Waits
 * PROBE_TIMEOUT_MS at most. */
bool server_probe_ready(const char *http_address);
