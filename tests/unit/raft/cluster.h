#pragma once

/* A whole Raft group in memory: nodes, a network, disks and a clock, all driven by one seed.
 *
 * The host of each node does exactly what raft_ready demands.  Its disk writes persists in order,
 * each after a delay, and a crash keeps what was written plus an arbitrary beginning of what was
 * under way.  After every step the safety properties of thesis figure 3.2 are checked, and that
 * leases and reads never miss a commit; the first violation is kept as text. */

#include "services/shardhost/raft/raft.h"

#define CLUSTER_PAYLOAD_BYTES_MAX ((size_t)40)

struct cluster_options {
    size_t node_count; /* members 1 .. node_count */
    uint64_t seed;
    uint32_t delay_ms_min; /* network, one way */
    uint32_t delay_ms_max;
    uint32_t disk_ms_min; /* from a ready to its report */
    uint32_t disk_ms_max;
    uint32_t apply_ms_max;
    uint32_t drop_per_million;
    uint32_t duplicate_per_million;
    uint32_t flush_per_million; /* after an apply: the state machine becomes durable */
    uint32_t entries_per_append_max;
    size_t unapplied_bytes_max;
    size_t retained_bytes_max;

    /* One line for everything worth seeing; NULL: nobody looks. */
    void (*trace)(void *trace_ctx, uint64_t now_ms, const char *line);
    void *trace_ctx;
    bool trace_heartbeats; /* also appends without entries, and answers that tell nothing new */
    bool trace_disks;      /* also what has become durable and what has been applied */
};

/* Fast, reliable defaults: 10 ms network, 2 ms disk, election timeout 1000..2000 ms. */
struct cluster_options cluster_options_calm(size_t node_count, uint64_t seed);

struct cluster;

struct cluster *cluster_open(const struct cluster_options *options);
void cluster_close(struct cluster **cluster);

uint64_t cluster_now_ms(const struct cluster *cluster);
void cluster_advance(struct cluster *cluster, uint64_t span_ms);

/* Network faults end, those of the disk do not come back; partitions stay as they are. */
void cluster_calm(struct cluster *cluster);

/* Messages from `from` to `to` are lost, also those under way, until healed. */
void cluster_cut(struct cluster *cluster, raft_id from, raft_id to);
void cluster_isolate(struct cluster *cluster, raft_id id); /* both ways, to and from everybody */
void cluster_heal(struct cluster *cluster);

/* The disk of `id` finishes nothing until released. */
void cluster_disk_hold(struct cluster *cluster, raft_id id, bool held);

void cluster_crash(struct cluster *cluster, raft_id id);
void cluster_restart(struct cluster *cluster, raft_id id);
bool cluster_alive(const struct cluster *cluster, raft_id id);

void cluster_campaign(struct cluster *cluster, raft_id id);
enum nk_err cluster_propose(struct cluster *cluster, raft_id id, struct nk_bytes payload);
enum nk_err cluster_read(struct cluster *cluster, raft_id id, uint64_t read_id);

void cluster_status(const struct cluster *cluster, raft_id id, struct raft_status *out_status);
void cluster_describe(const struct cluster *cluster, raft_id id, struct nk_text *out);

raft_id cluster_leader(const struct cluster *cluster);        /* of the highest term; 0: none */
raft_index cluster_commit_max(const struct cluster *cluster); /* that any node ever knew */

/* Every node is alive and has applied the same, up to cluster_commit_max. */
bool cluster_converged(const struct cluster *cluster);

/* Reads asked and not answered on nodes that have been alive since. */
size_t cluster_reads_open(const struct cluster *cluster);

/* The first violated property; NULL: none so far. */
const char *cluster_violation(const struct cluster *cluster);

/* Changes with everything that happened: the same seed must give the same number. */
uint64_t cluster_trace_hash(const struct cluster *cluster);
