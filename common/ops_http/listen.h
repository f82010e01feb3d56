#pragma once

#include "common/base/err.h"
#include "common/base/text.h"

/* A host of config.h with brackets, a colon and five digits. */
#define LISTEN_ADDRESS_BYTES_MAX ((size_t)263)

/* Binds and listens on "host:port" or "[ipv6]:port"; the caller closes *out_fd.  `out_address` has
 * LISTEN_ADDRESS_BYTES_MAX + 1 bytes and gets the host as given with the port as bound.  Errors and
 * `reason` as ops_http_open. */
NK_MUST_CHECK enum nk_err listen_open(const char *address, int *out_fd, char *out_address,
                                      struct nk_text *reason);
