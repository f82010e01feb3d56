/* Frames for whole roles: a gateway, a shardhost or a gossip process, as it is, with whatever
 * others may send it.
 *
 * The first byte picks the role; what follows are steps: a message in a frame with a good checksum,
 * a request, time passing.  Whatever they are, the role goes on or says that another process has
 * its name; what it sends are whole frames of known messages; a shardhost answers no request that
 * it was not asked and none twice, and what it answers makes sense; a gateway ends every request
 * and every watch exactly once. */

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/codec.h"
#include "common/base/crc32c.h"
#include "common/base/limits.h"
#include "common/base/map.h"
#include "proto/frame.h"
#include "proto/norikv/internal/v1/gossip.pb-c.h"
#include "proto/norikv/internal/v1/shard.pb-c.h"
#include "proto/norikv/v1/kv.pb-c.h"
#include "services/gateway/gateway.h"
#include "services/gateway/utf8.h"
#include "services/gossip/gossip.h"
#include "services/shardhost/shardhost.h"
#include "tests/sim/circle.h"
#include "tests/sim/fs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SESSION       5
#define TOTAL_SHARDS  4
#define REQUESTS_MAX  64
#define STEPS_MAX     512
#define WALL_START_MS UINT64_C(1800000000000)

static const struct nk_role_ops *const roles[] = {&gateway_role_ops, &shardhost_role_ops,
                                                  &gossip_role_ops};

/* Gossip, as the roles are configured, and two others. */
static const char *const strangers[] = {CIRCLE_STRANGER "gossip", CIRCLE_STRANGER "a",
                                        CIRCLE_STRANGER "b"};

/* How often a shardhost may still answer an id. */
struct asked {
    size_t count;
    Norikv__Internal__V1__ShardOp op;
    bool several_ops; /* then it is open which one an answer is to */
};

struct request {
    struct gateway_request request;
    struct nk_buf message;
    bool submitted;
    bool cancelled;
    size_t done;
};

struct watch {
    struct gateway_watch watch;
    uint64_t epoch;
    bool opened;
    bool closing;
    size_t closed;
};

/* A request as a gateway sent it on. */
struct relayed {
    uint64_t id;
    uint64_t session;
};

struct scene {
    const struct nk_role_ops *ops;
    void *role;
    struct circle *circle;
    uint64_t now_us;
    struct nk_map asked; /* id -> struct asked *, all strangers */
    struct request requests[REQUESTS_MAX];
    size_t request_count;
    struct watch watches[REQUESTS_MAX];
    size_t watch_count;
    struct relayed relayed[REQUESTS_MAX]; /* the last ones, in a ring */
    size_t relayed_count;
};

/* ---- What the role says ---- */

static const ProtobufCMessageDescriptor *const frame_types[] = {
    [NK_FRAME_SHARD_REQUESTS] = &norikv__internal__v1__shard_requests__descriptor,
    [NK_FRAME_SHARD_REPLIES] = &norikv__internal__v1__shard_replies__descriptor,
    [NK_FRAME_REGISTER] = &norikv__internal__v1__register__descriptor,
    [NK_FRAME_REGISTERED] = &norikv__internal__v1__registered__descriptor,
    [NK_FRAME_HEARTBEAT] = &norikv__internal__v1__heartbeat__descriptor,
    [NK_FRAME_SHARD_REPORT] = &norikv__internal__v1__shard_report__descriptor,
    [NK_FRAME_STATE_REQUEST] = &norikv__internal__v1__state_request__descriptor,
    [NK_FRAME_STATE_UPDATE] = &norikv__internal__v1__state_update__descriptor,
};

static_assert(NK_COUNT_OF(frame_types) == NK_FRAME_TYPE_LIMIT, "a descriptor for each type");

