#pragma once

/* The check of a public request, before anything is spent on it.  Reads the packed message where it
 * lies and takes from it what routing needs; the message itself travels on as the client sent it.
 * Pure: bytes in, verdict out. */

#include "common/base/text.h"
#include "services/gateway/gateway.h"

struct gateway_limits {
    size_t key_bytes_max;
    size_t value_bytes_max;
};

struct gateway_checked {
    struct nk_bytes key; /* borrowed from the message */
    bool has_idempotency_key;
};

/* NK_INVALID: no such message, or a field makes no sense; NK_TOO_LARGE: a field is above its limit.
 * `text` then has what is wrong, with the limit. */
NK_MUST_CHECK
enum nk_err gateway_check(enum gateway_op op, struct nk_bytes message,
                          const struct gateway_limits *limits, struct gateway_checked *out_checked,
                          struct nk_text *text);

/* Whether a packed answer says that the key was there: a get's version, a delete's `tombstoned`.
 * True for a put. */
bool gateway_answer_found(enum gateway_op op, struct nk_bytes response);
