#pragma once

/* How the four processes of a node share its settings: their names, their HTTP ports, and what they
 * write about themselves into data_dir/run. */

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/text.h"
#include "common/config/config.h"

#include "supervise.h"

const char *server_role_name(enum supervise_child child); /* "gateway" */

/* The gateway has http_addr itself; shardhost, gossip and admin one, two and three steps behind.
 * Port 0 or step 0: any free port.  NK_INVALID: beyond 65535, `reason` has one line. */
NK_MUST_CHECK enum nk_err server_http_address(const struct nk_config *config,
                                              enum supervise_child child,
                                              struct nk_text *out_address, struct nk_text *reason);

#define SERVER_ADDRESS_BYTES ((size_t)272) /* host, brackets, port */

/* What data_dir/run/<role>.json says. */
struct server_run_file {
    uint64_t pid;
    char rpc_addr[SERVER_ADDRESS_BYTES]; /* "": it serves no gRPC */
    char http_addr[SERVER_ADDRESS_BYTES];
};

/* NK_INVALID: not (yet) a whole run file. */
NK_MUST_CHECK enum nk_err server_run_file_read(struct nk_bytes text,
                                               struct server_run_file *out_file);
