/* The command that the log stores: a header with what the leader decided, then the client's request
 * byte for byte, so that a put is copied, not encoded again.  Format: FORMAT.md.
 *
 * A log outlives the process that wrote it, so every version stays readable for ever. */

#include "command.h"

#include "common/base/assert.h"
#include "common/base/codec.h"
#include "common/base/limits.h"
#include "proto/frame.h"
#include "proto/norikv/v1/kv.pb-c.h"

#define COMMAND_VERSION      1
#define COMMAND_HEADER_BYTES ((size_t)22)

void kv_command_encode(enum kv_op op, const struct kv_stamp *stamp, struct nk_bytes request,
                       struct nk_buf *out)
{
    if (op == KV_OP_CLOCK) {
        NK_ASSERT(request.size == 0);
    }
    nk_buf_reserve(out, COMMAND_HEADER_BYTES + request.size);
    uint8_t *header = nk_buf_extend(out, COMMAND_HEADER_BYTES);
    header[0] = COMMAND_VERSION;
    header[1] = (uint8_t)op;
    nk_put_u64(header + 2, stamp->now_ms);
    nk_put_u64(header + 10, stamp->session_ttl_ms);
    nk_put_u32(header + 18, stamp->session_count_max);
    nk_buf_append(out, request);
}

enum nk_err kv_command_decode(struct nk_bytes payload, struct nk_arena *arena,
                              struct kv_command *out_command)
{
    if (payload.size > 0 && payload.data[0] > COMMAND_VERSION) {
        return NK_FORMAT_TOO_NEW;
    }
    if (payload.size < COMMAND_HEADER_BYTES || payload.data[0] != COMMAND_VERSION) {
        return NK_CORRUPT;
    }
    struct kv_command command = {0};
    command.op = (enum kv_op)payload.data[1];
    command.stamp.now_ms = nk_get_u64(payload.data + 2);
    command.stamp.session_ttl_ms = nk_get_u64(payload.data + 10);
    command.stamp.session_count_max = nk_get_u32(payload.data + 18);
    struct nk_bytes request =
        nk_bytes_of(payload.data + COMMAND_HEADER_BYTES, payload.size - COMMAND_HEADER_BYTES);
    if (!kv_request_decode(command.op, request, arena, &command)) {
        return NK_CORRUPT;
    }
    *out_command = command;
    return NK_OK;
}

static struct nk_bytes bytes_of(ProtobufCBinaryData data)
{
    return nk_bytes_of(data.data, data.len);
}

static void set_if_match(const Norikv__V1__Version *if_match, struct kv_command *command)
{
    command->has_if_match = if_match != NULL;
    if (if_match != NULL) {
        command->if_match.term = if_match->term;
        command->if_match.index = if_match->index;
    }
}

static bool decode_put(struct nk_bytes request, struct nk_arena *arena, struct kv_command *command);
static bool decode_delete(struct nk_bytes request, struct nk_arena *arena,
                          struct kv_command *command);

bool kv_request_decode(enum kv_op op, struct nk_bytes request, struct nk_arena *arena,
                       struct kv_command *command)
{
    switch (op) {
    case KV_OP_PUT:
        return decode_put(request, arena, command);
    case KV_OP_DELETE:
        return decode_delete(request, arena, command);
    case KV_OP_CLOCK:
        return request.size == 0;
    }
    return false;
}

static bool decode_put(struct nk_bytes request, struct nk_arena *arena, struct kv_command *command)
{
    const Norikv__V1__PutRequest *put = (const Norikv__V1__PutRequest *)nk_unpack(
        &norikv__v1__put_request__descriptor, request, arena);
    if (put == NULL) {
        return false;
    }
    command->key = bytes_of(put->key);
    command->value = bytes_of(put->value);
    command->idempotency_key = nk_bytes_of_string(put->idempotency_key);
    command->ttl_ms = put->ttl_ms;
    set_if_match(put->if_match, command);
    return true;
}

static bool decode_delete(struct nk_bytes request, struct nk_arena *arena,
                          struct kv_command *command)
{
    const Norikv__V1__DeleteRequest *delete_request = (const Norikv__V1__DeleteRequest *)nk_unpack(
        &norikv__v1__delete_request__descriptor, request, arena);
    if (delete_request == NULL) {
        return false;
    }
    command->key = bytes_of(delete_request->key);
    command->idempotency_key = nk_bytes_of_string(delete_request->idempotency_key);
    set_if_match(delete_request->if_match, command);
    return true;
}

bool kv_request_within_limits(const struct kv_command *command)
{
    return command->key.size >= 1 && command->key.size <= NK_KEY_BYTES_MAX &&
           command->value.size <= NK_VALUE_BYTES_MAX &&
           command->idempotency_key.size <= NK_IDEMPOTENCY_KEY_BYTES_MAX;
}
