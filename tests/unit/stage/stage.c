#include "stage.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "proto/norikv/internal/v1/gossip.pb-c.h"
#include "proto/norikv/internal/v1/shard.pb-c.h"

struct stage_job {
    struct nk_list link;
    struct nk_job *job;
};

/* Counts a call; not NK_OK: it has to fail with that. */
static enum nk_err call(struct stage *stage, enum stage_call which)
{
    struct stage_fault *fault = &stage->faults[which];
    stage->calls[which]++;
    if (fault->countdown == 0) {
        return NK_OK;
    }
    if (fault->countdown > 1) {
        fault->countdown--;
        return NK_OK;
    }
    fault->countdown = fault->lasting ? 1 : 0;
    return fault->err;
}

/* ---- Clock and log ---- */

static uint64_t clock_mono_us(void *ctx)
{
    struct stage *stage = ctx;
    stage->now_us += stage->us_per_look;
    return stage->now_us;
}

static uint64_t clock_wall_ms(void *ctx)
{
    const struct stage *stage = ctx;
    return stage->wall_ms;
}

static const struct nk_clock_ops clock_ops = {clock_mono_us, clock_wall_ms};

static void log_event(void *ctx, enum nk_log_level level, const char *target, const char *message,
                      const struct nk_log_field *fields, size_t field_count)
{
    struct stage *stage = ctx;
    (void)target;
    (void)fields;
    (void)field_count;
    stage->log_counts[level]++;
    (void)snprintf(stage->log_message, sizeof stage->log_message, "%s", message);
}

static const struct nk_log_ops log_ops = {log_event};

/* ---- Net ---- */

static struct stage_link *link_of(struct stage *stage, nk_peer peer)
{
    for (size_t i = 0; i < stage->link_count; i++) {
        if (stage->links[i].peer == peer && stage->links[i].open) {
            return &stage->links[i];
        }
    }
    return NULL;
}

static struct stage_link *link_add(struct stage *stage, const char *address, enum nk_link_kind kind)
{
    NK_ASSERT(stage->link_count < STAGE_LINKS_MAX);
    struct stage_link *link = &stage->links[stage->link_count];
    stage->link_count++;
    *link = (struct stage_link){.peer = stage->link_count, .kind = kind, .open = true};
    (void)snprintf(link->address, sizeof link->address, "%s", address);
    return link;
}

static enum nk_err net_open(void *ctx, const char *address, enum nk_link_kind kind,
                            nk_peer *out_peer)
{
    enum nk_err err = call(ctx, STAGE_NET_OPEN);
    if (err == NK_OK) {
        *out_peer = link_add(ctx, address, kind)->peer;
    }
    return err;
}

static void net_close(void *ctx, nk_peer peer)
{
    struct stage_link *link = link_of(ctx, peer);
    if (link != NULL) {
        link->open = false;
    }
}

static void keep(struct stage *stage, nk_peer to, struct nk_bytes bytes)
{
    if (stage->frame_count == stage->frame_capacity) {
        stage->frame_capacity = nk_max_size(2 * stage->frame_capacity, 64);
        stage->frames = nk_realloc(stage->frames, stage->frame_capacity * sizeof *stage->frames);
    }
    struct stage_frame *frame = &stage->frames[stage->frame_count++];
    *frame = (struct stage_frame){.to = to};
    nk_buf_append(&frame->bytes, bytes);
    struct nk_bytes message;
    enum nk_err err = nk_frame_parse(bytes, &frame->type, &message);
    NK_ASSERT(err == NK_OK);
}

static enum nk_err net_send(void *ctx, nk_peer peer, struct nk_bytes frame)
{
    enum nk_err err = call(ctx, STAGE_NET_SEND);
    if (err == NK_OK && link_of(ctx, peer) == NULL) {
        err = NK_UNAVAILABLE;
    }
    if (err == NK_OK) {
        keep(ctx, peer, frame);
    }
    return err;
}

static void net_publish(void *ctx, struct nk_bytes frame)
{
    keep(ctx, 0, frame);
}

static const char *net_talk_address(void *ctx)
{
    (void)ctx;
    return "stage://talk";
}

static const char *net_listen_address(void *ctx)
{
    (void)ctx;
    return "stage://state";
}

static const struct nk_net_ops net_ops = {
    .open = net_open,
    .close = net_close,
    .send = net_send,
    .publish = net_publish,
    .talk_address = net_talk_address,
    .listen_address = net_listen_address,
};

/* ---- Meta ---- */

static enum nk_err meta_get(void *ctx, struct nk_bytes key, struct nk_buf *out_value)
{
    struct stage *stage = ctx;
    enum nk_err err = call(stage, STAGE_META_GET);
    const struct nk_buf *value = nk_map_get(&stage->facts, key);
    if (err != NK_OK || value == NULL) {
        return err != NK_OK ? err : NK_NOT_FOUND;
    }
    nk_buf_clear(out_value);
    nk_buf_append(out_value, nk_buf_bytes(value));
    return NK_OK;
}

