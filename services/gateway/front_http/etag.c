#include "etag.h"

#include "common/base/text.h"

void http_etag_write(const struct http_version *version, char out_text[HTTP_ETAG_BYTES])
{
    struct nk_text text;
    nk_text_init(&text, out_text, HTTP_ETAG_BYTES);
    nk_text_add(&text, "\"");
    nk_text_add_u64(&text, version->term);
    nk_text_add(&text, ".");
    nk_text_add_u64(&text, version->index);
    nk_text_add(&text, "\"");
}

/* Whatever the numbers are read from must be what they are written as: "01.2" is another tag than
 * "1.2". */
bool http_etag_read(struct nk_bytes text, struct http_version *out_version)
{
    if (text.size < 2) {
        return false;
    }
    struct nk_bytes inner = nk_bytes_of(text.data + 1, text.size - 2);
    const uint8_t *dot = inner.size > 0 ? memchr(inner.data, '.', inner.size) : NULL;
    if (dot == NULL) {
        return false;
    }
    size_t term_size = (size_t)(dot - inner.data);
    struct http_version version;
    if (!nk_text_parse_u64(nk_bytes_of(inner.data, term_size), &version.term) ||
        !nk_text_parse_u64(nk_bytes_of(dot + 1, inner.size - term_size - 1), &version.index)) {
        return false;
    }
    char canonical[HTTP_ETAG_BYTES];
    http_etag_write(&version, canonical);
    if (!nk_bytes_equal(text, nk_bytes_of_string(canonical))) {
        return false;
    }
    *out_version = version;
    return true;
}
