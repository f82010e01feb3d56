/* Public requests, as the gateway checks them and the shardhost then takes them apart.
 *
 * The first byte picks put, get or delete; the rest is the packed message.  The gateway reads it
 * where it lies and routes by what it saw, the shardhost decodes it with another parser: what the
 * first lets through the second must take, see the same key in it, and find within the limits,
 * without more memory than it allows itself.  Packed again, the message is let through again. */

#include "common/base/assert.h"
#include "common/base/limits.h"
#include "proto/frame.h"
#include "proto/norikv/v1/kv.pb-c.h"
#include "services/gateway/check.h"
#include "services/gateway/utf8.h"
#include "services/shardhost/kv/command.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct gateway_limits limits = {
    .key_bytes_max = NK_KEY_BYTES_MAX,
    .value_bytes_max = NK_VALUE_BYTES_MAX,
};

static const ProtobufCMessageDescriptor *const types[] = {
    [GATEWAY_OP_PUT] = &norikv__v1__put_request__descriptor,
    [GATEWAY_OP_GET] = &norikv__v1__get_request__descriptor,
    [GATEWAY_OP_DELETE] = &norikv__v1__delete_request__descriptor,
};

/* A refusal has its reason, fit for a status message. */
static bool checks(enum gateway_op op, struct nk_bytes message, struct gateway_checked *out_checked)
{
    char memory[GATEWAY_TEXT_BYTES_MAX];
    struct nk_text text;
    nk_text_init(&text, memory, sizeof memory);
    enum nk_err err = gateway_check(op, message, &limits, out_checked, &text);
    NK_ASSERT(err == NK_OK || err == NK_INVALID || err == NK_TOO_LARGE);
    NK_ASSERT(!text.truncated);
    NK_ASSERT((err == NK_OK) == (text.size == 0));
    NK_ASSERT(gateway_utf8_valid(nk_bytes_of_string(memory)));
    if (err == NK_OK) {
        NK_ASSERT(out_checked->key.size >= 1);
        NK_ASSERT(out_checked->key.size <= NK_KEY_BYTES_MAX);
        NK_ASSERT(out_checked->key.data >= message.data);
        NK_ASSERT(out_checked->key.data + out_checked->key.size <= message.data + message.size);
    }
    return err == NK_OK;
}

static void check_write(enum gateway_op op, struct nk_bytes message, struct nk_arena *arena,
                        const struct gateway_checked *checked)
{
    struct kv_command command = {0};
    enum kv_op kv_op = op == GATEWAY_OP_PUT ? KV_OP_PUT : KV_OP_DELETE;
    bool decodes = kv_request_decode(kv_op, message, arena, &command);
    NK_ASSERT(decodes);
    NK_ASSERT(kv_request_within_limits(&command));
    NK_ASSERT(nk_bytes_equal(command.key, checked->key));
    NK_ASSERT((command.idempotency_key.size > 0) == checked->has_idempotency_key);
}

static void check_get(struct nk_bytes message, struct nk_arena *arena,
                      const struct gateway_checked *checked)
{
    const Norikv__V1__GetRequest *get = (const Norikv__V1__GetRequest *)nk_unpack(
        &norikv__v1__get_request__descriptor, message, arena);
    NK_ASSERT(get != NULL);
    NK_ASSERT(nk_bytes_equal(nk_bytes_of(get->key.data, get->key.len), checked->key));
    NK_ASSERT(!checked->has_idempotency_key);
}

static void check_repacked(enum gateway_op op, struct nk_bytes message,
                           const struct gateway_checked *checked)
{
    struct nk_arena arena;
    nk_arena_init(&arena, 4096, KV_REQUEST_ARENA_BYTES_MAX);
    const ProtobufCMessage *decoded = nk_unpack(types[op], message, &arena);
    NK_ASSERT(decoded != NULL);
    struct nk_buf packed = {0};
    size_t size = protobuf_c_message_get_packed_size(decoded);
    (void)protobuf_c_message_pack(decoded, nk_buf_extend(&packed, size));
    struct gateway_checked again = {0};
    bool passes = checks(op, nk_buf_bytes(&packed), &again);
    NK_ASSERT(passes);
    NK_ASSERT(nk_bytes_equal(again.key, checked->key));
    NK_ASSERT(again.has_idempotency_key == checked->has_idempotency_key);
    nk_buf_deinit(&packed);
    nk_arena_deinit(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    enum gateway_op op = (enum gateway_op)(GATEWAY_OP_PUT + data[0] % 3);
    struct nk_bytes message = nk_bytes_of(data + 1, size - 1);
    struct nk_arena arena;
    nk_arena_init(&arena, 4096, KV_REQUEST_ARENA_BYTES_MAX);
    struct gateway_checked checked = {0};
    if (!checks(op, message, &checked)) {
        /* The shardhost does not count on the check: it must survive the message all the same. */
        (void)nk_unpack(types[op], message, &arena);
    } else if (op == GATEWAY_OP_GET) {
        check_get(message, &arena, &checked);
    } else {
        check_write(op, message, &arena, &checked);
    }
    NK_ASSERT(arena.used_bytes <= KV_REQUEST_ARENA_BYTES_MAX);
    nk_arena_deinit(&arena);
    if (checked.key.size > 0) {
        check_repacked(op, message, &checked);
    }
    return 0;
}
