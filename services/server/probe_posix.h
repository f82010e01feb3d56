#pragma once

/* Asks a process on this machine whether it is ready. */

#include <stdbool.h>

/* GET /readyz at `http_address` (host:port).  True: 200.  Waits some tenths of a second at most,
 * and however long it takes to resolve a host that is a name. */
bool server_probe_ready(const char *http_address);
