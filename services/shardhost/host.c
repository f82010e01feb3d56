/* The shardhost as a whole.
 *
 *   before: common/env_zmq brings a frame
 *   after:  shard.c
 *
 * Rounds.  What all shards staged since the last round goes to the disk with one write and one sync
 * (group commit): while a round runs the next one gathers.  A shard hears PERSISTED with the id it
 * had staged when the round began.  A round takes NK_SHARDHOST_ROUND_BYTES_MAX and what is under
 * way then; later writes are held for the next one, so what a slow or full disk has to take at once
 * is bounded. */

#include <stdio.h>

#include "services/shardhost/host.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/hash.h"
#include "common/base/plant.h"
#include "services/shardhost/shardhost.h"
#include "services/shardhost/watch.h"

#define HOUSEKEEPING_US      NK_US_PER_SEC
#define ROUND_RETRY_US       NK_US_PER_SEC       /* after a full disk */
#define STALLED_US           (5 * NK_US_PER_SEC) /* no disk that works takes so long */
#define STOP_US              (3 * NK_US_PER_SEC) /* what an ordered stop gives the disk */
#define TABLES_PART_OF_FILES 2
#define WORK_SLICES          4 /* in a table: so often a flush can come in between */

/* Beyond it cold memtables that hold segments are flushed. */
#define LOG_SEGMENTS_CALM    ((int64_t)4)

uint64_t host_now_us(const struct host *host)
{
    return nk_mono_us(&host->env->clock);
}

void host_fail(struct host *host, enum nk_err err, const char *what, const char *file,
               uint64_t offset)
{
    if (host->fault != NK_OK) {
        return;
    }
    host->fault = err;
    (void)snprintf(host->fault_reason, sizeof host->fault_reason, "%s: %s (%s, offset %llu)", what,
                   nk_err_name(err), file, (unsigned long long)offset);
}

size_t host_bytes(const struct host *host)
{
    size_t staged = host->log != NULL ? raftlog_staged_bytes(host->log) : 0; /* NULL: recovery */
    return host->pending_bytes + host->entry_bytes + staged + host->round_bytes;
}

/* ---- Shards ---- */

void host_add_shard(struct host *host, struct shard *shard)
{
    if (shard->db != NULL) {
        lsm_set_user(shard->db, shard);
    }
    host->by_id[shard->id] = shard;
    nk_list_append(&host->shards, &shard->link);
}

void host_shard_directory(uint32_t shard, char *out, size_t size)
{
    (void)snprintf(out, size, "lsm/shard-%u", shard);
}

enum nk_err host_shard(struct host *host, uint32_t id, struct shard **out_shard)
{
    NK_ASSERT(id < host->total_shards);
    if (host->by_id[id] != NULL) {
        *out_shard = host->by_id[id];
        return NK_OK;
    }
    /* Never used: its directory does not exist, so the open below finds nothing to read. */
    char directory[64];
    host_shard_directory(id, directory, sizeof directory);
    struct lsm_db *db;
    struct lsm_fault fault;
    enum nk_err err = lsm_open(host->engine, directory, &db, &fault);
    if (err == NK_OK) {
        struct raft_restore nothing = {0};
        err = shard_open(host, id, db, &nothing, out_shard);
        if (err != NK_OK) {
            lsm_close(&db);
        }
    }
    if (err != NK_OK) {
        nk_log_error(&host->env->log, "shardhost", "a shard could not be opened",
                     NK_LOG_NUMBER("shard", id), NK_LOG_TEXT("error", nk_err_name(err)));
        return err;
    }
    host_add_shard(host, *out_shard);
    shard_campaign(*out_shard);
    return NK_OK;
}

/* ---- Room on the disk ---- */

/* Each reason for a full disk stays until its own kind of write has succeeded: that little writes
 * still find room, or that no reserve is asked for, says nothing about the others. */
static void judge_space(struct host *host)
{
    bool full = host->below_reserve || host->round_no_space || host->no_space_count > 0;
    if (full == host->disk_full) {
        return;
    }
    host->disk_full = full;
    nk_log_warn(&host->env->log, "shardhost",
                full ? "disk full: puts are refused" : "disk has room again: puts are taken",
                NK_LOG_TEXT("by", !full                  ? ""
                                  : host->below_reserve  ? "disk.reserve_bytes"
                                  : host->round_no_space ? "a round of the log"
                                                         : "a flush or compaction"),
                NK_LOG_NUMBER("free_bytes", host->free_bytes),
                NK_LOG_NUMBER("reserve_bytes", host->config->disk.reserve_bytes));
}