static void value_free(struct nk_buf *value)
{
    if (value != NULL) {
        nk_buf_deinit(value);
        nk_free(value);
    }
}

static enum nk_err meta_put(void *ctx, struct nk_bytes key, struct nk_bytes bytes)
{
    struct stage *stage = ctx;
    enum nk_err err = call(stage, STAGE_META_PUT);
    if (err == NK_OK) {
        struct nk_buf *value = nk_alloc_zero(1, sizeof *value);
        nk_buf_append(value, bytes);
        value_free(nk_map_put(&stage->facts, key, value));
    }
    return err;
}

static enum nk_err meta_remove(void *ctx, struct nk_bytes key)
{
    struct stage *stage = ctx;
    enum nk_err err = call(stage, STAGE_META_REMOVE);
    if (err == NK_OK) {
        value_free(nk_map_remove(&stage->facts, key));
    }
    return err;
}

/* In the order of insertion, which suffices for roles that only collect. */
static enum nk_err
meta_list(void *ctx, struct nk_bytes prefix,
          void (*visit)(void *visitor, struct nk_bytes key, struct nk_bytes value), void *visitor)
{
    struct stage *stage = ctx;
    enum nk_err err = call(stage, STAGE_META_LIST);
    size_t position = 0;
    struct nk_map_entry *entry;
    while (err == NK_OK && (entry = nk_map_next(&stage->facts, &position)) != NULL) {
        struct nk_bytes key = nk_bytes_of(entry->key, entry->key_size);
        if (nk_bytes_starts_with(key, prefix)) {
            visit(visitor, key, nk_buf_bytes(entry->value));
        }
    }
    return err;
}

static const struct nk_meta_ops meta_ops = {meta_get, meta_put, meta_remove, meta_list};

/* ---- Worker ---- */

static enum nk_err worker_submit(void *ctx, enum nk_lane lane, struct nk_job *job)
{
    struct stage *stage = ctx;
    (void)lane;
    enum nk_err err = call(stage, STAGE_WORKER_SUBMIT);
    if (err == NK_OK) {
        struct stage_job *submitted = nk_alloc(sizeof *submitted);
        submitted->job = job;
        nk_list_init(&submitted->link);
        nk_list_append(&stage->jobs, &submitted->link);
    }
    return err;
}

static void worker_wake(void *ctx)
{
    struct stage *stage = ctx;
    stage->wakes++;
}

static const struct nk_worker_ops worker_ops = {worker_submit, worker_wake};

size_t stage_run_jobs(struct stage *stage)
{
    size_t count = 0;
    while (!nk_list_empty(&stage->jobs)) {
        struct stage_job *submitted = NK_CONTAINER_OF(stage->jobs.next, struct stage_job, link);
        struct nk_job *job = submitted->job;
        nk_list_remove(&submitted->link);
        nk_free(submitted);
        stage->in_job = true;
        job->run(job);
        stage->in_job = false;
        job->done(job);
        count++;
    }
    return count;
}

void stage_settle(struct stage *stage, const struct nk_role_ops *ops, void *role)
{
    do {
        (void)ops->tick(role);
    } while (stage_run_jobs(stage) > 0);
}

uint64_t stage_metric(struct stage *stage, const char *series)
{
    struct nk_buf text = {0};
    nk_buf_append_u8(&text, '\n');
    nk_registry_render(stage->context.metrics, NK_METRICS_TEXT, &text);
    nk_buf_append_u8(&text, '\0');
    char line[160];
    (void)snprintf(line, sizeof line, "\n%s ", series);
    const char *found = strstr((const char *)text.data, line);
    NK_ASSERT(found != NULL);
    uint64_t value = strtoull(found + strlen(line), NULL, 10);
    nk_buf_deinit(&text);
    return value;
}

/* ---- Open and close ---- */

static void boards_open(struct stage *stage)
{
    nk_registry_open(&stage->context.metrics);
    nk_health_open(&stage->env.clock, "stage", stage->config.node_id,
                   stage->config.cluster.total_shards, &stage->context.health);
}

static void boards_close(struct stage *stage)
{
    if (stage->context.metrics != NULL) {
        nk_registry_close(&stage->context.metrics);
        nk_health_close(&stage->context.health);
    }
}

void stage_open(struct stage *stage)
{
    *stage = (struct stage){.now_us = NK_US_PER_SEC, .wall_ms = 1600000000000};
    stage->fs = sim_fs_new(1);
    nk_map_init(&stage->facts);
    nk_list_init(&stage->jobs);
    nk_arena_init(&stage->unpacked, 16 * NK_KIB, 0);
    stage->env = (struct nk_env){
        .clock = {&clock_ops, stage},
        .fs = sim_fs_handle(stage->fs),
        .net = {&net_ops, stage},
        .worker = {&worker_ops, stage},
        .log = {&log_ops, stage, NK_LOG_DEBUG},
        .meta = {&meta_ops, stage},
        .random_seed = 7,
    };
    nk_config_defaults(&stage->config);
    stage->config.node_id = "n1";
    stage->config.data_dir = "/data";
    stage->config.cluster.total_shards = 16;
    stage->context = (struct nk_service_context){
        .env = &stage->env,
        .config = &stage->config,
        .session = 1000,
        .rpc_address = "127.0.0.1:7447",
        .http_address = "127.0.0.1:8080",
    };
    boards_open(stage);
}

