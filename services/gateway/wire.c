#include "services/gateway/wire.h"

#include "common/base/assert.h"
#include "common/base/codec.h"
#include "common/base/units.h"

#define WIRE_FIELD_NUMBER_MAX ((uint64_t)(1 << 29) - 1)
#define WIRE_HEAD_BYTES_MAX   ((size_t)5) /* of a tag, of a length */

static bool read_varint(struct nk_bytes message, size_t *position, size_t bytes_max,
                        uint64_t *out_value);
static bool skip(struct nk_bytes message, size_t *position, uint64_t size, size_t *out_start);

enum nk_err wire_next(struct nk_bytes message, size_t *position, struct wire_field *out_field)
{
    NK_ASSERT(*position <= message.size);
    if (*position == message.size) {
        return NK_NOT_FOUND;
    }
    size_t next = *position;
    uint64_t tag = 0;
    if (!read_varint(message, &next, WIRE_HEAD_BYTES_MAX, &tag) || tag >> 3 == 0 ||
        tag >> 3 > WIRE_FIELD_NUMBER_MAX) {
        return NK_INVALID;
    }
    struct wire_field field = {.number = (uint32_t)(tag >> 3), .type = (enum wire_type)(tag & 7)};
    size_t start = 0;
    bool whole = false;
    switch (field.type) {
    case WIRE_VARINT:
        whole = read_varint(message, &next, NK_VARINT_BYTES_MAX, &field.value);
        break;
    case WIRE_FIXED64:
        whole = skip(message, &next, 8, &start);
        field.value = whole ? nk_get_u64(message.data + start) : 0;
        break;
    case WIRE_BYTES: {
        uint64_t size = 0;
        whole = read_varint(message, &next, WIRE_HEAD_BYTES_MAX, &size) &&
                skip(message, &next, size, &start);
        field.bytes = whole ? nk_bytes_of(message.data + start, (size_t)size) : field.bytes;
        break;
    }
    case WIRE_FIXED32:
        whole = skip(message, &next, 4, &start);
        field.value = whole ? nk_get_u32(message.data + start) : 0;
        break;
    default: /* groups, and numbers that mean nothing */
        break;
    }
    if (!whole) {
        return NK_INVALID;
    }
    *position = next;
    *out_field = field;
    return NK_OK;
}

static bool read_varint(struct nk_bytes message, size_t *position, size_t bytes_max,
                        uint64_t *out_value)
{
    uint64_t value = 0;
    size_t left = nk_min_size(message.size - *position, bytes_max);
    for (size_t i = 0; i < left; i++) {
        uint8_t byte = message.data[*position + i];
        value |= (uint64_t)(byte & 0x7f) << (7 * i); /* the tenth byte adds one bit, as elsewhere */
        if (byte < 0x80) {
            *position += i + 1;
            *out_value = value;
            return true;
        }
    }
    return false;
}

static bool skip(struct nk_bytes message, size_t *position, uint64_t size, size_t *out_start)
{
    if (size > message.size - *position) {
        return false;
    }
    *out_start = *position;
    *position += (size_t)size;
    return true;
}
