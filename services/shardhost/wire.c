/* Frames of the gateways: batches of requests in, batches of replies out.
 *
 * Natural batching: replies of one burst to one partner leave as one frame at the end of the burst
 * (wire_flush from the tick), earlier only when they reach the soft limit of a frame. */

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/limits.h"
#include "common/base/plant.h"
#include "proto/frame.h"
#include "services/shardhost/host.h"

#define REPLY_OVERHEAD_BYTES ((size_t)64) /* of a ShardReply around its response and message */

static struct outbox *outbox_of(struct host *host, nk_peer peer)
{
    struct outbox *outbox = nk_map_get(&host->outboxes, nk_map_key_u64(&peer));
    if (outbox == NULL) {
        outbox = nk_alloc_zero(1, sizeof *outbox);
        outbox->peer = peer;
        (void)nk_map_put(&host->outboxes, nk_map_key_u64(&peer), outbox);
    }
    return outbox;
}

static void send_outbox(struct host *host, struct outbox *outbox)
{
    if (outbox->count == 0) {
        return;
    }
    Norikv__Internal__V1__ShardReplies replies = NORIKV__INTERNAL__V1__SHARD_REPLIES__INIT;
    replies.session = host->context->session;
    replies.replies = outbox->replies;
    replies.n_replies = outbox->count;
    nk_buf_clear(&host->scratch);
    nk_frame_pack(&host->scratch, NK_FRAME_SHARD_REPLIES, &replies.base);
    if (host->env->net.ops->send(host->env->net.ctx, outbox->peer, nk_buf_bytes(&host->scratch)) !=
        NK_OK) {
        /* The gateway is gone or does not read: its callers' deadlines decide. */
        metrics_dropped_replies(host, outbox->count);
    }
    outbox->count = 0;
    outbox->bytes = 0;
}

static char *copy_text(struct nk_arena *arena, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = nk_arena_alloc(arena, size);
    memcpy(copy, text, size);
    return copy;
}

void wire_reply(struct host *host, struct caller caller, enum nk_err err, const char *message,
                const ProtobufCMessage *response)
{
    struct outbox *outbox = outbox_of(host, caller.peer);
    Norikv__Internal__V1__ShardReply *reply = nk_arena_alloc(&host->arena, sizeof *reply);
    norikv__internal__v1__shard_reply__init(reply);
    reply->id = caller.id;
    reply->err = (uint32_t)err;
    if (message != NULL) {
        reply->message = copy_text(&host->arena, message);
    }
    if (response != NULL) {
        reply->response.len = protobuf_c_message_get_packed_size(response);
        reply->response.data = nk_arena_alloc(&host->arena, reply->response.len);
        (void)protobuf_c_message_pack(response, reply->response.data);
    }
    size_t bytes = REPLY_OVERHEAD_BYTES + reply->response.len + strlen(reply->message);
    if (outbox->bytes + bytes > NK_FRAME_BYTES_SOFT) {
        send_outbox(host, outbox);
    }
    if (outbox->count == outbox->capacity) {
        outbox->capacity = outbox->capacity < 64 ? 64 : 2 * outbox->capacity;
        outbox->replies = nk_realloc(outbox->replies, outbox->capacity * sizeof *outbox->replies);
    }
    outbox->replies[outbox->count] = reply;
    outbox->count++;
    outbox->bytes += bytes;
}

static void free_outbox(struct host *host, struct outbox *outbox)
{
    nk_peer peer = outbox->peer;
    (void)nk_map_remove(&host->outboxes, nk_map_key_u64(&peer));
    nk_free(outbox->replies);
    nk_free(outbox);
}

void wire_flush(struct host *host)
{
    size_t position = 0;
    struct nk_map_entry *entry = nk_map_next(&host->outboxes, &position);
    while (entry != NULL) {
        struct outbox *outbox = entry->value;
        send_outbox(host, outbox);
        entry = nk_map_next(&host->outboxes, &position);
    }
    /* Partners come and go; their empty outboxes are dropped when there are many. */
    if (host->outboxes.count > NK_PEERS_MAX) {
        position = 0;
        while ((entry = nk_map_next(&host->outboxes, &position)) != NULL) {
            free_outbox(host, entry->value);
        }
    }
    nk_arena_reset(&host->arena);
}

void wire_deinit(struct host *host)
{
    size_t position = 0;
    struct nk_map_entry *entry;
    while ((entry = nk_map_next(&host->outboxes, &position)) != NULL) {
        free_outbox(host, entry->value);
    }
    nk_map_deinit(&host->outboxes);
}

/* ---- In ---- */

/* Drops a request that has not been proposed yet; what is in the log is decided there. */
static void cancel(struct host *host, nk_peer peer, uint64_t id)
{
    struct pending *pending = pending_find(host, (struct caller){peer, id});
    pending_free(host, &pending);
}

static void take(struct host *host, nk_peer from, const Norikv__Internal__V1__ShardRequest *request)
{
    struct caller caller = {from, request->id};
    if (host->stopping) {
        wire_reply(host, caller, NK_UNAVAILABLE, HOST_STOPPING_TEXT, NULL);
        return;
    }
    if (request->op < NORIKV__INTERNAL__V1__SHARD_OP__SHARD_OP_PUT ||
        request->op > NORIKV__INTERNAL__V1__SHARD_OP__SHARD_OP_PROBE ||
        request->shard >= host->total_shards) {
        wire_reply(host, caller, NK_INVALID, "unknown operation or shard", NULL);
        return;
    }
    if (host->pending_count >= NK_SHARDHOST_REQUESTS_MAX ||
        host_bytes(host) >= NK_SHARDHOST_BYTES_MAX) {
        wire_reply(host, caller, NK_BUSY, "OVERLOADED: too many requests wait", NULL);
        return;
    }
    if (request->timeout_ms == 0) {
        return; /* too late already: the gateway answers by its own clock */
    }
    struct shard *shard;
    enum nk_err err = host_shard(host, request->shard, &shard);
    if (err != NK_OK) {
        wire_reply(host, caller, NK_UNAVAILABLE, "the shard could not be opened", NULL);
        return;
    }
    shard_request(shard, caller, request);
}

void wire_receive(struct host *host, nk_peer from, struct nk_bytes frame)
{
    enum nk_frame_type type;
    struct nk_bytes message;
    if (nk_frame_parse(frame, &type, &message) != NK_OK) {
        metrics_dropped_frame(host);
        return;
    }
    if (nk_member_receive(host->member, from, type, message)) {
        return;
    }
    if (type != NK_FRAME_SHARD_REQUESTS) {
        metrics_dropped_frame(host);
        return;
    }
    /* The requests stay decoded while they are carried out; each get decodes its own inside, so the
     * batch has an arena of its own. */
    struct nk_arena arena;
    nk_arena_init(&arena, 16 * NK_KIB, 4 * NK_FRAME_BYTES_MAX);
    Norikv__Internal__V1__ShardRequests *batch = (Norikv__Internal__V1__ShardRequests *)nk_unpack(
        &norikv__internal__v1__shard_requests__descriptor, message, &arena);
    if (batch == NULL) {
        metrics_dropped_frame(host);
    } else if (batch->session == host->context->session || NK_PLANTED(NK_PLANT_STALE_BATCH_RUN)) {
        for (size_t i = 0; i < batch->n_cancelled; i++) {
            cancel(host, from, batch->cancelled[i]);
        }
        for (size_t i = 0; i < batch->n_requests; i++) {
            take(host, from, batch->requests[i]);
        }
    }
    nk_arena_deinit(&arena);
}
