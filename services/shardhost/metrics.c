/* What a shardhost says about itself; names and labels are the contract's (deploy/README.md).
 *
 * Series of a shard appear when it is first used.  Meters live until the role ends; nobody renders
 * after that. */

#include <stdio.h>

#include "common/base/alloc.h"
#include "services/shardhost/host.h"

struct shard_meters {
    struct nk_gauge commit_index;
    struct nk_gauge term;
    struct nk_gauge leader;
    struct nk_gauge memtable_bytes;
    struct nk_gauge table_count[LSM_LEVEL_COUNT];
    struct nk_counter leader_changes;
};

struct host_meters {
    struct nk_counter elections;
    struct nk_counter dropped_frames;
    struct nk_counter dropped_replies;
    struct nk_gauge disk_free_bytes;
    struct nk_gauge pending_requests;
    struct nk_gauge fenced_shards;
    struct nk_gauge pending_bytes;
    struct nk_gauge stalled;
    struct nk_histogram commit;
    struct nk_histogram apply;
    struct nk_histogram read_index;
    struct nk_histogram sync;
};

static const char *const level_names[] = {"0", "1", "2", "3", "4", "5", "6"};

static_assert(NK_COUNT_OF(level_names) == LSM_LEVEL_COUNT, "a name for each level");

/* A compaction takes from about a millisecond to minutes. */
static const uint64_t compaction_bounds_us[] = {
    1000, 4000, 16000, 64000, 256000, 1000000, 4000000, 8000000, 16000000, 64000000, 256000000,
};

static_assert(NK_COUNT_OF(compaction_bounds_us) <= NK_HISTOGRAM_BUCKETS_MAX, "they fit");

static void add_compaction_times(struct nk_registry *registry, struct lsm_stats *lsm)
{
    for (size_t i = 0; i < 2 * LSM_LEVEL_COUNT; i++) {
        bool failed = i % 2 == 1;
        struct nk_histogram *histogram = &lsm->compaction_us[i / 2][failed];
        struct nk_metric metric = {
            .name = "lsm_compaction_duration_ms",
            .help = "From the start of a compaction to its end, by the level it goes to.",
            .labels = {{"level", level_names[i / 2]}, {"result", failed ? "error" : "success"}},
            .scale = NK_SCALE_US_AS_MS,
        };
        nk_histogram_init(histogram, compaction_bounds_us, NK_COUNT_OF(compaction_bounds_us));
        (void)nk_registry_add_histogram(registry, &metric, histogram);
    }
}