void host_shard_space(struct shard *shard, bool found)
{
    struct host *host = shard->host;
    if (shard->no_space == found) {
        shard->no_space = !found;
        host->no_space_count += found ? SIZE_MAX : 1;
        judge_space(host);
    }
}

static void mind_disk(struct host *host)
{
    if (nk_fs_free_bytes(&host->env->fs, &host->free_bytes) != NK_OK) {
        return;
    }
    host->below_reserve = host->free_bytes < host->config->disk.reserve_bytes;
    judge_space(host);
    metrics_housekeeping(host, host->free_bytes);
}

/* ---- Rounds of the log ---- */

enum nk_err host_log_refusal(const struct host *host, const char **out_message)
{
    if (host->round_no_space) { /* also while the write is tried again */
        *out_message = "DISK_FULL";
        return NK_NO_SPACE;
    }
    *out_message = "OVERLOADED: the disk does not keep up";
    return host->round_stalled || host->round_retry_us != 0 ? NK_BUSY : NK_OK;
}

bool host_round_full(const struct host *host)
{
    return raftlog_staged_bytes(host->log) >= NK_SHARDHOST_ROUND_BYTES_MAX;
}

static void list_add(struct shard_list *list, struct shard *shard)
{
    if (list->count == list->capacity) {
        list->capacity = list->capacity < 16 ? 16 : 2 * list->capacity;
        list->items = nk_realloc(list->items, list->capacity * sizeof(struct shard *));
    }
    list->items[list->count] = shard;
    list->count++;
}

void host_mark_dirty(struct host *host, struct shard *shard)
{
    if (!shard->dirty) {
        shard->dirty = true;
        list_add(&host->dirty, shard);
    }
}

static void tell_persisted(struct host *host)
{
    for (size_t i = 0; i < host->in_round.count; i++) {
        struct shard *shard = host->in_round.items[i];
        shard_persisted(shard, shard->persist_round);
    }
    host->in_round.count = 0;
}

static void round_run(struct nk_job *job)
{
    struct host *host = NK_CONTAINER_OF(job, struct host, round);
    host->round_err = raftlog_write(host->log);
}

static void submit_round(struct host *host)
{
    host->round_started_us = host_now_us(host);
    if (nk_worker_submit(&host->env->worker, NK_LANE_LOG, &host->round) != NK_OK) {
        host->round_retry_us = host->round_started_us; /* one job at most: never full in practice */
        return;
    }
    host->round_retry_us = 0;
    host->jobs_running++;
}

static void take_dirty(struct host *host)
{
    NK_ASSERT(host->in_round.count == 0);
    struct shard_list round = host->dirty;
    host->dirty = host->in_round;
    host->in_round = round;
    for (size_t i = 0; i < host->in_round.count; i++) {
        struct shard *shard = host->in_round.items[i];
        shard->persist_round = shard->persist_staged;
        shard->dirty = false;
    }
}

static void begin_round(struct host *host)
{
    if (host->fault != NK_OK) {
        return;
    }
    if (host->round_running) {
        if (host->round_retry_us != 0 && host_now_us(host) >= host->round_retry_us) {
            submit_round(host);
        }
        return;
    }
    size_t bytes = raftlog_staged_bytes(host->log);
    while (!raftlog_begin(host->log)) {
        NK_ASSERT(nk_list_empty(&host->held)); /* else the round would have been full */
        if (host->dirty.count == 0) {
            return;
        }
        take_dirty(host); /* no records came with the ids: what they wait for is durable */
        tell_persisted(host);
        bytes = raftlog_staged_bytes(host->log);
    }
    host->round_bytes = bytes;
    take_dirty(host);
    host->round_running = true;
    submit_round(host);
    if (NK_PLANTED(NK_PLANT_ANSWER_BEFORE_FSYNC)) {
        tell_persisted(host);
    }
    shard_serve_held(host);
}

static bool log_written(const struct host *host)
{
    return !host->round_running && raftlog_staged_bytes(host->log) == 0;
}

