#pragma once

/* HTTP's pieces as the public messages of proto/norikv/v1/kv.proto, and back.  Pure. */

#include "common/base/buf.h"
#include "common/base/err.h"

#include "request.h"

/* Appends the packed request of `request->op`; `value` is for a put. */
void http_message_write(const struct http_request *request, struct nk_bytes value,
                        struct nk_buf *out_message);

/* What an answer says. */
struct http_outcome {
    bool found; /* get: there is such a key; delete: there was; put: always */
    struct http_version version;
    struct nk_bytes value; /* of a get; borrowed from the response */
};

/* False: these bytes are no response to `op`. */
bool http_message_read(enum gateway_op op, struct nk_bytes response,
                       struct http_outcome *out_outcome);
