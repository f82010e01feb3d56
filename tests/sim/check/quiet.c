/* A node that nobody wants anything from: every process is well and ready, the cluster view shows
 * what there is, nothing waits, and on the disk is what must be there and not more. */

#include "common/observe/observe.h"
#include "services/gateway/gateway.h"
#include "services/gossip/gossip.h"
#include "tests/sim/sim.h"
#include "tests/sim/workload.h"

#include <stdlib.h>

/* Beyond what shardhost/host.c calls calm: what a flush under way still holds. */
#define SEGMENTS_MAX 8

static bool healthy(struct sim_process *process, struct nk_text *reason)
{
    nk_text_add(reason, process->ops->name);
    if (process->role == NULL) {
        nk_text_add(reason, " is not running");
        return false;
    }
    const char *why = "";
    if (nk_health_ready(process->health, &why) && nk_health_status(process->health) == NK_HEALTHY) {
        return true;
    }
    nk_text_add(reason, " is not healthy: ");
    nk_text_add(reason, why);
    nk_text_add(reason, " ");
    struct nk_buf json = {0};
    nk_health_json(process->health, &json);
    nk_text_add_bytes(reason, nk_buf_bytes(&json));
    nk_buf_deinit(&json);
    return false;
}

/* The value of a series without labels; -1: there is none. */
static double metric(struct sim_process *process, const char *name)
{
    struct nk_buf text = {0};
    nk_registry_render(process->metrics, NK_METRICS_TEXT, &text);
    nk_buf_append_u8(&text, '\0');
    double value = -1;
    size_t size = strlen(name);
    for (const char *line = (const char *)text.data; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, size) == 0 && line[size] == ' ') {
            value = strtod(line + size, NULL);
        }
        if (*line == '\0') {
            break;
        }
    }
    nk_buf_deinit(&text);
    return value;
}

static bool at_most(struct sim_process *process, const char *name, double limit,
                    struct nk_text *reason)
{
    double value = metric(process, name);
    if (value >= 0 && value <= limit) {
        return true;
    }
    nk_text_add(reason, name);
    if (value < 0) {
        nk_text_add(reason, " is missing or negative");
    } else {
        nk_text_add(reason, " is ");
        nk_text_add_u64(reason, (uint64_t)value);
    }
    return false;
}

/* The texts that operators read are there, and of this node. */
static bool has_text(struct nk_buf *text, const char *what, struct nk_text *reason)
{
    nk_buf_append_u8(text, '\0');
    bool has = strstr((const char *)text->data, "node0") != NULL;
    if (!has) {
        nk_text_add(reason, what);
        nk_text_add(reason, " does not name the node");
    }
    nk_buf_deinit(text);
    return has;
}

static bool tells(struct sim_world *world, struct nk_text *reason)
{
    struct nk_buf text = {0};
    gateway_view_json(world->processes[SIM_GATEWAY].role, &text);
    if (!has_text(&text, "the gateway's view", reason)) {
        return false;
    }
    gossip_cluster_json(world->processes[SIM_GOSSIP].role, &text);
    if (!has_text(&text, "gossip's view", reason)) {
        return false;
    }
    for (enum sim_role which = 0; which < SIM_ROLE_COUNT; which++) {
        nk_health_json(world->processes[which].health, &text);
        if (!has_text(&text, "health", reason)) {
            return false;
        }
    }
    return true;
}

bool sim_quiet(struct sim_world *world, struct nk_text *reason)
{
    for (enum sim_role which = 0; which < SIM_ROLE_COUNT; which++) {
        size_t size = reason->size;
        if (!healthy(&world->processes[which], reason)) {
            return false;
        }
        reason->size = size;
        reason->data[size] = '\0';
    }
    return sim_watchers_quiet(world, reason) && tells(world, reason) &&
           at_most(&world->processes[SIM_GATEWAY], "gateway_inflight_requests", 1, reason) &&
           at_most(&world->processes[SIM_SHARDHOST], "wal_segment_count", SEGMENTS_MAX, reason);
}