/* A disk that hangs says nothing: only the clock tells. */
static void mind_round(struct host *host, uint64_t now_us)
{
    if (!host->round_running || host->round_stalled || host->round_retry_us != 0 ||
        now_us < host->round_started_us + STALLED_US) { /* it may be younger than this tick */
        return;
    }
    host->round_stalled = true;
    metrics_stalled(host);
    nk_log_error(&host->env->log, "shardhost", "disk stalled: a round of the log does not end",
                 NK_LOG_NUMBER("running_ms", (now_us - host->round_started_us) / NK_US_PER_MS),
                 NK_LOG_NUMBER("round_bytes", host->round_bytes));
}

static void end_stall(struct host *host)
{
    if (!host->round_stalled) {
        return;
    }
    host->round_stalled = false;
    metrics_stalled(host);
    nk_log_warn(
        &host->env->log, "shardhost", "disk answers again: the round of the log has ended",
        NK_LOG_NUMBER("took_ms", (host_now_us(host) - host->round_started_us) / NK_US_PER_MS));
}

/* A call for the tables may hang as well, of a flush, a compaction or a read.  The jobs themselves
 * are not measured: one with much to do may take long. */
static void mind_calls(struct host *host, uint64_t now_us)
{
    const char *call;
    uint64_t since_us = watch_oldest_us(host->watch, &call);
    bool stalled = since_us != 0 && now_us >= since_us + STALLED_US;
    if (stalled == (host->call_stalled_us != 0)) {
        return;
    }
    uint64_t began_us = stalled ? since_us : host->call_stalled_us;
    host->call_stalled_us = stalled ? since_us : 0;
    metrics_stalled(host);
    uint64_t ms = (now_us - began_us) / NK_US_PER_MS;
    if (stalled) {
        nk_log_error(&host->env->log, "shardhost",
                     "disk stalled: a call for the tables does not end", NK_LOG_TEXT("call", call),
                     NK_LOG_NUMBER("running_ms", ms));
    } else {
        nk_log_warn(&host->env->log, "shardhost",
                    "disk answers again: no call for the tables hangs any more",
                    NK_LOG_NUMBER("after_ms", ms));
    }
}

/* Nobody was told that what is lost then was kept. */
static void give_up_log(struct host *host)
{
    bool full = host->round_no_space;
    host->fault = full ? NK_NO_SPACE : NK_TIMEOUT;
    (void)snprintf(host->fault_reason, sizeof host->fault_reason,
                   "the raft log could not be written within %u s of the stop: the disk %s; writes "
                   "that were not answered may be lost",
                   (unsigned)(STOP_US / NK_US_PER_SEC), full ? "is full" : "hangs");
}

/* An ordered stop waits for the disk, but not for one that takes nothing.  Without the log the
 * process fails; what a read or a flush does not finish costs nothing. */
static void mind_stop(struct host *host, uint64_t now_us)
{
    if (!host->stopping || host->fault != NK_OK || host->stop_over ||
        now_us < host->stop_us + STOP_US) {
        return;
    }
    if (!log_written(host)) {
        give_up_log(host);
        return;
    }
    host->stop_over = true;
    if (host->jobs_running > 0) {
        const char *call;
        uint64_t since_us = watch_oldest_us(host->watch, &call);
        uint64_t running_us = since_us != 0 && since_us < now_us ? now_us - since_us : 0;
        nk_log_warn(&host->env->log, "shardhost",
                    "the stop waits no longer for reads, flushes and compactions",
                    NK_LOG_NUMBER("jobs", host->jobs_running), NK_LOG_TEXT("call", call),
                    NK_LOG_NUMBER("running_ms", running_us / NK_US_PER_MS));
    }
}

static void round_done(struct nk_job *job)
{
    struct host *host = NK_CONTAINER_OF(job, struct host, round);
    host->jobs_running--;
    end_stall(host);
    if (host->round_err == NK_NO_SPACE) {
        host->round_no_space = true;
        judge_space(host);
        host->round_retry_us = host_now_us(host) + ROUND_RETRY_US;
        return;
    }
    if (host->round_err != NK_OK) {
        /* After a failed sync nobody knows what is on disk: the process ends and recovers. */
        const struct raftlog_fault *fault = raftlog_last_fault(host->log);
        host_fail(host, host->round_err, "the raft log could not be written", fault->file,
                  fault->offset);
        return;
    }
    host->round_running = false;
    host->round_bytes = 0;
    host->round_no_space = false;
    judge_space(host);
    raftlog_end(host->log);
    metrics_round(host, host_now_us(host) - host->round_started_us);
    tell_persisted(host);
}