static void check_response(const Norikv__Internal__V1__ShardReply *reply, const struct asked *asked)
{
    Norikv__Internal__V1__ShardOp op = asked->op;
    static const ProtobufCMessageDescriptor *const types[] = {
        [NORIKV__INTERNAL__V1__SHARD_OP__SHARD_OP_PUT] = &norikv__v1__put_response__descriptor,
        [NORIKV__INTERNAL__V1__SHARD_OP__SHARD_OP_GET] = &norikv__v1__get_response__descriptor,
        [NORIKV__INTERNAL__V1__SHARD_OP__SHARD_OP_DELETE] =
            &norikv__v1__delete_response__descriptor,
    };
    NK_ASSERT(strcmp(nk_err_name((enum nk_err)reply->err), "unknown") != 0);
    NK_ASSERT(!nk_err_is_fault((enum nk_err)reply->err));
    if (reply->err != NK_OK) {
        NK_ASSERT(reply->response.len == 0);
    } else if (asked->several_ops) {
        return;
    } else if (op == NORIKV__INTERNAL__V1__SHARD_OP__SHARD_OP_PROBE) {
        NK_ASSERT(reply->response.len == 0);
    } else {
        struct nk_arena arena;
        nk_arena_init(&arena, 4096, 0);
        NK_ASSERT(op > 0);
        NK_ASSERT(op < (int)NK_COUNT_OF(types));
        const ProtobufCMessage *response =
            nk_unpack(types[op], nk_bytes_of(reply->response.data, reply->response.len), &arena);
        NK_ASSERT(response != NULL);
        NK_ASSERT(response->n_unknown_fields == 0);
        nk_arena_deinit(&arena);
    }
}

static void check_replies(struct scene *scene, const Norikv__Internal__V1__ShardReplies *replies)
{
    NK_ASSERT(replies->session == SESSION);
    for (size_t i = 0; i < replies->n_replies; i++) {
        const Norikv__Internal__V1__ShardReply *reply = replies->replies[i];
        struct asked *asked = nk_map_get(&scene->asked, nk_map_key_u64(&reply->id));
        NK_ASSERT(asked != NULL);
        NK_ASSERT(asked->count > 0);
        asked->count--;
        check_response(reply, asked);
    }
}

static void note_relayed(struct scene *scene, const Norikv__Internal__V1__ShardRequests *batch)
{
    for (size_t i = 0; i < batch->n_requests; i++) {
        NK_ASSERT(batch->requests[i]->timeout_ms > 0);
        NK_ASSERT(batch->requests[i]->shard < TOTAL_SHARDS);
        scene->relayed[scene->relayed_count++ % REQUESTS_MAX] =
            (struct relayed){batch->requests[i]->id, batch->session};
    }
}

static void sent(void *ctx, const char *role, nk_peer to, struct nk_bytes frame)
{
    struct scene *scene = ctx;
    enum nk_frame_type type;
    struct nk_bytes message;
    (void)to;
    NK_ASSERT(strcmp(role, scene->ops->name) == 0);
    enum nk_err err = nk_frame_parse(frame, &type, &message);
    NK_ASSERT(err == NK_OK);
    struct nk_arena arena;
    nk_arena_init(&arena, 4096, 0);
    const ProtobufCMessage *decoded = nk_unpack(frame_types[type], message, &arena);
    NK_ASSERT(decoded != NULL);
    NK_ASSERT(decoded->n_unknown_fields == 0);
    if (type == NK_FRAME_SHARD_REPLIES) {
        check_replies(scene, (const Norikv__Internal__V1__ShardReplies *)decoded);
    } else if (type == NK_FRAME_SHARD_REQUESTS) {
        note_relayed(scene, (const Norikv__Internal__V1__ShardRequests *)decoded);
    }
    nk_arena_deinit(&arena);
}

/* ---- What others say to it ---- */

static void note_asked(struct scene *scene, struct nk_bytes message)
{
    struct nk_arena arena;
    nk_arena_init(&arena, 4096, 0);
    const Norikv__Internal__V1__ShardRequests *batch =
        (const Norikv__Internal__V1__ShardRequests *)nk_unpack(frame_types[NK_FRAME_SHARD_REQUESTS],
                                                               message, &arena);
    for (size_t i = 0; batch != NULL && batch->session == SESSION && i < batch->n_requests; i++) {
        const Norikv__Internal__V1__ShardRequest *request = batch->requests[i];
        struct nk_bytes key = nk_map_key_u64(&request->id);
        struct asked *asked = nk_map_get(&scene->asked, key);
        if (asked == NULL) {
            asked = nk_alloc_zero(1, sizeof *asked);
            asked->op = request->op;
            (void)nk_map_put(&scene->asked, key, asked);
        }
        asked->count++;
        asked->several_ops |= request->op != asked->op;
    }
    nk_arena_deinit(&arena);
}