void stage_restart(struct stage *stage)
{
    NK_ASSERT(nk_list_empty(&stage->jobs));
    boards_close(stage);
    for (size_t i = 0; i < stage->link_count; i++) {
        stage->links[i].open = false;
    }
    stage_forget_sent(stage);
    stage->context.session++;
    stage->env.random_seed++;
    boards_open(stage);
}

void stage_close(struct stage *stage)
{
    NK_ASSERT(nk_list_empty(&stage->jobs));
    boards_close(stage);
    stage_forget_sent(stage);
    nk_free(stage->frames);
    size_t position = 0;
    struct nk_map_entry *entry;
    while ((entry = nk_map_next(&stage->facts, &position)) != NULL) {
        value_free(entry->value);
    }
    nk_map_deinit(&stage->facts);
    nk_arena_deinit(&stage->unpacked);
    sim_fs_free(&stage->fs);
}

void stage_advance(struct stage *stage, uint64_t span_ms)
{
    stage->now_us += span_ms * NK_US_PER_MS;
    stage->wall_ms += span_ms;
}

void stage_fail(struct stage *stage, enum stage_call call_kind, uint64_t nth, enum nk_err err)
{
    stage->faults[call_kind] = (struct stage_fault){nth, false, err};
}

void stage_fail_from(struct stage *stage, enum stage_call call_kind, uint64_t nth, enum nk_err err)
{
    stage->faults[call_kind] = (struct stage_fault){nth, true, err};
}

void stage_mend(struct stage *stage, enum stage_call call_kind)
{
    stage->faults[call_kind] = (struct stage_fault){0};
}

/* ---- Looking at links and frames ---- */

const struct stage_link *stage_link(const struct stage *stage, const char *address)
{
    for (size_t i = 0; i < stage->link_count; i++) {
        if (stage->links[i].open && strcmp(stage->links[i].address, address) == 0) {
            return &stage->links[i];
        }
    }
    return NULL;
}

nk_peer stage_partner(struct stage *stage)
{
    return link_add(stage, "", NK_LINK_TALK)->peer;
}

size_t stage_sent_count(const struct stage *stage, enum nk_frame_type type)
{
    size_t count = 0;
    for (size_t i = 0; i < stage->frame_count; i++) {
        count += stage->frames[i].type == type;
    }
    return count;
}

const ProtobufCMessage *stage_message(struct stage *stage, const struct stage_frame *frame)
{
    static const ProtobufCMessageDescriptor *const descriptors[NK_FRAME_TYPE_LIMIT] = {
        [NK_FRAME_SHARD_REQUESTS] = &norikv__internal__v1__shard_requests__descriptor,
        [NK_FRAME_SHARD_REPLIES] = &norikv__internal__v1__shard_replies__descriptor,
        [NK_FRAME_REGISTER] = &norikv__internal__v1__register__descriptor,
        [NK_FRAME_REGISTERED] = &norikv__internal__v1__registered__descriptor,
        [NK_FRAME_HEARTBEAT] = &norikv__internal__v1__heartbeat__descriptor,
        [NK_FRAME_SHARD_REPORT] = &norikv__internal__v1__shard_report__descriptor,
        [NK_FRAME_STATE_REQUEST] = &norikv__internal__v1__state_request__descriptor,
        [NK_FRAME_STATE_UPDATE] = &norikv__internal__v1__state_update__descriptor,
    };
    enum nk_frame_type type;
    struct nk_bytes bytes;
    enum nk_err err = nk_frame_parse(nk_buf_bytes(&frame->bytes), &type, &bytes);
    NK_ASSERT(err == NK_OK);
    const ProtobufCMessage *message = nk_unpack(descriptors[type], bytes, &stage->unpacked);
    NK_ASSERT(message != NULL);
    return message;
}

const ProtobufCMessage *stage_sent(struct stage *stage, enum nk_frame_type type)
{
    for (size_t i = stage->frame_count; i > 0; i--) {
        if (stage->frames[i - 1].type == type) {
            return stage_message(stage, &stage->frames[i - 1]);
        }
    }
    return NULL;
}

void stage_forget_sent(struct stage *stage)
{
    for (size_t i = 0; i < stage->frame_count; i++) {
        nk_buf_deinit(&stage->frames[i].bytes);
    }
    stage->frame_count = 0;
}

void stage_deliver(const struct nk_role_ops *ops, void *role, nk_peer from, enum nk_frame_type type,
                   const ProtobufCMessage *message)
{
    struct nk_buf frame = {0};
    nk_frame_pack(&frame, type, message);
    ops->receive(role, from, nk_buf_bytes(&frame));
    nk_buf_deinit(&frame);
}