/* ---- Background work of the trees ---- */

/* One slice of one shard's tree. */
struct work {
    struct nk_job job;
    struct shard *shard;
    enum nk_err err;
};

static void work_run(struct nk_job *job)
{
    struct work *work = NK_CONTAINER_OF(job, struct work, job);
    bool more;
    size_t slice_bytes = work->shard->host->config->lsm.table_bytes / WORK_SLICES;
    work->err = lsm_work(work->shard->db, slice_bytes, &more);
}

static void work_done(struct nk_job *job)
{
    struct work *work = NK_CONTAINER_OF(job, struct work, job);
    struct shard *shard = work->shard;
    struct host *host = shard->host;
    enum nk_err err = work->err;
    nk_free(work);
    host->jobs_running--;
    shard->works--;
    if (err == NK_NO_SPACE) {
        host_shard_space(shard, false);
        shard->wait_for_space = true;
    } else if (err != NK_OK) {
        shard_fence(shard, err, "flushing or compacting");
    } else {
        host_shard_space(shard, true);
    }
    lsm_work_ended(shard->db, host_now_us(host));
    raftlog_release(host->log, shard->id, lsm_durable_index(shard->db));
}

static void begin_work(struct host *host)
{
    struct lsm_db *db;
    while (host->fault == NK_OK && !host->stopping &&
           (db = lsm_engine_pick(host->engine, host_now_us(host))) != NULL) {
        struct shard *shard = lsm_user(db);
        struct work *work = nk_alloc_zero(1, sizeof *work);
        work->job.run = work_run;
        work->job.done = work_done;
        work->shard = shard;
        if (nk_worker_submit(&host->env->worker, NK_LANE_BACKGROUND, &work->job) != NK_OK) {
            lsm_work_ended(db, host_now_us(host));
            nk_free(work);
            return; /* the next burst or the housekeeping tries again */
        }
        shard->works++;
        host->jobs_running++;
    }
}

/* ---- The clockwork ---- */

static bool is_fenced(void *ctx, uint32_t shard)
{
    const struct host *host = ctx;
    return host->by_id[shard]->state == SHARD_FENCED;
}

/* Old segments stay while a memtable needs them: cold ones are flushed when they hold too many.  A
 * fenced shard keeps its records; the others are minded past it. */
static void mind_log(struct host *host)
{
    if (nk_gauge_get(&raftlog_stats(host->log)->segments) <= LOG_SEGMENTS_CALM) {
        return;
    }
    uint32_t id;
    uint64_t index;
    if (!raftlog_oldest_holder(host->log, is_fenced, host, &id, &index)) {
        return;
    }
    struct shard *shard = host->by_id[id];
    NK_ASSERT(shard != NULL);
    if (lsm_durable_index(shard->db) >= index) {
        raftlog_release(host->log, id, lsm_durable_index(shard->db));
    } else if (!lsm_flush_pending(shard->db)) {
        lsm_request_flush(shard->db);
    }
}

static void housekeeping(struct host *host, uint64_t now_us)
{
    host->minded_us = now_us;
    shard_sweep_held(host, now_us);
    for (struct nk_list *at = host->shards.next; at != &host->shards; at = at->next) {
        struct shard *shard = NK_CONTAINER_OF(at, struct shard, link);
        shard_sweep(shard, now_us);
        if (shard->wait_for_space && shard->state == SHARD_RUNNING) {
            shard->wait_for_space = false; /* the next try tells whether there is some */
            lsm_resume_work(shard->db);
        } else if (shard->no_space && shard->works == 0 && !lsm_flush_pending(shard->db)) {
            host_shard_space(shard, true); /* resumed a second ago, and there was nothing to try */
        }
    }
    mind_disk(host);
}