void metrics_open(struct host *host)
{
    struct host_meters *meters = nk_alloc_zero(1, sizeof *meters);
    struct nk_registry *registry = host->context->metrics;
    struct lsm_stats *lsm = lsm_engine_stats(host->engine);
    host->meters = meters;
    nk_registry_latency(registry, "raft_commit_ms", "From a proposal to its commit.",
                        &meters->commit);
    nk_registry_latency(registry, "raft_apply_ms", "Applying the entries of one commit.",
                        &meters->apply);
    nk_registry_latency(registry, "read_index_ms", "From a get to its confirmed read point.",
                        &meters->read_index);
    nk_registry_latency(registry, "wal_fsync_ms", "One round of the raft log: write and sync.",
                        &meters->sync);
    nk_registry_counter(registry, "raft_elections_total", "Elections won by this process.",
                        &meters->elections);
    nk_registry_counter(registry, "shardhost_dropped_frames_total", "Frames that made no sense.",
                        &meters->dropped_frames);
    nk_registry_counter(registry, "shardhost_dropped_replies_total",
                        "Answers for gateways that were gone or did not read.",
                        &meters->dropped_replies);
    nk_registry_gauge(registry, "shardhost_pending_requests", "Requests that wait for an answer.",
                      &meters->pending_requests);
    nk_registry_gauge(registry, "shardhost_fenced_shards",
                      "Shards that serve nothing because their data is damaged.",
                      &meters->fenced_shards);
    nk_registry_gauge(registry, "shardhost_pending_bytes",
                      "Bytes of requests that wait and of entries that are not applied.",
                      &meters->pending_bytes);
    nk_registry_gauge(registry, "shardhost_disk_stalled",
                      "1 while a round of the raft log or a call for a table has been running for "
                      "seconds.",
                      &meters->stalled);
    nk_registry_gauge(registry, "disk_free_bytes", "Free space of the file system of data_dir.",
                      &meters->disk_free_bytes);
    nk_registry_counter(registry, "lsm_block_cache_hits_total",
                        "Blocks that reads found in memory.", &lsm->cache_hits);
    nk_registry_counter(registry, "lsm_block_cache_misses_total",
                        "Blocks that reads fetched from the disk.", &lsm->cache_misses);
    nk_registry_gauge(registry, "lsm_block_cache_bytes", "Size of the block cache.",
                      &lsm->cache_bytes);
    nk_registry_counter(registry, "lsm_flushes_total", "Memtables written to tables.",
                        &lsm->flushes);
    nk_registry_counter(registry, "lsm_flushed_bytes_total", "Bytes of tables written by flushes.",
                        &lsm->flushed_bytes);
    nk_registry_counter(registry, "lsm_compactions_total", "Compactions installed.",
                        &lsm->compactions);
    nk_registry_counter(registry, "lsm_compacted_bytes_total",
                        "Bytes of tables written by compactions.", &lsm->compacted_bytes);
    nk_registry_gauge(registry, "lsm_compaction_debt_bytes",
                      "What compaction has to write until every level has its size, about.",
                      &lsm->compaction_debt_bytes);
    add_compaction_times(registry, lsm);
}

/* The log's own numbers; after recovery has opened it. */
void metrics_log_open(struct host *host)
{
    struct nk_registry *registry = host->context->metrics;
    struct raftlog_stats *log = raftlog_stats(host->log);
    nk_registry_counter(registry, "wal_records_total", "Records written to the raft log.",
                        &log->records);
    nk_registry_counter(registry, "wal_bytes_total", "Bytes written to the raft log.", &log->bytes);
    nk_registry_gauge(registry, "wal_segment_count", "Segments of the raft log.", &log->segments);
}

void metrics_close(struct host *host)
{
    nk_free(host->meters);
    host->meters = NULL;
}

static struct nk_metric of_shard(const char *name, const char *help, const char *id)
{
    struct nk_metric metric = {.name = name, .help = help, .labels = {{"shard_id", id}}};
    return metric;
}

void metrics_shard_open(struct shard *shard)
{
    struct shard_meters *meters = nk_alloc_zero(1, sizeof *meters);
    struct nk_registry *registry = shard->host->context->metrics;
    char id[16];
    (void)snprintf(id, sizeof id, "%u", shard->id);
    shard->meters = meters;
    struct nk_metric metric = of_shard("raft_commit_index", "Last committed entry.", id);
    metric.labels[1] = (struct nk_metric_label){"node_id", shard->host->config->node_id};
    (void)nk_registry_add_gauge(registry, &metric, &meters->commit_index);
    metric = of_shard("raft_term", "Current term.", id);
    (void)nk_registry_add_gauge(registry, &metric, &meters->term);
    metric = of_shard("raft_leader", "1 if this replica leads.", id);
    (void)nk_registry_add_gauge(registry, &metric, &meters->leader);
    metric = of_shard("raft_leader_changes_total", "Leaders seen by this replica.", id);
    (void)nk_registry_add_counter(registry, &metric, &meters->leader_changes);
    metric = of_shard("lsm_memtable_size_bytes", "Memtables in memory.", id);
    (void)nk_registry_add_gauge(registry, &metric, &meters->memtable_bytes);
    for (size_t i = 0; i < LSM_LEVEL_COUNT; i++) {
        metric = of_shard("lsm_sstable_count", "Tables of a level.", id);
        metric.labels[1] = metric.labels[0];
        metric.labels[0] = (struct nk_metric_label){"level", level_names[i]};
        (void)nk_registry_add_gauge(registry, &metric, &meters->table_count[i]);
    }
}

