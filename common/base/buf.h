#pragma once

/* A growable run of bytes.  Invariants: size <= capacity; data is NULL only while capacity is 0.
 * A zeroed struct is a valid empty buffer.  Pointers into it are borrowed until the next call that
 * may grow it. */

#include "common/base/bytes.h"

struct nk_buf {
    uint8_t *data;
    size_t size;
    size_t capacity;
};

void nk_buf_init(struct nk_buf *buf);
void nk_buf_deinit(struct nk_buf *buf); /* frees; the struct is empty and usable afterwards */

/* Make room for `extra` more bytes behind `size`. */
void nk_buf_reserve(struct nk_buf *buf, size_t extra);

/* Grow `size` by `extra` and return the first of the new, uninitialised bytes. */
uint8_t *nk_buf_extend(struct nk_buf *buf, size_t extra);

void nk_buf_append(struct nk_buf *buf, struct nk_bytes bytes);
void nk_buf_append_string(struct nk_buf *buf, const char *text); /* without the final NUL */
void nk_buf_append_u8(struct nk_buf *buf, uint8_t value);

/* Forget the contents, keep the memory. */
static inline void nk_buf_clear(struct nk_buf *buf)
{
    buf->size = 0;
}

static inline struct nk_bytes nk_buf_bytes(const struct nk_buf *buf)
{
    return nk_bytes_of(buf->data, buf->size);
}
