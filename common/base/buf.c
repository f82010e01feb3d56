#include "common/base/buf.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"

void nk_buf_init(struct nk_buf *buf)
{
    memset(buf, 0, sizeof *buf);
}

void nk_buf_deinit(struct nk_buf *buf)
{
    nk_free(buf->data);
    memset(buf, 0, sizeof *buf);
}

void nk_buf_reserve(struct nk_buf *buf, size_t extra)
{
    NK_ASSERT(buf->size <= buf->capacity);
    if (extra <= buf->capacity - buf->size) {
        return;
    }
    NK_ASSERT(extra <= SIZE_MAX / 2 - buf->size);
    size_t needed = buf->size + extra;
    size_t capacity = buf->capacity < 64 ? 64 : buf->capacity + buf->capacity / 2;
    if (capacity < needed) {
        capacity = needed;
    }
    buf->data = nk_realloc(buf->data, capacity);
    buf->capacity = capacity;
}

uint8_t *nk_buf_extend(struct nk_buf *buf, size_t extra)
{
    nk_buf_reserve(buf, extra > 0 ? extra : 1);
    uint8_t *start = buf->data + buf->size;
    buf->size += extra;
    return start;
}

void nk_buf_append(struct nk_buf *buf, struct nk_bytes bytes)
{
    if (bytes.size > 0) {
        memcpy(nk_buf_extend(buf, bytes.size), bytes.data, bytes.size);
    }
}

void nk_buf_append_string(struct nk_buf *buf, const char *text)
{
    nk_buf_append(buf, nk_bytes_of_string(text));
}

void nk_buf_append_u8(struct nk_buf *buf, uint8_t value)
{
    *nk_buf_extend(buf, 1) = value;
}