void metrics_shard_close(struct shard *shard)
{
    nk_free(shard->meters);
    shard->meters = NULL;
}

void metrics_shard_update(struct shard *shard, const struct raft_status *status)
{
    bool leads = status->role == RAFT_ROLE_LEADER;
    nk_gauge_set(&shard->meters->commit_index, (int64_t)status->commit);
    nk_gauge_set(&shard->meters->term, (int64_t)status->term);
    nk_gauge_set(&shard->meters->leader, leads);
    struct nk_health_row *row = nk_health_row(shard->host->context->health, shard->id);
    atomic_store_explicit(&row->status, leads ? NK_SHARD_HEALTHY : NK_SHARD_DEGRADED,
                          memory_order_relaxed);
    atomic_store_explicit(&row->is_leader, leads, memory_order_relaxed);
    atomic_store_explicit(&row->raft_term, status->term, memory_order_relaxed);
    atomic_store_explicit(&row->commit_index, status->commit, memory_order_relaxed);
    atomic_store_explicit(&row->last_applied, status->applied, memory_order_relaxed);
}

void metrics_fenced(struct shard *shard)
{
    struct host *host = shard->host;
    struct nk_health_row *row = nk_health_row(host->context->health, shard->id);
    nk_gauge_set(&host->meters->fenced_shards, (int64_t)host->fenced_count);
    nk_gauge_set(&shard->meters->leader, 0);
    atomic_store_explicit(&row->status, NK_SHARD_UNAVAILABLE, memory_order_relaxed);
    atomic_store_explicit(&row->is_leader, false, memory_order_relaxed);
}

void metrics_elected(struct shard *shard)
{
    nk_counter_add(&shard->meters->leader_changes, 1);
    nk_counter_add(&shard->host->meters->elections, 1);
}

void metrics_round(struct host *host, uint64_t took_us)
{
    nk_histogram_observe(&host->meters->sync, took_us);
}

void metrics_stalled(struct host *host)
{
    nk_gauge_set(&host->meters->stalled, host->round_stalled || host->call_stalled_us != 0);
}

void metrics_committed(struct shard *shard, uint64_t took_us)
{
    nk_histogram_observe(&shard->host->meters->commit, took_us);
}

void metrics_applied(struct host *host, uint64_t took_us)
{
    nk_histogram_observe(&host->meters->apply, took_us);
}

void metrics_read_index(struct host *host, uint64_t took_us)
{
    nk_histogram_observe(&host->meters->read_index, took_us);
}

void metrics_dropped_frame(struct host *host)
{
    nk_counter_add(&host->meters->dropped_frames, 1);
}

void metrics_dropped_replies(struct host *host, size_t count)
{
    nk_counter_add(&host->meters->dropped_replies, count);
}

void metrics_housekeeping(struct host *host, uint64_t free_bytes)
{
    nk_gauge_set(&host->meters->disk_free_bytes, (int64_t)free_bytes);
    nk_gauge_set(&host->meters->pending_requests, (int64_t)host->pending_count);
    nk_gauge_set(&host->meters->pending_bytes, (int64_t)host_bytes(host));
    for (struct nk_list *at = host->shards.next; at != &host->shards; at = at->next) {
        struct shard *shard = NK_CONTAINER_OF(at, struct shard, link);
        if (shard->db == NULL) {
            continue; /* fenced at the start */
        }
        struct lsm_shape shape;
        lsm_get_shape(shard->db, &shape);
        nk_gauge_set(&shard->meters->memtable_bytes, (int64_t)shape.memtable_bytes);
        for (size_t i = 0; i < LSM_LEVEL_COUNT; i++) {
            nk_gauge_set(&shard->meters->table_count[i], (int64_t)shape.levels[i].table_count);
        }
    }
}