static void inject(struct scene *scene, const char *stranger, uint8_t type, struct nk_bytes message)
{
    struct nk_buf frame = {0};
    uint8_t *header = nk_buf_extend(&frame, NK_FRAME_HEADER_BYTES);
    nk_put_u16(header, 0x4B4E);
    header[2] = NK_FRAME_VERSION;
    header[3] = type;
    nk_put_u32(header + 4, (uint32_t)message.size);
    uint32_t crc = nk_crc32c(nk_bytes_of(header, 8));
    nk_put_u32(header + 8, nk_crc32c_extend(crc, message));
    nk_buf_append(&frame, message);
    if (type == NK_FRAME_SHARD_REQUESTS) {
        note_asked(scene, message);
    }
    circle_inject(scene->circle, scene->ops->name, stranger, nk_buf_bytes(&frame));
    nk_buf_deinit(&frame);
}

static struct nk_bytes read_piece(struct nk_reader *input)
{
    size_t size = nk_read_u16(input);
    return nk_read_bytes(input, nk_min_size(size, nk_reader_left(input)));
}

/* A batch of one request, for a shardhost: id, shard and time in a byte each. */
static void inject_request(struct scene *scene, struct nk_reader *input, const char *stranger)
{
    Norikv__Internal__V1__ShardRequest request = NORIKV__INTERNAL__V1__SHARD_REQUEST__INIT;
    Norikv__Internal__V1__ShardRequest *list[] = {&request};
    Norikv__Internal__V1__ShardRequests batch = NORIKV__INTERNAL__V1__SHARD_REQUESTS__INIT;
    request.id = nk_read_u8(input);
    request.shard = nk_read_u8(input) % (TOTAL_SHARDS + 1);
    request.op = (Norikv__Internal__V1__ShardOp)(nk_read_u8(input) % 6);
    request.timeout_ms = (uint32_t)nk_read_u8(input) * 16;
    struct nk_bytes message = read_piece(input);
    request.request.data = (uint8_t *)(uintptr_t)message.data;
    request.request.len = message.size;
    batch.session = SESSION;
    batch.n_requests = 1;
    batch.requests = list;
    struct nk_buf packed = {0};
    size_t size = protobuf_c_message_get_packed_size(&batch.base);
    (void)protobuf_c_message_pack(&batch.base, nk_buf_extend(&packed, size));
    inject(scene, stranger, NK_FRAME_SHARD_REQUESTS, nk_buf_bytes(&packed));
    nk_buf_deinit(&packed);
}

/* An answer to one of the last requests that a gateway sent on. */
static void inject_reply(struct scene *scene, struct nk_reader *input, const char *stranger)
{
    Norikv__Internal__V1__ShardReply reply = NORIKV__INTERNAL__V1__SHARD_REPLY__INIT;
    Norikv__Internal__V1__ShardReply *list[] = {&reply};
    Norikv__Internal__V1__ShardReplies batch = NORIKV__INTERNAL__V1__SHARD_REPLIES__INIT;
    static char leaders[][8] = {"", "n1", "n2", "node0"};
    const struct relayed *relayed = &scene->relayed[nk_read_u8(input) % REQUESTS_MAX];
    uint8_t how = nk_read_u8(input);
    struct nk_bytes response = read_piece(input);
    reply.id = relayed->id;
    reply.err = how % 32;
    reply.leader_node = leaders[how / 32 % NK_COUNT_OF(leaders)];
    static char because[] = "because";
    reply.message = because + (reply.err != 0 ? 0 : strlen(because));
    reply.response.data = (uint8_t *)(uintptr_t)response.data;
    reply.response.len = response.size;
    batch.session = relayed->session;
    batch.n_replies = 1;
    batch.replies = list;
    struct nk_buf packed = {0};
    size_t size = protobuf_c_message_get_packed_size(&batch.base);
    (void)protobuf_c_message_pack(&batch.base, nk_buf_extend(&packed, size));
    inject(scene, stranger, NK_FRAME_SHARD_REPLIES, nk_buf_bytes(&packed));
    nk_buf_deinit(&packed);
}

