#pragma once

/* The gossip role: the registry of all other processes and the cluster's state that it tells them.
 * How: README.md. */

#include "common/env/http.h"
#include "common/service/service.h"

extern const struct nk_role_ops gossip_role_ops;

struct gossip; /* the role */

/* Routes /meta/cluster and /meta/targets.  Valid while the role is; any thread. */
struct nk_http_handler gossip_http_handler(struct gossip *gossip);

/* The bodies of the two, appended to `out`: as of at most a tenth of a second ago.  Any thread. */
void gossip_cluster_json(struct gossip *gossip, struct nk_buf *out);
void gossip_targets_json(struct gossip *gossip, struct nk_buf *out);
