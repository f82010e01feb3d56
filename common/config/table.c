/* The table of all keys.  Bounds are inside those of common/base/limits.h; a default is written as
 * a user would write it and goes through the same parser. */

#include "table.h"

#include "common/base/assert.h"
#include "common/base/limits.h"

static const char *const level_choices[] = {"debug", "info", "warn", "error", NULL};
static const char *const format_choices[] = {"json", "text", NULL};
static const char *const compression_choices[] = {"none", "lz4", "zstd", NULL};

#define FIELD(member) offsetof(struct nk_config, member), sizeof(((struct nk_config *)NULL)->member)

#define MS_MAX        ((uint64_t)10 * 60 * 1000)
#define BYTES_MAX     (1024 * NK_GIB)

static const struct config_key keys[] = {
    {.name = "node_id",
     .type = CONFIG_NODE_ID,
     FIELD(node_id),
     .min = 1,
     .max = NK_NODE_ID_BYTES_MAX,
     .flag = "--node-id",
     .help = "name of this node, unique in the cluster"},
    {.name = "rpc_addr",
     .type = CONFIG_ADDRESS,
     FIELD(rpc_addr),
     .fallback = "0.0.0.0:7447",
     .max = UINT16_MAX,
     .flag = "--rpc-addr",
     .flag_alias = "--grpc-addr",
     .help = "where the gateway serves gRPC; port 0: any free one"},
    {.name = "http_addr",
     .type = CONFIG_ADDRESS,
     FIELD(http_addr),
     .fallback = "0.0.0.0:8080",
     .max = UINT16_MAX,
     .flag = "--http-addr",
     .help = "where this process serves HTTP; port 0: any free one"},
    {.name = "advertise_rpc_addr",
     .type = CONFIG_ADDRESS,
     FIELD(advertise_rpc_addr),
     .fallback = "",
     .min = 1,
     .max = UINT16_MAX,
     .help = "what clients are told to connect to; empty: advertise_host and the port of rpc_addr"},
    {.name = "advertise_host",
     .type = CONFIG_HOST,
     FIELD(advertise_host),
     .fallback = "",
     .help =
         "what others are told as the host of this process (gRPC, HTTP, bus on TCP); empty: the "
         "one it listens at, or this machine's host name where that is 0.0.0.0 or [::]"},
    {.name = "data_dir",
     .type = CONFIG_PATH,
     FIELD(data_dir),
     .min = 1,
     .max = NK_PATH_BYTES_MAX / 2,
     .flag = "--data-dir",
     .help = "directory of all data, created if missing"},

    {.name = "bus.addr",
     .type = CONFIG_BUS_ADDRESS,
     FIELD(bus.addr),
     .fallback = "ipc",
     .max = UINT16_MAX,
     .help = "where this process listens for the cluster's processes: ipc (a socket below "
             "data_dir/run) or host:port"},
    {.name = "bus.gossip_addrs",
     .type = CONFIG_LINK_LIST,
     FIELD(bus.gossip_addrs),
     .fallback = "",
     .min = 1,
     .max = UINT16_MAX,
     .help = "bus addresses of gossip processes, tcp://host:port or ipc://path; empty: the one of "
             "this data_dir"},

    {.name = "cluster.seed_nodes",
     .type = CONFIG_ADDRESS_LIST,
     FIELD(cluster.seed_nodes),
     .fallback = "",
     .min = 1,
     .max = UINT16_MAX,
     .flag = "--seed-nodes",
     .unused = true,
     .help = "nodes of a cluster to join; must be empty in this version"},
    {.name = "cluster.total_shards",
     .type = CONFIG_NUMBER,
     FIELD(cluster.total_shards),
     .fallback = "1024",
     .min = 1,
     .max = NK_SHARDS_MAX,
     .flag = "--total-shards",
     .help = "number of shards, fixed when the cluster is created"},
    {.name = "cluster.replication_factor",
     .type = CONFIG_NUMBER,
     FIELD(cluster.replication_factor),
     .fallback = "3",
     .min = 1,
     .max = 7,
     .flag = "--replication-factor",
     .unused = true,
     .help = "replicas of each shard; fewer nodes than that: one on each"},

    {.name = "server.http_port_step",
     .type = CONFIG_NUMBER,
     FIELD(server.http_port_step),
     .fallback = "100",
     .max = 20000,
     .help =
         "under norikv-server, shardhost, gossip and admin serve HTTP on the gateway's port + 1, "
         "2, 3 steps; 0: any free port"},

    {.name = "telemetry.prometheus.enabled",
     .type = CONFIG_BOOL,
     FIELD(telemetry.prometheus.enabled),
     .fallback = "true",
     .help = "whether /metrics is served"},

    {.name = "raft.heartbeat_ms",
     .type = CONFIG_MS,
     FIELD(raft.heartbeat_ms),
     .fallback = "150",
     .min = 1,
     .max = MS_MAX,
     .help = "how often a leader is heard from; no effect with one replica"},
    {.name = "raft.election_timeout_min_ms",
     .type = CONFIG_MS,
     FIELD(raft.election_timeout_min_ms),
     .fallback = "1000",
     .min = 1,
     .max = MS_MAX,
     .help = "silence after which a follower may campaign, at the earliest; no effect with one "
             "replica"},
    {.name = "raft.election_timeout_max_ms",
     .type = CONFIG_MS,
     FIELD(raft.election_timeout_max_ms),
     .fallback = "2000",
     .min = 1,
     .max = MS_MAX,
     .help = "and at the latest; no effect with one replica"},
    {.name = "raft.lease_ms",
     .type = CONFIG_MS,
     FIELD(raft.lease_ms),
     .fallback = "900",
     .min = 1,
     .max = MS_MAX,
     .help = "how long a leader may answer reads after it heard from a majority; at most 90 % of "
             "raft.election_timeout_min_ms; no effect with one replica"},
    {.name = "raft.max_entries_per_append",
     .type = CONFIG_NUMBER,
     FIELD(raft.max_entries_per_append),
     .fallback = "1000",
     .min = 1,
     .max = 100000,
     .unused = true,
     .help = "entries in one message to a follower"},
    {.name = "raft.snapshot_log_bytes",
     .type = CONFIG_BYTES,
     FIELD(raft.snapshot_log_bytes),
     .fallback = "256MiB",
     .min = NK_MIB,
     .max = BYTES_MAX,
     .unused = true,
     .help = "log behind which a follower gets a snapshot instead"},
    {.name = "raft.snapshot_entry_count",
     .type = CONFIG_NUMBER,
     FIELD(raft.snapshot_entry_count),
     .fallback = "1000000",
     .min = 1,
     .max = UINT32_MAX,
     .unused = true,
     .help = "the same in entries"},
    {.name = "raft.snapshot_chunk_bytes",
     .type = CONFIG_BYTES,
     FIELD(raft.snapshot_chunk_bytes),
     .fallback = "1MiB",
     .min = 4 * NK_KIB,
     .max = NK_FRAME_BYTES_MAX / 2,
     .unused = true,
     .help = "size of the pieces in which a snapshot travels"},
    {.name = "raft.max_pending_read_index",
     .type = CONFIG_NUMBER,
     FIELD(raft.max_pending_read_index),
     .fallback = "1000",
     .min = 1,
     .max = 1000000,
     .unused = true,
     .help = "reads of one shard that wait for their read index"},
    {.name = "raft.apply_batch_size",
     .type = CONFIG_NUMBER,
     FIELD(raft.apply_batch_size),
     .fallback = "100",
     .min = 1,
     .max = 100000,
     .unused = true,
     .help = "entries applied before the loop looks at other work"},
    {.name = "raft.segment_bytes",
     .type = CONFIG_BYTES,
     FIELD(raft.segment_bytes),
     .fallback = "128MiB",
     .min = 4 * NK_MIB,
     .max = 4 * NK_GIB,
     .help = "size of one file of the log that all shards share"},

    {.name = "lsm.fanout",
     .type = CONFIG_NUMBER,
     FIELD(lsm.fanout),
     .fallback = "10",
     .min = 2,
     .max = 100,
     .help = "how much larger each level is than the one above"},
    {.name = "lsm.max_levels",
     .type = CONFIG_NUMBER,
     FIELD(lsm.max_levels),
     .fallback = "7",
     .min = 2,
     .max = 7,
     .help = "levels of a tree"},
    {.name = "lsm.l0_slowdown_files",
     .type = CONFIG_NUMBER,
     FIELD(lsm.l0_slowdown_files),
     .fallback = "6",
     .min = 1,
     .max = 1000,
     .help = "files in level 0 from which on writes are slowed down"},
    {.name = "lsm.l0_stop_files",
     .type = CONFIG_NUMBER,
     FIELD(lsm.l0_stop_files),
     .fallback = "12",
     .min = 2,
     .max = 1000,
     .help = "files in level 0 from which on writes wait"},
    {.name = "lsm.table_bytes",
     .type = CONFIG_BYTES,
     FIELD(lsm.table_bytes),
     .fallback = "16MiB",
     .min = 256 * NK_KIB,
     .max = NK_GIB,
     .help = "size at which compaction closes a table"},
    {.name = "lsm.memtable_bytes",
     .type = CONFIG_BYTES,
     FIELD(lsm.memtable_bytes),
     .fallback = "64MiB",
     .min = 64 * NK_KIB,
     .max = 512 * NK_MIB,
     .help = "cap of one shard's memtable"},
    {.name = "lsm.write_buffer_total_bytes",
     .type = CONFIG_BYTES,
     FIELD(lsm.write_buffer_total_bytes),
     .fallback = "256MiB",
     .min = 64 * NK_KIB,
     .max = BYTES_MAX,
     .help = "all memtables of the process together"},
    {.name = "lsm.block_cache_bytes",
     .type = CONFIG_BYTES,
     FIELD(lsm.block_cache_bytes),
     .fallback = "256MiB",
     .min = NK_MIB,
     .max = BYTES_MAX,
     .help = "cache of table blocks, one for the process"},
    {.name = "lsm.filter_bits_per_key",
     .type = CONFIG_NUMBER,
     FIELD(lsm.filter_bits_per_key),
     .fallback = "10",
     .max = 32,
     .help = "size of the bloom filters; 0: none"},
    {.name = "lsm.compression",
     .type = CONFIG_CHOICE,
     FIELD(lsm.compression),
     .fallback = "lz4",
     .choices = compression_choices,
     .help = "of table blocks"},
    {.name = "lsm.max_background_jobs",
     .type = CONFIG_NUMBER,
     FIELD(lsm.max_background_jobs),
     .fallback = "0",
     .max = 256,
     .help = "flushes and compactions at once; 0: one per core"},
    {.name = "lsm.rate_limit_bytes_per_s",
     .type = CONFIG_BYTES,
     FIELD(lsm.rate_limit_bytes_per_s),
     .fallback = "0",
     .max = BYTES_MAX,
     .help = "what compaction may write per second; 0: no limit"},

    {.name = "limits.max_key_bytes",
     .type = CONFIG_BYTES,
     FIELD(limits.max_key_bytes),
     .fallback = "1024",
     .min = 1,
     .max = NK_KEY_BYTES_MAX,
     .help = "longest key"},
    {.name = "limits.max_value_bytes",
     .type = CONFIG_BYTES,
     FIELD(limits.max_value_bytes),
     .fallback = "1MiB",
     .min = 1,
     .max = NK_VALUE_BYTES_MAX,
     .help = "longest value"},
    {.name = "limits.request_max_bytes",
     .type = CONFIG_BYTES,
     FIELD(limits.request_max_bytes),
     .fallback = "2MiB",
     .min = NK_KIB,
     .max = NK_REQUEST_BYTES_MAX,
     .help = "largest request"},
    {.name = "limits.max_staleness_ms",
     .type = CONFIG_MS,
     FIELD(limits.max_staleness_ms),
     .fallback = "1000",
     .min = 1,
     .max = MS_MAX,
     .unused = true,
     .help = "bound of reads with consistency bounded_staleness"},
    {.name = "limits.idempotency_ttl_ms",
     .type = CONFIG_MS,
     FIELD(limits.idempotency_ttl_ms),
     .fallback = "86400000",
     .min = 1,
     .max = (uint64_t)366 * 24 * 3600 * 1000,
     .help = "how long the answer to an idempotency key is kept"},
    {.name = "limits.idempotency_max_per_shard",
     .type = CONFIG_NUMBER,
     FIELD(limits.idempotency_max_per_shard),
     .fallback = "100000",
     .min = 1,
     .max = 100000000,
     .help = "how many of them a shard keeps; the oldest go first"},
    {.name = "limits.request_timeout_ms",
     .type = CONFIG_MS,
     FIELD(limits.request_timeout_ms),
     .fallback = "5000",
     .min = 1,
     .max = MS_MAX,
     .help = "deadline of requests that bring none"},
    {.name = "limits.inflight_max",
     .type = CONFIG_NUMBER,
     FIELD(limits.inflight_max),
     .fallback = "16384",
     .min = 1,
     .max = NK_GATEWAY_INFLIGHT_MAX,
     .help = "requests a gateway has accepted and not answered"},

    {.name = "disk.reserve_bytes",
     .type = CONFIG_BYTES,
     FIELD(disk.reserve_bytes),
     .fallback = "256MiB",
     .max = BYTES_MAX,
     .help = "free space below which writes are refused with DISK_FULL"},

    {.name = "log.level",
     .type = CONFIG_CHOICE,
     FIELD(log.level),
     .fallback = "info",
     .choices = level_choices,
     .flag = "--log-level",
     .help = "what is logged, from this level up"},
    {.name = "log.format",
     .type = CONFIG_CHOICE,
     FIELD(log.format),
     .fallback = "json",
     .choices = format_choices,
     .help = "one JSON object per line, or text for people"},
};

