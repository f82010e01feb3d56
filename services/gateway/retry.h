#pragma once

/* What to do with a request whose attempt ended: never two effects of one request, and never a
 * definite "not done" about a write that may have been done.  Pure. */

#include "services/gateway/gateway.h"

enum gateway_verdict {
    GATEWAY_VERDICT_ANSWER,  /* the caller gets what was said */
    GATEWAY_VERDICT_RETRY,   /* another attempt is safe: nothing was done, or doing it twice is one
                              * effect */
    GATEWAY_VERDICT_UNKNOWN, /* the caller gets NK_TIMEOUT: it may have been done */
};

/* What is known of a request besides its attempt. */
struct gateway_history {
    enum gateway_op op;
    bool has_idempotency_key;
    bool maybe_done; /* an earlier attempt of this write was lost */
};

/* The shardhost answered with `err`. */
enum gateway_verdict gateway_verdict_answered(const struct gateway_history *history,
                                              enum nk_err err);

/* The shardhost's incarnation that had the request is gone, and no answer will come. */
enum gateway_verdict gateway_verdict_lost(const struct gateway_history *history);

/* What the caller is told when its time is over.  `outstanding`: a shardhost has it now;
 * `has_leader`: somebody was there to ask. */
enum nk_err gateway_expired_err(const struct gateway_history *history, bool outstanding,
                                bool has_leader);

/* The pause before attempt number `attempt` (1 is the first repetition). */
uint64_t gateway_retry_pause_us(uint32_t attempt);
