#include "services/shardhost/lsm/compress.h"

#include <lz4.h>
#include <zstd.h>

#include "common/base/assert.h"

#define ZSTD_LEVEL 1 /* blocks are small: higher levels cost time and find little more */

static size_t compress_lz4(struct nk_bytes raw, uint8_t *out, size_t room)
{
    int size = LZ4_compress_default((const char *)raw.data, (char *)out, (int)raw.size, (int)room);
    return size > 0 ? (size_t)size : 0;
}

static size_t compress_zstd(struct nk_bytes raw, uint8_t *out, size_t room)
{
    size_t size = ZSTD_compress(out, room, raw.data, raw.size, ZSTD_LEVEL);
    return ZSTD_isError(size) != 0 ? 0 : size;
}

enum lsm_compression lsm_compress(enum lsm_compression wanted, struct nk_bytes raw,
                                  struct nk_buf *out)
{
    /* Both libraries stop when the room is used up, which is just where it stops to pay. */
    size_t room = raw.size - raw.size / 8;
    size_t size = 0;
    if (wanted != LSM_COMPRESSION_NONE && raw.size <= LZ4_MAX_INPUT_SIZE) {
        nk_buf_reserve(out, room);
        uint8_t *to = out->data + out->size;
        size = wanted == LSM_COMPRESSION_LZ4 ? compress_lz4(raw, to, room)
                                             : compress_zstd(raw, to, room);
    }
    if (size == 0) {
        nk_buf_append(out, raw);
        return LSM_COMPRESSION_NONE;
    }
    NK_ASSERT(size <= room);
    out->size += size;
    return wanted;
}

enum nk_err lsm_decompress(uint8_t way, struct nk_bytes stored, uint8_t *out, size_t raw_size)
{
    switch (way) {
    case LSM_COMPRESSION_NONE:
        if (stored.size != raw_size) {
            return NK_CORRUPT;
        }
        memcpy(out, stored.data, raw_size);
        return NK_OK;
    case LSM_COMPRESSION_LZ4: {
        if (stored.size > INT32_MAX || raw_size > LZ4_MAX_INPUT_SIZE) {
            return NK_CORRUPT;
        }
        int size = LZ4_decompress_safe((const char *)stored.data, (char *)out, (int)stored.size,
                                       (int)raw_size);
        return size >= 0 && (size_t)size == raw_size ? NK_OK : NK_CORRUPT;
    }
    case LSM_COMPRESSION_ZSTD: {
        size_t size = ZSTD_decompress(out, raw_size, stored.data, stored.size);
        return ZSTD_isError(size) == 0 && size == raw_size ? NK_OK : NK_CORRUPT;
    }
    default:
        return NK_CORRUPT;
    }
}