static void mind_health(struct host *host)
{
    struct nk_health *health = host->context->health;
    nk_health_beat(health);
    bool registered = nk_member_registered(host->member);
    nk_health_set_ready(health, registered && !host->stopping,
                        host->stopping ? "stopping"
                        : registered   ? ""
                                       : "not-registered");
    if (host->fault != NK_OK) {
        nk_health_set(health, NK_UNHEALTHY, "failed");
    } else if (host->fenced_count > 0) {
        nk_health_set(health, NK_DEGRADED, "shard-fenced"); /* first: it does not end by itself */
    } else if (host->round_stalled || host->call_stalled_us != 0) {
        nk_health_set(health, NK_DEGRADED, "disk-stalled");
    } else if (host->disk_full) {
        nk_health_set(health, NK_DEGRADED, "disk-full");
    } else {
        nk_health_set(health, NK_HEALTHY, "");
    }
    uint64_t generation = nk_member_generation(host->member);
    if (generation != host->generation_shown) {
        host->generation_shown = generation;
        nk_cluster_show_nodes(nk_member_cluster(host->member), health);
    }
}

static uint64_t role_tick(void *role)
{
    struct host *host = role;
    uint64_t now_us = host_now_us(host);
    for (struct nk_heap_node *due = nk_heap_peek(&host->timers);
         due != NULL && due->order <= now_us; due = nk_heap_peek(&host->timers)) {
        struct shard *shard = NK_CONTAINER_OF(due, struct shard, timer);
        nk_heap_remove(&host->timers, due);
        shard_tick(shard);
    }
    if (now_us - host->minded_us >= HOUSEKEEPING_US) {
        housekeeping(host, now_us);
    }
    mind_log(host);
    begin_work(host);
    begin_round(host);
    mind_round(host, now_us);
    mind_calls(host, now_us);
    mind_stop(host, now_us);
    wire_flush(host);
    mind_health(host);
    uint64_t next_us = nk_member_tick(host->member);
    next_us = nk_min_u64(next_us, host->minded_us + HOUSEKEEPING_US);
    if (host->fault == NK_OK && !host->stopping) { /* else nobody asks it any more */
        next_us = nk_min_u64(next_us, lsm_engine_next_us(host->engine));
    }
    if (host->stopping && !host->stop_over) {
        next_us = nk_min_u64(next_us, host->stop_us + STOP_US);
    }
    if (nk_heap_peek(&host->timers) != NULL) {
        next_us = nk_min_u64(next_us, nk_heap_peek(&host->timers)->order);
    }
    return next_us;
}

static void role_receive(void *role, nk_peer from, struct nk_bytes frame)
{
    wire_receive(role, from, frame);
}

static enum nk_err role_fault(void *role, struct nk_text *reason)
{
    struct host *host = role;
    if (host->fault != NK_OK) {
        nk_text_add(reason, host->fault_reason);
        return host->fault;
    }
    if (nk_member_fault(host->member) != NK_OK) {
        nk_text_add(reason, "another live shardhost has this node_id");
        return nk_member_fault(host->member);
    }
    return NK_OK;
}

/* ---- Start ---- */

static void open_member(struct host *host)
{
    struct nk_cluster_member self = {0};
    (void)snprintf(self.node_id, sizeof self.node_id, "%s", host->config->node_id);
    (void)snprintf(self.role, sizeof self.role, "%s", shardhost_role_ops.name);
    self.session = host->context->session;
    (void)snprintf(self.talk_address, sizeof self.talk_address, "%s",
                   host->env->net.ops->talk_address(host->env->net.ctx));
    (void)snprintf(self.http_address, sizeof self.http_address, "%s", host->context->http_address);
    self.state = NK_MEMBER_ALIVE;
    self.total_shards = host->total_shards;
    memcpy(self.cluster_id, host->cluster_id, sizeof self.cluster_id);
    nk_member_open(host->context, &self, &host->member);
}