/* ---- Callers of a gateway ---- */

static void request_done(struct gateway_request *gateway_request)
{
    struct request *request = NK_CONTAINER_OF(gateway_request, struct request, request);
    request->done++;
    NK_ASSERT(request->done == 1);
    NK_ASSERT(gateway_utf8_valid(nk_bytes_of_string(gateway_request->text)));
    NK_ASSERT((gateway_request->err == NK_OK) == (gateway_request->text[0] == '\0'));
    if (gateway_request->err == NK_CANCELLED) {
        NK_ASSERT(request->cancelled);
    }
}

static void submit(struct scene *scene, struct nk_reader *input)
{
    if (scene->request_count == REQUESTS_MAX) {
        return;
    }
    struct request *request = &scene->requests[scene->request_count++];
    uint8_t how = nk_read_u8(input);
    request->request.op = (enum gateway_op)(GATEWAY_OP_PUT + how % 3);
    request->request.deadline_us =
        how & 0x80 ? UINT64_MAX : scene->now_us + (uint64_t)(how >> 2) * 100000;
    request->request.done = request_done;
    nk_buf_append(&request->message, read_piece(input));
    request->request.message = nk_buf_bytes(&request->message);
    request->submitted = true;
    gateway_submit(scene->role, &request->request);
}

static void cancel(struct scene *scene, struct nk_reader *input)
{
    size_t which = nk_read_u8(input);
    if (which < scene->request_count && !scene->requests[which].cancelled) {
        scene->requests[which].cancelled = true;
        gateway_cancel(scene->role, &scene->requests[which].request);
    }
}

static void watch_changed(struct gateway_watch *gateway_watch, struct nk_bytes view)
{
    struct watch *watch = NK_CONTAINER_OF(gateway_watch, struct watch, watch);
    NK_ASSERT(watch->closed == 0);
    NK_ASSERT(gateway_watch->epoch > watch->epoch);
    NK_ASSERT(view.size > 0);
    watch->epoch = gateway_watch->epoch;
}

static void watch_closed(struct gateway_watch *gateway_watch, enum nk_err err)
{
    struct watch *watch = NK_CONTAINER_OF(gateway_watch, struct watch, watch);
    watch->closed++;
    NK_ASSERT(watch->closed == 1);
    NK_ASSERT(err == NK_UNAVAILABLE || (err == NK_CANCELLED && watch->closing));
}

static void open_watch(struct scene *scene, struct nk_reader *input)
{
    if (scene->watch_count == REQUESTS_MAX) {
        return;
    }
    struct watch *watch = &scene->watches[scene->watch_count++];
    watch->epoch = nk_read_u8(input);
    watch->watch.epoch = watch->epoch;
    watch->watch.changed = watch_changed;
    watch->watch.closed = watch_closed;
    gateway_watch_open(scene->role, &watch->watch);
}

static void close_watch(struct scene *scene, struct nk_reader *input)
{
    size_t which = nk_read_u8(input);
    if (which < scene->watch_count && !scene->watches[which].closing) {
        scene->watches[which].closing = true;
        gateway_watch_close(scene->role, &scene->watches[which].watch);
    }
}

/* ---- Steps ---- */

static void step_gateway(struct scene *scene, struct nk_reader *input, const char *stranger)
{
    switch (nk_read_u8(input) % 5) {
    case 0:
        submit(scene, input);
        break;
    case 1:
        cancel(scene, input);
        break;
    case 2:
        open_watch(scene, input);
        break;
    case 3:
        close_watch(scene, input);
        break;
    default:
        inject_reply(scene, input, stranger);
        break;
    }
}

static void step(struct scene *scene, struct nk_reader *input)
{
    uint8_t step = nk_read_u8(input);
    const char *stranger = strangers[(step >> 4 & 7) % NK_COUNT_OF(strangers)];
    switch (step % 4) {
    case 0:
        scene->now_us += (uint64_t)nk_read_u16(input) * NK_US_PER_MS;
        (void)circle_turn(scene->circle);
        break;
    case 1:
        if (scene->ops == &gateway_role_ops) {
            step_gateway(scene, input, stranger);
        } else if (scene->ops == &shardhost_role_ops) {
            inject_request(scene, input, stranger);
        }
        break;
    default: {
        uint8_t type = nk_read_u8(input);
        inject(scene, stranger, type, read_piece(input));
        break;
    }
    }
    if (step & 0x80) {
        (void)circle_turn(scene->circle);
    }
}

