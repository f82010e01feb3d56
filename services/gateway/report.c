#include "services/gateway/report.h"

static const char *missing_of(const struct gateway_report *report);
static bool show_row(struct gateway_report *report, const struct nk_cluster_shard *shard,
                     const struct gateway_router *router);
static void set_row(struct nk_health_row *row, enum nk_shard_health status, uint64_t term,
                    bool is_leader);

void gateway_report_init(struct gateway_report *report, struct nk_health *health,
                         const char *node_id)
{
    *report = (struct gateway_report){.health = health, .node_id = node_id, .changed = true};
}

void gateway_report_follow(struct gateway_report *report, const struct nk_cluster *cluster,
                           const struct gateway_router *router)
{
    nk_cluster_show_nodes(cluster, report->health);
    report->has_shardhost = false;
    report->whole = true;
    for (size_t i = 0; i < router->node_count; i++) {
        const struct gateway_node *node = &router->nodes[i];
        if (node->session != 0) {
            report->has_shardhost = report->has_shardhost || node->state != NK_MEMBER_FAILED;
            report->whole = report->whole && node->state == NK_MEMBER_ALIVE;
        }
    }
    for (uint32_t i = 0; i < router->total_shards; i++) {
        const struct nk_cluster_shard *shard = nk_cluster_shard(cluster, i);
        if (shard == NULL) {
            set_row(nk_health_row(report->health, i), NK_SHARD_UNUSED, 0, false);
        } else {
            report->whole = show_row(report, shard, router) && report->whole;
        }
    }
    report->changed = true;
}

void gateway_report_shard0(struct gateway_report *report, enum nk_err err)
{
    bool answers = err == NK_OK;
    bool fenced = err == NK_FENCED;
    nk_health_set_shard0(report->health, answers);
    report->changed =
        report->changed || report->shard0 != answers || report->shard0_fenced != fenced;
    report->shard0 = answers;
    report->shard0_fenced = fenced;
}

void gateway_report_stop(struct gateway_report *report)
{
    report->stopping = true;
    report->changed = true;
}

void gateway_report_show(struct gateway_report *report, bool registered)
{
    if (!report->changed && report->registered == registered) {
        return;
    }
    report->registered = registered;
    report->changed = false;
    const char *missing = missing_of(report);
    bool serves = missing[0] == '\0';
    nk_health_set_ready(report->health, serves, missing);
    if (!serves) {
        nk_health_set(report->health, NK_UNHEALTHY, missing);
    } else if (!registered) {
        nk_health_set(report->health, NK_DEGRADED, "no-gossip");
    } else if (!report->whole || report->shard0_fenced) {
        nk_health_set(report->health, NK_DEGRADED, "cluster-not-whole");
    } else {
        nk_health_set(report->health, NK_HEALTHY, "");
    }
}

/* What keeps this gateway from serving; "" nothing does. */
static const char *missing_of(const struct gateway_report *report)
{
    if (report->stopping) {
        return "stopping";
    }
    if (!report->has_shardhost) {
        return "no-shardhost";
    }
    return report->shard0 || report->shard0_fenced ? "" : "shard-0";
}

/* True: the shard has its leader and all its replicas. */
static bool show_row(struct gateway_report *report, const struct nk_cluster_shard *shard,
                     const struct gateway_router *router)
{
    enum nk_shard_health status = NK_SHARD_UNAVAILABLE;
    if (gateway_router_has_leader(router, shard->shard)) {
        status = NK_SHARD_HEALTHY;
        const struct gateway_route *route = &router->routes[shard->shard];
        for (uint32_t i = 0; i < route->replica_count; i++) {
            uint32_t node = route->replicas[i];
            if (node == GATEWAY_NODE_NONE || router->nodes[node].state != NK_MEMBER_ALIVE) {
                status = NK_SHARD_DEGRADED;
            }
        }
    }
    set_row(nk_health_row(report->health, shard->shard), status, shard->term,
            strcmp(shard->leader_node, report->node_id) == 0);
    return status == NK_SHARD_HEALTHY;
}

/* The positions of a shard's log are its host's to know and to tell. */
static void set_row(struct nk_health_row *row, enum nk_shard_health status, uint64_t term,
                    bool is_leader)
{
    atomic_store_explicit(&row->status, (int)status, memory_order_relaxed);
    atomic_store_explicit(&row->raft_term, term, memory_order_relaxed);
    atomic_store_explicit(&row->is_leader, is_leader, memory_order_relaxed);
    atomic_store_explicit(&row->commit_index, NK_HEALTH_UNKNOWN, memory_order_relaxed);
    atomic_store_explicit(&row->last_applied, NK_HEALTH_UNKNOWN, memory_order_relaxed);
}
