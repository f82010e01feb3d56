#include "common/base/codec.h"

size_t nk_put_varint(uint8_t *out, uint64_t value)
{
    size_t size = 0;
    while (value >= 0x80) {
        out[size++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    out[size++] = (uint8_t)value;
    return size;
}

struct nk_bytes nk_read_bytes(struct nk_reader *reader, uint64_t size)
{
    if (reader->failed || size > nk_reader_left(reader)) {
        reader->failed = true;
        return nk_bytes_of(NULL, 0);
    }
    if (size == 0) {
        return nk_bytes_of(reader->next, 0);
    }
    struct nk_bytes bytes = nk_bytes_of(reader->next, (size_t)size);
    reader->next += size;
    return bytes;
}

uint8_t nk_read_u8(struct nk_reader *reader)
{
    struct nk_bytes bytes = nk_read_bytes(reader, 1);
    return bytes.size == 1 ? bytes.data[0] : 0;
}

uint16_t nk_read_u16(struct nk_reader *reader)
{
    struct nk_bytes bytes = nk_read_bytes(reader, 2);
    return bytes.size == 2 ? nk_get_u16(bytes.data) : 0;
}

uint32_t nk_read_u32(struct nk_reader *reader)
{
    struct nk_bytes bytes = nk_read_bytes(reader, 4);
    return bytes.size == 4 ? nk_get_u32(bytes.data) : 0;
}

uint64_t nk_read_u64(struct nk_reader *reader)
{
    struct nk_bytes bytes = nk_read_bytes(reader, 8);
    return bytes.size == 8 ? nk_get_u64(bytes.data) : 0;
}

uint64_t nk_read_varint(struct nk_reader *reader)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        struct nk_bytes byte = nk_read_bytes(reader, 1);
        if (byte.size != 1) {
            return 0;
        }
        uint64_t bits = byte.data[0] & 0x7f;
        if ((shift == 63 && bits > 1) || (shift > 0 && byte.data[0] == 0)) {
            break; /* overflow, or a final zero byte that a shorter form would not have */
        }
        value |= bits << shift;
        if ((byte.data[0] & 0x80) == 0) {
            return value;
        }
    }
    reader->failed = true;
    return 0;
}