static_assert(NK_COUNT_OF(keys) <= CONFIG_KEYS_MAX, "tables indexed by key have room");
static_assert(NK_CONFIG_LOG_ERROR == NK_COUNT_OF(level_choices) - 2, "a choice is its place");
static_assert(NK_CONFIG_LOG_TEXT == NK_COUNT_OF(format_choices) - 2, "a choice is its place");
static_assert(NK_CONFIG_COMPRESSION_ZSTD == NK_COUNT_OF(compression_choices) - 2,
              "a choice is its place");

size_t config_key_count(void)
{
    return NK_COUNT_OF(keys);
}

const struct config_key *config_key_at(size_t i)
{
    NK_ASSERT(i < NK_COUNT_OF(keys));
    return &keys[i];
}

size_t config_key_find(struct nk_bytes name)
{
    size_t i = 0;
    while (i < NK_COUNT_OF(keys) && !nk_bytes_equal(name, nk_bytes_of_string(keys[i].name))) {
        i++;
    }
    return i;
}

bool config_key_is_section(struct nk_bytes name)
{
    if (name.size == 0) {
        return false;
    }
    for (size_t i = 0; i < NK_COUNT_OF(keys); i++) {
        if (nk_bytes_starts_with(nk_bytes_of_string(keys[i].name), name) &&
            keys[i].name[name.size] == '.') {
            return true;
        }
    }
    return false;
}