/* ---- The scene ---- */

static uint64_t clock_mono_us(void *ctx)
{
    const struct scene *scene = ctx;
    return scene->now_us;
}

static uint64_t clock_wall_ms(void *ctx)
{
    const struct scene *scene = ctx;
    return WALL_START_MS + scene->now_us / NK_US_PER_MS;
}

static const struct nk_clock_ops clock_ops = {clock_mono_us, clock_wall_ms};

static void configure(struct nk_config *config)
{
    nk_config_defaults(config);
    config->node_id = "node0";
    config->data_dir = "memory";
    config->cluster.total_shards = TOTAL_SHARDS;
    config->lsm.memtable_bytes = 8 * NK_KIB;
    config->lsm.write_buffer_total_bytes = 32 * NK_KIB;
    config->lsm.block_cache_bytes = 16 * NK_KIB;
    config->raft.segment_bytes = 16 * NK_KIB;
    config->limits.inflight_max = REQUESTS_MAX / 2;
    config->disk.reserve_bytes = 0;
    config->bus.gossip_addrs = (struct nk_config_list){.items = strangers, .count = 1};
}

static void end(struct scene *scene)
{
    struct nk_buf page = {0};
    if (scene->ops == &gossip_role_ops) {
        gossip_cluster_json(scene->role, &page);
        gossip_targets_json(scene->role, &page);
        NK_ASSERT(page.size > 0);
    } else if (scene->ops == &gateway_role_ops) {
        gateway_view_json(scene->role, &page);
        gateway_targets_json(scene->role, &page);
        NK_ASSERT(page.size > 0);
    }
    nk_buf_deinit(&page);
    circle_stop(scene->circle);
    (void)circle_turn(scene->circle);
    if (scene->ops == &gateway_role_ops) {
        gateway_end(scene->role);
        struct request late = {.request = {.op = GATEWAY_OP_GET, .done = request_done}};
        gateway_submit(scene->role, &late.request);
        NK_ASSERT(late.done == 1);
        NK_ASSERT(late.request.err == NK_UNAVAILABLE);
    }
    circle_free(&scene->circle);
    for (size_t i = 0; i < scene->request_count; i++) {
        NK_ASSERT(scene->requests[i].done == 1);
        nk_buf_deinit(&scene->requests[i].message);
    }
    for (size_t i = 0; i < scene->watch_count; i++) {
        NK_ASSERT(scene->watches[i].closed == 1);
    }
    size_t position = 0;
    struct nk_map_entry *entry;
    while ((entry = nk_map_next(&scene->asked, &position)) != NULL) {
        nk_free(entry->value);
    }
    nk_map_deinit(&scene->asked);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct scene scene;
    struct nk_reader input = nk_reader_of(nk_bytes_of(data, size));
    struct nk_config config;
    configure(&config);
    memset(&scene, 0, sizeof scene);
    scene.ops = roles[nk_read_u8(&input) % NK_COUNT_OF(roles)];
    scene.now_us = NK_US_PER_SEC;
    nk_map_init(&scene.asked);
    struct sim_fs *sim = sim_fs_new(1);
    struct circle_options options = {
        .config = &config,
        .clock = {&clock_ops, &scene},
        .fs = sim_fs_handle(sim),
        .sent = sent,
        .ctx = &scene,
    };
    circle_new(&options, &scene.circle);
    scene.role = circle_add(scene.circle, scene.ops, SESSION);
    (void)circle_turn(scene.circle);
    enum nk_err fault = NK_OK;
    for (size_t i = 0; i < STEPS_MAX && fault == NK_OK && nk_reader_left(&input) > 0; i++) {
        step(&scene, &input);
        fault = circle_fault(scene.circle);
        NK_ASSERT(fault == NK_OK || fault == NK_CONFLICT);
    }
    end(&scene);
    sim_fs_free(&sim);
    return 0;
}
