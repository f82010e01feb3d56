#pragma once

/* What a process knows of its cluster: the replica of gossip's state that arrives as a snapshot and
 * deltas.  Gossip keeps its own state in the same table.  Loop thread only. */

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/limits.h"
#include "common/service/health.h"
#include "proto/norikv/internal/v1/gossip.pb-c.h"

enum nk_member_state {
    NK_MEMBER_ALIVE = 1,
    NK_MEMBER_SUSPECT = 2,
    NK_MEMBER_FAILED = 3,
};

#define NK_CLUSTER_REPLICAS_MAX ((size_t)7)

/* One process.  (node_id, role) is unique; addresses may change with the session. */
struct nk_cluster_member {
    char node_id[65];
    char role[16];
    uint64_t session;
    char talk_address[256];
    char rpc_address[256];
    char http_address[256];
    enum nk_member_state state;
    uint32_t total_shards;  /* shardhosts */
    uint8_t cluster_id[16]; /* zero where not known yet */
};

struct nk_cluster_shard {
    uint32_t shard; /* < NK_SHARDS_MAX */
    uint64_t term;
    char leader_node[65]; /* "": none known */
    char replica_nodes[NK_CLUSTER_REPLICAS_MAX][65];
    size_t replica_count;
};

struct nk_cluster;

void nk_cluster_new(struct nk_cluster **out_cluster);
void nk_cluster_free(struct nk_cluster **cluster);

/* Takes an update.  NK_OK: applied; NK_NOT_FOUND: a number is missing or the publisher is another
 * one, ask for the whole; NK_CONFLICT: older than what is here, ignored; NK_INVALID: senseless,
 * ignored.
 *
 * The epoch never goes back: a whole state of another publisher counts as older until its epoch is
 * above ours.  That publisher learns ours with the next registration or heartbeat. */
NK_MUST_CHECK enum nk_err nk_cluster_update(struct nk_cluster *cluster,
                                            const Norikv__Internal__V1__StateUpdate *update);

uint64_t nk_cluster_publisher(const struct nk_cluster *cluster); /* 0: nothing known yet */
uint64_t nk_cluster_sequence(const struct nk_cluster *cluster);  /* of the last update */
uint64_t nk_cluster_epoch(const struct nk_cluster *cluster);     /* 0: nothing known yet */

/* Members by (node_id, role), shards by number; pointers are borrowed until the next update. */
size_t nk_cluster_member_count(const struct nk_cluster *cluster);
const struct nk_cluster_member *nk_cluster_member_at(const struct nk_cluster *cluster, size_t i);
const struct nk_cluster_member *nk_cluster_member(const struct nk_cluster *cluster,
                                                  const char *node_id, const char *role);
size_t nk_cluster_shard_count(const struct nk_cluster *cluster);
const struct nk_cluster_shard *nk_cluster_shard_at(const struct nk_cluster *cluster, size_t i);
const struct nk_cluster_shard *nk_cluster_shard(const struct nk_cluster *cluster, uint32_t shard);

/* What the cluster's data was created with: of the live shardhosts; 0 while none is known. */
uint32_t nk_cluster_total_shards(const struct nk_cluster *cluster);

/* ---- What the outside is told (cluster_view.c) ---- */

/* One entry per node that holds data, in the order of node ids: its id, the gRPC address that
 * clients should use for it (of its own gateway, else of the first live one, "" while there is
 * none), and leader, follower, suspect or failed.  Returns how many were written. */
size_t nk_cluster_nodes(const struct nk_cluster *cluster, struct nk_health_node *out_nodes,
                        size_t capacity);

/* Shows the same on a process's health board. */
void nk_cluster_show_nodes(const struct nk_cluster *cluster, struct nk_health *health);

/* Appends the norikv.v1.ClusterView, packed. */
void nk_cluster_view_pack(const struct nk_cluster *cluster, struct nk_buf *out);

/* Appends the same as JSON: the body of /meta/cluster. */
void nk_cluster_view_json(const struct nk_cluster *cluster, struct nk_buf *out);

/* Appends every process with an HTTP address in the form of Prometheus' HTTP service discovery: the
 * body of /meta/targets. */
void nk_cluster_targets_json(const struct nk_cluster *cluster, struct nk_buf *out);

/* ---- The publisher's side ---- */

/* Adds or replaces one entry.  NK_BUSY: NK_MEMBERS_MAX are here, nothing changed. */
NK_MUST_CHECK enum nk_err nk_cluster_put_member(struct nk_cluster *cluster,
                                                const struct nk_cluster_member *member);
void nk_cluster_remove_member(struct nk_cluster *cluster, const char *node_id, const char *role);
void nk_cluster_put_shard(struct nk_cluster *cluster, const struct nk_cluster_shard *shard);

/* Who says so, in which update, in which epoch. */
void nk_cluster_stamp(struct nk_cluster *cluster, uint64_t publisher, uint64_t sequence,
                      uint64_t epoch);

/* ---- To and from messages (cluster_wire.c) ---- */

bool nk_cluster_node_id_valid(const char *node_id); /* 1..64 of [A-Za-z0-9._-] */
bool nk_cluster_role_valid(const char *role);       /* 1..15 of [a-z] */

/* Strict: NK_INVALID for anything that the other direction does not make. */
NK_MUST_CHECK enum nk_err nk_cluster_member_read(const Norikv__Internal__V1__Member *message,
                                                 struct nk_cluster_member *out_member);
NK_MUST_CHECK enum nk_err nk_cluster_shard_read(const Norikv__Internal__V1__ShardState *message,
                                                struct nk_cluster_shard *out_shard);

/* The message borrows the struct; `replicas` has room for NK_CLUSTER_REPLICAS_MAX names. */
void nk_cluster_member_write(const struct nk_cluster_member *member,
                             Norikv__Internal__V1__Member *out_message);
void nk_cluster_shard_write(const struct nk_cluster_shard *shard, char **replicas,
                            Norikv__Internal__V1__ShardState *out_message);