static size_t edit_distance(struct nk_bytes a, struct nk_bytes b);

const struct config_key *config_key_nearest(struct nk_bytes name)
{
    if (name.size > CONFIG_NAME_BYTES_MAX) {
        return NULL;
    }
    const struct config_key *nearest = NULL;
    size_t nearest_distance = 1 + name.size / 3; /* further away it is another word */
    for (size_t i = 0; i < NK_COUNT_OF(keys); i++) {
        size_t distance = edit_distance(name, nk_bytes_of_string(keys[i].name));
        if (distance <= nearest_distance && (nearest == NULL || distance < nearest_distance)) {
            nearest = &keys[i];
            nearest_distance = distance;
        }
    }
    return nearest;
}

/* Levenshtein's, one row of the matrix at a time. */
static size_t edit_distance(struct nk_bytes a, struct nk_bytes b)
{
    NK_ASSERT(b.size <= CONFIG_NAME_BYTES_MAX);
    size_t row[CONFIG_NAME_BYTES_MAX + 1];
    for (size_t j = 0; j <= b.size; j++) {
        row[j] = j;
    }
    for (size_t i = 0; i < a.size; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < b.size; j++) {
            size_t replaced = diagonal + (a.data[i] == b.data[j] ? 0 : 1);
            diagonal = row[j + 1];
            row[j + 1] = nk_min_size(replaced, nk_min_size(row[j], row[j + 1]) + 1);
        }
    }
    return row[b.size];
}

void config_key_variable(const struct config_key *key, char out_name[static CONFIG_VARIABLE_BYTES])
{
    size_t size = strlen(key->name);
    NK_ASSERT(size <= CONFIG_NAME_BYTES_MAX);
    static const char prefix[] = "NORIKV_";
    memcpy(out_name, prefix, sizeof prefix - 1);
    char *out = out_name + sizeof prefix - 1;
    for (size_t i = 0; i < size; i++) {
        char c = key->name[i];
        *out++ = c == '.' ? '_' : c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
    }
    *out = '\0';
}
