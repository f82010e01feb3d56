#include "hosting.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "services/shardhost/shardhost.h"

static const struct nk_role_ops *const ops = &shardhost_role_ops;

static void start(struct hosting *hosting)
{
    char memory[256];
    struct nk_text reason;
    nk_text_init(&reason, memory, sizeof memory);
    enum nk_err err = ops->init(&hosting->stage.context, &hosting->role, &reason);
    cr_assert_eq(err, NK_OK, "%s", memory);
    hosting_meet(hosting);
}

void hosting_meet(struct hosting *hosting)
{
    hosting->gateway = stage_partner(&hosting->stage);
    hosting->session = hosting->stage.context.session;
}

void hosting_open(struct hosting *hosting)
{
    *hosting = (struct hosting){.id_next = 1, .shard = HOSTING_SHARD};
    stage_open(&hosting->stage);
    hosting->stage.config.raft.segment_bytes = 4 * NK_MIB;
    hosting->stage.config.disk.reserve_bytes = 0;
    hosting->stage.config.lsm.memtable_bytes = 8 * NK_KIB;
    start(hosting);
}

void hosting_close(struct hosting *hosting)
{
    (void)stage_run_jobs(&hosting->stage);
    ops->deinit(&hosting->role);
    stage_close(&hosting->stage);
}

void hosting_restart(struct hosting *hosting)
{
    (void)stage_run_jobs(&hosting->stage);
    ops->deinit(&hosting->role);
    sim_fs_kill(hosting->stage.fs);
    stage_restart(&hosting->stage);
    start(hosting);
}

uint64_t hosting_send(struct hosting *hosting, Norikv__Internal__V1__ShardOp op,
                      struct nk_bytes request)
{
    Norikv__Internal__V1__ShardRequest message = NORIKV__INTERNAL__V1__SHARD_REQUEST__INIT;
    message.id = hosting->id_next++;
    message.shard = hosting->shard;
    message.op = op;
    message.request.data = (uint8_t *)request.data;
    message.request.len = request.size;
    message.timeout_ms = 1000;
    Norikv__Internal__V1__ShardRequest *list[] = {&message};
    Norikv__Internal__V1__ShardRequests batch = NORIKV__INTERNAL__V1__SHARD_REQUESTS__INIT;
    batch.session = hosting->session;
    batch.requests = list;
    batch.n_requests = 1;
    stage_deliver(ops, hosting->role, hosting->gateway, NK_FRAME_SHARD_REQUESTS, &batch.base);
    return message.id;
}

void hosting_cancel(struct hosting *hosting, uint64_t *ids, size_t count)
{
    Norikv__Internal__V1__ShardRequests batch = NORIKV__INTERNAL__V1__SHARD_REQUESTS__INIT;
    batch.session = hosting->session;
    batch.cancelled = ids;
    batch.n_cancelled = count;
    stage_deliver(ops, hosting->role, hosting->gateway, NK_FRAME_SHARD_REQUESTS, &batch.base);
}

uint64_t hosting_send_message(struct hosting *hosting, Norikv__Internal__V1__ShardOp op,
                              const ProtobufCMessage *message)
{
    struct nk_buf packed = {0};
    size_t size = protobuf_c_message_get_packed_size(message);
    (void)protobuf_c_message_pack(message, nk_buf_extend(&packed, size));
    uint64_t id = hosting_send(hosting, op, nk_buf_bytes(&packed));
    nk_buf_deinit(&packed);
    return id;
}

static ProtobufCBinaryData data_of(const char *text)
{
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

const char *hosting_long_value(void)
{
    static char value[4000];
    memset(value, 'v', sizeof value - 1);
    return value;
}

uint64_t hosting_send_put(struct hosting *hosting, const char *key, const char *value)
{
    Norikv__V1__PutRequest put = NORIKV__V1__PUT_REQUEST__INIT;
    put.key = data_of(key);
    put.value = data_of(value);
    return hosting_send_message(hosting, NORIKV__INTERNAL__V1__SHARD_OP__SHARD_OP_PUT, &put.base);
}

uint64_t hosting_send_put_for(struct hosting *hosting, const char *key, uint64_t ttl_ms)
{
    Norikv__V1__PutRequest put = NORIKV__V1__PUT_REQUEST__INIT;
    put.key = data_of(key);
    put.value = data_of("for a while");
    put.ttl_ms = ttl_ms;
    return hosting_send_message(hosting, NORIKV__INTERNAL__V1__SHARD_OP__SHARD_OP_PUT, &put.base);
}

uint64_t hosting_send_delete(struct hosting *hosting, const char *key)
{
    Norikv__V1__DeleteRequest message = NORIKV__V1__DELETE_REQUEST__INIT;
    message.key = data_of(key);
    return hosting_send_message(hosting, NORIKV__INTERNAL__V1__SHARD_OP__SHARD_OP_DELETE,
                                &message.base);
}

uint64_t hosting_send_get(struct hosting *hosting, const char *key, const char *consistency)
{
    Norikv__V1__GetRequest get = NORIKV__V1__GET_REQUEST__INIT;
    get.key = data_of(key);
    get.consistency = (char *)(uintptr_t)consistency;
    return hosting_send_message(hosting, NORIKV__INTERNAL__V1__SHARD_OP__SHARD_OP_GET, &get.base);
}

void hosting_tick(struct hosting *hosting)
{
    (void)ops->tick(hosting->role);
}

void hosting_settle(struct hosting *hosting)
{
    stage_settle(&hosting->stage, ops, hosting->role);
}

const Norikv__Internal__V1__ShardReply *hosting_reply(struct hosting *hosting, uint64_t id)
{
    struct stage *stage = &hosting->stage;
    for (size_t i = 0; i < stage->frame_count; i++) {
        if (stage->frames[i].type != NK_FRAME_SHARD_REPLIES) {
            continue;
        }
        const Norikv__Internal__V1__ShardReplies *replies =
            (const Norikv__Internal__V1__ShardReplies *)stage_message(stage, &stage->frames[i]);
        for (size_t j = 0; j < replies->n_replies; j++) {
            if (replies->replies[j]->id == id) {
                return replies->replies[j];
            }
        }
    }
    return NULL;
}

enum nk_err hosting_err(struct hosting *hosting, uint64_t id)
{
    const Norikv__Internal__V1__ShardReply *reply = hosting_reply(hosting, id);
    cr_assert_not_null(reply, "request %llu has no answer", (unsigned long long)id);
    return (enum nk_err)reply->err;
}

size_t hosting_put_many(struct hosting *hosting, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char key[24];
        (void)snprintf(key, sizeof key, "k%zu", i);
        uint64_t put = hosting_send_put(hosting, key, hosting_long_value());
        hosting_settle(hosting);
        if (hosting_reply(hosting, put) == NULL || hosting_err(hosting, put) != NK_OK) {
            return i;
        }
    }
    return count;
}

const char *hosting_value(struct hosting *hosting, uint64_t id)
{
    cr_assert_eq(hosting_err(hosting, id), NK_OK);
    const Norikv__Internal__V1__ShardReply *reply = hosting_reply(hosting, id);
    const Norikv__V1__GetResponse *response = (const Norikv__V1__GetResponse *)nk_unpack(
        &norikv__v1__get_response__descriptor,
        nk_bytes_of(reply->response.data, reply->response.len), &hosting->stage.unpacked);
    cr_assert_not_null(response);
    char *text = nk_arena_alloc(&hosting->stage.unpacked, response->value.len + 1);
    if (response->value.len > 0) {
        memcpy(text, response->value.data, response->value.len);
    }
    text[response->value.len] = '\0';
    return text;
}
