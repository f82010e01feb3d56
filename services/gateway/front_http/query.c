#include "query.h"

static struct nk_bytes cut_at(struct nk_bytes text, char separator, struct nk_bytes *out_rest);

bool http_query_next(struct nk_bytes *query, struct http_parameter *out_parameter)
{
    while (query->size > 0) {
        struct nk_bytes part = cut_at(*query, '&', query);
        if (part.size > 0) {
            out_parameter->name = cut_at(part, '=', &out_parameter->value);
            return true;
        }
    }
    return false;
}

/* What is in front of the first separator; *out_rest: what is behind it, empty if there is none. */
static struct nk_bytes cut_at(struct nk_bytes text, char separator, struct nk_bytes *out_rest)
{
    const uint8_t *found = text.size > 0 ? memchr(text.data, separator, text.size) : NULL;
    if (found == NULL) {
        *out_rest = nk_bytes_of(text.data + text.size, 0);
        return text;
    }
    size_t size = (size_t)(found - text.data);
    *out_rest = nk_bytes_of(found + 1, text.size - size - 1);
    return nk_bytes_of(text.data, size);
}
