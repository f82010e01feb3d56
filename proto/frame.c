#include "proto/frame.h"

#include "common/base/assert.h"
#include "common/base/codec.h"
#include "common/base/crc32c.h"
#include "common/base/limits.h"

#define FRAME_MAGIC 0x4B4E

static uint32_t frame_crc(const uint8_t *header, struct nk_bytes message)
{
    return nk_crc32c_extend(nk_crc32c(nk_bytes_of(header, 8)), message);
}

void nk_frame_pack(struct nk_buf *out, enum nk_frame_type type, const ProtobufCMessage *message)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    NK_ASSERT(size <= NK_FRAME_BYTES_MAX - NK_FRAME_HEADER_BYTES);
    uint8_t *frame = nk_buf_extend(out, NK_FRAME_HEADER_BYTES + size);
    size_t packed = protobuf_c_message_pack(message, frame + NK_FRAME_HEADER_BYTES);
    NK_ASSERT(packed == size);
    nk_put_u16(frame, FRAME_MAGIC);
    frame[2] = NK_FRAME_VERSION;
    frame[3] = (uint8_t)type;
    nk_put_u32(frame + 4, (uint32_t)size);
    nk_put_u32(frame + 8, frame_crc(frame, nk_bytes_of(frame + NK_FRAME_HEADER_BYTES, size)));
}

enum nk_err nk_frame_parse(struct nk_bytes frame, enum nk_frame_type *out_type,
                           struct nk_bytes *out_message)
{
    if (frame.size < NK_FRAME_HEADER_BYTES || frame.size > NK_FRAME_BYTES_MAX ||
        nk_get_u16(frame.data) != FRAME_MAGIC) {
        return NK_CORRUPT;
    }
    struct nk_bytes message =
        nk_bytes_of(frame.data + NK_FRAME_HEADER_BYTES, frame.size - NK_FRAME_HEADER_BYTES);
    if (nk_get_u32(frame.data + 4) != message.size ||
        nk_get_u32(frame.data + 8) != frame_crc(frame.data, message)) {
        return NK_CORRUPT;
    }
    if (frame.data[2] > NK_FRAME_VERSION) {
        return NK_FORMAT_TOO_NEW;
    }
    if (frame.data[2] != NK_FRAME_VERSION || frame.data[3] == 0 ||
        frame.data[3] >= NK_FRAME_TYPE_LIMIT) {
        return NK_CORRUPT;
    }
    *out_type = (enum nk_frame_type)frame.data[3];
    *out_message = message;
    return NK_OK;
}

static void *arena_allocate(void *arena, size_t size)
{
    return nk_arena_try(arena, size);
}

static void arena_free(void *arena, void *memory)
{
    (void)arena;
    (void)memory;
}

ProtobufCMessage *nk_unpack(const ProtobufCMessageDescriptor *type, struct nk_bytes bytes,
                            struct nk_arena *arena)
{
    ProtobufCAllocator allocator = {arena_allocate, arena_free, arena};
    static const uint8_t nothing = 0;
    return protobuf_c_message_unpack(type, &allocator, bytes.size,
                                     bytes.size > 0 ? bytes.data : &nothing);
}