static void role_deinit(void **role)
{
    struct host *host = *role;
    if (host == NULL) {
        return;
    }
    NK_ASSERT(host->jobs_running == 0);
    shard_sweep_held(host, UINT64_MAX);
    while (!nk_list_empty(&host->shards)) {
        struct shard *shard = NK_CONTAINER_OF(host->shards.next, struct shard, link);
        shard_close(&shard);
    }
    nk_heap_deinit(&host->timers);
    raftlog_close(&host->log);
    if (host->engine != NULL) {
        lsm_engine_close(&host->engine);
    }
    watch_close(&host->watch);
    nk_member_close(&host->member);
    metrics_close(host);
    wire_deinit(host);
    nk_arena_deinit(&host->arena);
    nk_arena_deinit(&host->decode);
    nk_buf_deinit(&host->scratch);
    nk_buf_deinit(&host->value);
    nk_free(host->dirty.items);
    nk_free(host->in_round.items);
    nk_free(host->by_id);
    nk_free(host);
    *role = NULL;
}

static_assert((int)NK_CONFIG_COMPRESSION_NONE == (int)LSM_COMPRESSION_NONE &&
                  (int)NK_CONFIG_COMPRESSION_LZ4 == (int)LSM_COMPRESSION_LZ4 &&
                  (int)NK_CONFIG_COMPRESSION_ZSTD == (int)LSM_COMPRESSION_ZSTD,
              "the setting names the engine's numbers");

static enum nk_err role_init(const struct nk_service_context *context, void **out_role,
                             struct nk_text *reason)
{
    const struct nk_config *config = context->config;
    struct host *host = nk_alloc_zero(1, sizeof *host);
    host->context = context;
    host->env = context->env;
    host->config = config;
    host->total_shards = config->cluster.total_shards;
    host->self = nk_xxh64(nk_bytes_of_string(config->node_id), 0) | 1;
    host->by_id = nk_alloc_zero(host->total_shards, sizeof *host->by_id);
    host->read_id_next = 1;
    host->minded_us = host_now_us(host);
    host->round.run = round_run;
    host->round.done = round_done;
    nk_prng_init(&host->prng, context->env->random_seed);
    nk_list_init(&host->shards);
    nk_list_init(&host->held);
    for (size_t i = 0; i < HOST_WAITER_BUCKETS; i++) {
        nk_list_init(&host->waiters[i]);
    }
    nk_heap_init(&host->timers);
    nk_map_init(&host->outboxes);
    nk_arena_init(&host->arena, 64 * NK_KIB, 0);
    nk_arena_init(&host->decode, 16 * NK_KIB, 2 * NK_FRAME_BYTES_MAX);
    enum nk_err err = recovery_identify(host, reason);
    if (err == NK_OK) {
        struct lsm_options options = {
            .memtable_bytes = config->lsm.memtable_bytes,
            .write_buffer_total_bytes = config->lsm.write_buffer_total_bytes,
            .block_cache_bytes = config->lsm.block_cache_bytes,
            .filter_bits_per_key = config->lsm.filter_bits_per_key,
            .compression = (enum lsm_compression)config->lsm.compression,
            .open_files_max = context->env->open_files_max / TABLES_PART_OF_FILES,
            .table_bytes = config->lsm.table_bytes,
            .fanout = config->lsm.fanout,
            .level_count = config->lsm.max_levels,
            .l0_slowdown_files = config->lsm.l0_slowdown_files,
            .l0_stop_files = config->lsm.l0_stop_files,
            .rate_limit_bytes_per_s = config->lsm.rate_limit_bytes_per_s,
            .max_background_jobs = config->lsm.max_background_jobs > 0
                                       ? config->lsm.max_background_jobs
                                       : context->env->worker.background_threads,
        };
        watch_open(&context->env->fs, &context->env->clock, &host->watch);
        lsm_engine_open(watch_fs(host->watch), &options, &host->engine);
        metrics_open(host);
        open_member(host);
        err = recovery_run(host, reason);
    }
    if (err == NK_OK) {
        mind_disk(host);
        *out_role = host;
        return NK_OK;
    }
    void *role = host;
    role_deinit(&role);
    *out_role = NULL;
    return err;
}

static void role_stop(void *role)
{
    struct host *host = role;
    host->stopping = true;
    host->stop_us = host_now_us(host);
}

static bool role_stopped(void *role)
{
    struct host *host = role;
    return log_written(host) && (host->jobs_running == 0 || host->stop_over);
}

const struct nk_role_ops shardhost_role_ops = {
    .name = "shardhost",
    .init = role_init,
    .receive = role_receive,
    .tick = role_tick,
    .stop = role_stop,
    .stopped = role_stopped,
    .deinit = role_deinit,
    .fault = role_fault,
};
