#pragma once

/* Numbers as bytes: little-endian fixed width and LEB128 varints.
 *
 * Writers write into room that the caller made (asserted by the varint size, never by luck);
 * readers never read past their end and remember the first failure, so a decoder checks once. */

#include "common/base/bytes.h"

#define NK_VARINT_BYTES_MAX ((size_t)10)

static inline void nk_put_u16(uint8_t *out, uint16_t value)
{
    out[0] = (uint8_t)value;
    out[1] = (uint8_t)(value >> 8);
}

static inline void nk_put_u32(uint8_t *out, uint32_t value)
{
    for (size_t i = 0; i < 4; i++) {
        out[i] = (uint8_t)(value >> (8 * i));
    }
}

static inline void nk_put_u64(uint8_t *out, uint64_t value)
{
    for (size_t i = 0; i < 8; i++) {
        out[i] = (uint8_t)(value >> (8 * i));
    }
}

static inline uint16_t nk_get_u16(const uint8_t *in)
{
    return (uint16_t)(in[0] | in[1] << 8);
}

static inline uint32_t nk_get_u32(const uint8_t *in)
{
    return (uint32_t)in[0] | (uint32_t)in[1] << 8 | (uint32_t)in[2] << 16 | (uint32_t)in[3] << 24;
}

static inline uint64_t nk_get_u64(const uint8_t *in)
{
    return (uint64_t)nk_get_u32(in) | (uint64_t)nk_get_u32(in + 4) << 32;
}

size_t nk_put_varint(uint8_t *out, uint64_t value); /* returns 1..NK_VARINT_BYTES_MAX */

struct nk_reader {
    const uint8_t *next;
    const uint8_t *end;
    bool failed; /* once set, every read gives zero or empty and consumes nothing */
};

static inline struct nk_reader nk_reader_of(struct nk_bytes bytes)
{
    /* An offset from NULL is undefined, even of 0. */
    const uint8_t *end = bytes.size > 0 ? bytes.data + bytes.size : bytes.data;
    struct nk_reader reader = {bytes.data, end, false};
    return reader;
}

static inline size_t nk_reader_left(const struct nk_reader *reader)
{
    return (size_t)(reader->end - reader->next);
}

uint8_t nk_read_u8(struct nk_reader *reader);
uint16_t nk_read_u16(struct nk_reader *reader);
uint32_t nk_read_u32(struct nk_reader *reader);
uint64_t nk_read_u64(struct nk_reader *reader);
uint64_t nk_read_varint(struct nk_reader *reader); /* over-long and overflowing forms fail */
struct nk_bytes nk_read_bytes(struct nk_reader *reader,
                              uint64_t size); /* borrowed from the input */
