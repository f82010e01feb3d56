#pragma once

/* A borrowed run of bytes.  Whoever hands one out says how long it stays valid; unsaid means for
 * the call. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct nk_bytes {
    const uint8_t *data; /* may be NULL only when size is 0 */
    size_t size;
};

static inline struct nk_bytes nk_bytes_of(const void *data, size_t size)
{
    struct nk_bytes bytes = {(const uint8_t *)data, size};
    return bytes;
}

static inline struct nk_bytes nk_bytes_of_string(const char *text)
{
    return nk_bytes_of(text, strlen(text));
}

static inline bool nk_bytes_equal(struct nk_bytes a, struct nk_bytes b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* Bytewise order, a proper prefix first: <0, 0 or >0. */
static inline int nk_bytes_compare(struct nk_bytes a, struct nk_bytes b)
{
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common == 0 ? 0 : memcmp(a.data, b.data, common);
    if (order != 0) {
        return order;
    }
    return (a.size > b.size) - (a.size < b.size);
}

static inline bool nk_bytes_starts_with(struct nk_bytes bytes, struct nk_bytes prefix)
{
    return bytes.size >= prefix.size &&
           (prefix.size == 0 || memcmp(bytes.data, prefix.data, prefix.size) == 0);
}
