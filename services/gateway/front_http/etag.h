#pragma once

/* Entity tags (RFC 9110, 8.8.3): the version of a key as "term.index" with its quotes.  A version
 * has one spelling, so equal tags are equal texts.  Pure. */

#include "common/base/bytes.h"

struct http_version {
    uint64_t term;
    uint64_t index;
};

#define HTTP_ETAG_BYTES ((size_t)44) /* the longest, with its NUL */

void http_etag_write(const struct http_version *version, char out_text[HTTP_ETAG_BYTES]);

/* One strong tag and nothing else; false: it is none of ours. */
bool http_etag_read(struct nk_bytes text, struct http_version *out_version);
