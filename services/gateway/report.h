#pragma once

/* What this gateway tells about its health: the rows and nodes of /health from the cluster's state,
 * /health/quick from the probe of shard 0, readiness and the overall status from both.
 *
 * Ready: the cluster is known and shard 0 answered the last probe, or a shardhost that serves said
 * that it is fenced: the other shards can be used (README.md, D4).  Gossip may be gone: reads and
 * writes go on without it, so that is only a degradation.  Loop thread only. */

#include "common/service/health.h"
#include "services/gateway/router.h"

struct gateway_report {
    struct nk_health *health;
    const char *node_id; /* our own; borrowed */
    bool has_shardhost;  /* one that can be asked is known */
    bool whole;          /* every node is alive and every shard in use has its leader */
    bool shard0;         /* it answers */
    bool shard0_fenced;  /* it does not, and never will by itself */
    bool registered;
    bool stopping;
    bool changed; /* since the last show */
};

void gateway_report_init(struct gateway_report *report, struct nk_health *health,
                         const char *node_id);
void gateway_report_follow(struct gateway_report *report, const struct nk_cluster *cluster,
                           const struct gateway_router *router);

/* How the last probe of shard 0 ended. */
void gateway_report_shard0(struct gateway_report *report, enum nk_err err);
void gateway_report_stop(struct gateway_report *report);

/* Publishes what changed; every tick. */
void gateway_report_show(struct gateway_report *report, bool registered);
