#pragma once

/* What a request to /kv/{key} asks for, read from its head.  Pure: the parts of the head in, a
 * struct out. */

#include "common/base/limits.h"
#include "common/base/text.h"
#include "services/gateway/gateway.h"

#include "etag.h"

struct http_header {
    struct nk_bytes value; /* of the first of that name */
    size_t count;          /* how many there are */
};

/* The parts, as they came. */
struct http_parts {
    enum gateway_op op;  /* PUT, GET or DELETE */
    struct nk_bytes key; /* behind "/kv/" */
    struct nk_bytes query;
    struct http_header if_match;
    struct http_header if_none_match;
    struct http_header idempotency_key;
};

#define HTTP_CONSISTENCY_BYTES ((size_t)32)

struct http_request {
    enum gateway_op op;
    uint8_t key[NK_KEY_BYTES_MAX];
    size_t key_size;
    uint64_t ttl_ms;
    bool is_conditional;
    struct http_version if_match;                           /* {0,0}: the key must not exist */
    char idempotency_key[NK_IDEMPOTENCY_KEY_BYTES_MAX + 1]; /* "": none */
    char consistency[HTTP_CONSISTENCY_BYTES];               /* "": none; its name is not checked */
};

/* NK_INVALID: something makes no sense; NK_TOO_LARGE: the key has more than `key_bytes_max`
 * (<= NK_KEY_BYTES_MAX) bytes.  `reason` then says what is wrong.  An empty key is the gateway's to
 * refuse. */
NK_MUST_CHECK
enum nk_err http_request_read(const struct http_parts *parts, size_t key_bytes_max,
                              struct http_request *out_request, struct nk_text *reason);
