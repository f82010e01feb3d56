/* Wire frames and the messages inside, as bytes.
 *
 * The input is parsed as a frame, and its message decoded if it is one; then once more with length
 * and checksum put right.  Then the message type that its first byte picks is decoded from the
 * rest: what decodes re-encodes to bytes that decode to the same bytes, all within the arena's
 * limit. */

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/codec.h"
#include "common/base/crc32c.h"
#include "common/base/units.h"
#include "proto/frame.h"
#include "proto/norikv/internal/v1/gossip.pb-c.h"
#include "proto/norikv/internal/v1/shard.pb-c.h"
#include "proto/norikv/v1/kv.pb-c.h"
#include "proto/norikv/v1/meta.pb-c.h"

#define ARENA_LIMIT_BYTES ((size_t)(256 * NK_KIB))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const ProtobufCMessageDescriptor *const types[] = {
    &norikv__internal__v1__shard_requests__descriptor,
    &norikv__internal__v1__shard_replies__descriptor,
    &norikv__internal__v1__register__descriptor,
    &norikv__internal__v1__registered__descriptor,
    &norikv__internal__v1__heartbeat__descriptor,
    &norikv__internal__v1__shard_report__descriptor,
    &norikv__internal__v1__state_request__descriptor,
    &norikv__internal__v1__state_update__descriptor,
    &norikv__v1__put_request__descriptor,
    &norikv__v1__put_response__descriptor,
    &norikv__v1__get_request__descriptor,
    &norikv__v1__get_response__descriptor,
    &norikv__v1__delete_request__descriptor,
    &norikv__v1__delete_response__descriptor,
    &norikv__v1__cluster_view__descriptor,
};

/* The first types are those of the frames, in the order of their numbers. */
static_assert(NK_FRAME_SHARD_REQUESTS == 1, "types[0]");
static_assert(NK_FRAME_STATE_UPDATE == 8, "types[7]");
static_assert(NK_FRAME_TYPE_LIMIT == 9, "a new frame type goes into types[]");

static void pack(const ProtobufCMessage *message, struct nk_buf *out)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    size_t packed = protobuf_c_message_pack(message, nk_buf_extend(out, size));
    NK_ASSERT(packed == size);
}

static void check_message(const ProtobufCMessageDescriptor *type, struct nk_bytes bytes)
{
    struct nk_arena arena;
    nk_arena_init(&arena, 4096, ARENA_LIMIT_BYTES);
    ProtobufCMessage *message = nk_unpack(type, bytes, &arena);
    NK_ASSERT(arena.used_bytes <= ARENA_LIMIT_BYTES);
    if (message != NULL) {
        struct nk_buf first = {0};
        pack(message, &first);
        /* Not bounded: what merging repeated fields made may need more than the input did. */
        struct nk_arena second_arena;
        nk_arena_init(&second_arena, 4096, 0);
        ProtobufCMessage *again = nk_unpack(type, nk_buf_bytes(&first), &second_arena);
        /* protobuf-c keeps an unknown field whose over-long tag says number 0, and refuses it when
         * it reads its own output; nothing of ours packs what it received. */
        if (again != NULL) {
            struct nk_buf second = {0};
            pack(again, &second);
            NK_ASSERT(nk_bytes_equal(nk_buf_bytes(&first), nk_buf_bytes(&second)));
            nk_buf_deinit(&second);
        }
        nk_arena_deinit(&second_arena);
        nk_buf_deinit(&first);
    }
    nk_arena_deinit(&arena);
}

static enum nk_err check_frame(struct nk_bytes bytes)
{
    enum nk_frame_type type;
    struct nk_bytes message;
    enum nk_err err = nk_frame_parse(bytes, &type, &message);
    if (err != NK_OK) {
        NK_ASSERT(err == NK_CORRUPT || err == NK_FORMAT_TOO_NEW);
        return err;
    }
    NK_ASSERT(type >= NK_FRAME_SHARD_REQUESTS);
    NK_ASSERT(type < NK_FRAME_TYPE_LIMIT);
    NK_ASSERT(message.size == bytes.size - NK_FRAME_HEADER_BYTES);
    check_message(types[type - 1], message);
    return NK_OK;
}

/* With length and checksum right, magic, version and type decide alone. */
static void check_sealed(struct nk_bytes bytes)
{
    if (bytes.size < NK_FRAME_HEADER_BYTES) {
        return;
    }
    uint8_t *frame = nk_alloc(bytes.size);
    memcpy(frame, bytes.data, bytes.size);
    nk_put_u32(frame + 4, (uint32_t)(bytes.size - NK_FRAME_HEADER_BYTES));
    uint32_t crc = nk_crc32c(nk_bytes_of(frame, 8));
    nk_put_u32(frame + 8, nk_crc32c_extend(crc, nk_bytes_of(frame + NK_FRAME_HEADER_BYTES,
                                                            bytes.size - NK_FRAME_HEADER_BYTES)));
    enum nk_err expected = NK_OK;
    if (nk_get_u16(frame) != 0x4B4E) {
        expected = NK_CORRUPT;
    } else if (frame[2] > NK_FRAME_VERSION) {
        expected = NK_FORMAT_TOO_NEW;
    } else if (frame[2] < NK_FRAME_VERSION || frame[3] == 0 || frame[3] >= NK_FRAME_TYPE_LIMIT) {
        expected = NK_CORRUPT;
    }
    NK_ASSERT(check_frame(nk_bytes_of(frame, bytes.size)) == expected);
    nk_free(frame);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nk_bytes bytes = nk_bytes_of(data, size);
    (void)check_frame(bytes);
    check_sealed(bytes);
    if (size > 0) {
        check_message(types[data[0] % NK_COUNT_OF(types)], nk_bytes_of(data + 1, size - 1));
    }
    return 0;
}
