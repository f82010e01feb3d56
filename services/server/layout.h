#pragma once

/* How the four processes of a node share its settings: their names, their HTTP ports, their command
 * lines, and what they write about themselves into data_dir/run. */

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/text.h"
#include "common/config/config.h"

#include "supervise.h"

const char *server_role_name(enum supervise_child child); /* "gateway" */

/* What no single process sees: the children share one configuration, so a bus on TCP would be one
 * port for several of them, and the HTTP port of one may be the gRPC port.
 * NK_INVALID: `reason` has one line. */
NK_MUST_CHECK enum nk_err server_layout_check(const struct nk_config *config,
                                              struct nk_text *reason);

/* The gateway has http_addr itself; shardhost, gossip and admin one, two and three steps behind.
 * Port 0 or step 0: any free port.  NK_INVALID: beyond 65535, `reason` has one line. */
NK_MUST_CHECK enum nk_err server_http_address(const struct nk_config *config,
                                              enum supervise_child child,
                                              struct nk_text *out_address, struct nk_text *reason);

#define SERVER_ADDRESS_BYTES  ((size_t)272) /* host, brackets, port */

/* The arguments of a child: ours, with `http_address` in the place of whatever they say about
 * http_addr.  `arguments` (without the program's name) have been checked; they and `http_address`
 * are borrowed by out_arguments, which has room for `count` + SERVER_ARGUMENTS_MORE.  [0] is left
 * to the caller, NULL ends them. */
#define SERVER_ARGUMENTS_MORE ((size_t)4) /* the program, the flag and its value, NULL */
void server_child_arguments(const char *const *arguments, size_t count, const char *http_address,
                            const char **out_arguments);

/* What data_dir/run/<role>.json says. */
struct server_run_file {
    uint64_t pid;
    char rpc_addr[SERVER_ADDRESS_BYTES]; /* "": it serves no gRPC */
    char http_addr[SERVER_ADDRESS_BYTES];
};

/* NK_INVALID: not (yet) a whole run file. */
NK_MUST_CHECK enum nk_err server_run_file_read(struct nk_bytes text,
                                               struct server_run_file *out_file);

/* Appends that of the server itself: the addresses are the gateway's. */
void server_run_file_write(const char *node_id, uint64_t pid, const struct server_run_file *gateway,
                           struct nk_buf *out);
