#pragma once

/* The health of one process: its loop writes, HTTP threads read, nobody waits for the disk, the
 * network or the loop.
 *
 * Threads: every field of a shard row and every number is an atomic of its own; the list of nodes
 * is an immutable block whose pointer is swapped and shared under a spin flag. */

#include "common/base/buf.h"
#include "common/env/clock.h"

#include <stdatomic.h>

enum nk_health_status {
    NK_HEALTHY = 0,
    NK_DEGRADED = 1,
    NK_UNHEALTHY = 2,
};

enum nk_shard_health {
    NK_SHARD_UNUSED = 0, /* not active: not listed */
    NK_SHARD_HEALTHY = 1,
    NK_SHARD_DEGRADED = 2,
    NK_SHARD_UNAVAILABLE = 3,
};

/* A position that this process does not know: null in the JSON. */
#define NK_HEALTH_UNKNOWN UINT64_MAX

struct nk_health_row {
    _Atomic int status; /* enum nk_shard_health */
    _Atomic bool is_leader;
    _Atomic uint64_t raft_term;
    _Atomic uint64_t commit_index; /* or NK_HEALTH_UNKNOWN */
    _Atomic uint64_t last_applied; /* or NK_HEALTH_UNKNOWN */
};

struct nk_health_node {
    char id[65];
    char addr[256];
    char role[16]; /* leader, follower, suspect, failed */
};

#define NK_HEALTH_NODES_MAX ((size_t)256)

struct nk_health;

/* `role` and `node_id` are copied.  A new board is not ready and unhealthy ("starting"). */
void nk_health_open(const struct nk_clock *clock, const char *role, const char *node_id,
                    uint32_t total_shards, struct nk_health **out_health);
void nk_health_close(struct nk_health **health);

/* ---- The loop writes ---- */

void nk_health_beat(struct nk_health *health); /* the loop is alive; at least once a second */

/* `reason` is one short word-with-dashes for people, a constant of the program that is borrowed for
 * ever: "starting", "no-gossip", "". */
void nk_health_set(struct nk_health *health, enum nk_health_status status, const char *reason);
void nk_health_set_ready(struct nk_health *health, bool ready, const char *reason);

/* Gateway only: whether shard 0 answered lately; others leave it alone. */
void nk_health_set_shard0(struct nk_health *health, bool answers);

struct nk_health_row *nk_health_row(struct nk_health *health, uint32_t shard); /* < total_shards */
void nk_health_set_nodes(struct nk_health *health, const struct nk_health_node *nodes,
                         size_t count);

/* ---- Any thread reads ---- */

bool nk_health_quick(struct nk_health *health); /* /health/quick */

/* *out_reason: the check that fails, "" if none does. */
bool nk_health_live(struct nk_health *health, const char **out_reason);  /* /healthz */
bool nk_health_ready(struct nk_health *health, const char **out_reason); /* /readyz */
enum nk_health_status nk_health_status(struct nk_health *health);

/* The JSON of /health (deploy/README.md), appended to `out`. */
void nk_health_json(struct nk_health *health, struct nk_buf *out);
