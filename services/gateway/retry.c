#include "services/gateway/retry.h"

#include "common/base/assert.h"
#include "common/base/plant.h"
#include "common/base/units.h"

/* A leader is there again after an election or a start; asking more often than this only costs. */
#define PAUSE_FIRST_US ((uint64_t)(5 * NK_US_PER_MS))
#define PAUSE_LAST_US  ((uint64_t)(160 * NK_US_PER_MS))

static bool is_write(enum gateway_op op)
{
    return op == GATEWAY_OP_PUT || op == GATEWAY_OP_DELETE;
}

enum gateway_verdict gateway_verdict_answered(const struct gateway_history *history,
                                              enum nk_err err)
{
    switch (err) {
    case NK_NOT_LEADER:
    case NK_UNAVAILABLE:
        return GATEWAY_VERDICT_RETRY; /* says of itself that it proposed nothing */
    case NK_BUSY:
    case NK_NO_SPACE:
    case NK_NO_QUORUM:
    case NK_EXPIRED:
    case NK_CANCELLED:
    case NK_FENCED: /* asking again is no use: there is no other replica in this version */
        /* This attempt did nothing; a lost one before it may have. */
        return history->maybe_done ? GATEWAY_VERDICT_UNKNOWN : GATEWAY_VERDICT_ANSWER;
    default:
        return GATEWAY_VERDICT_ANSWER;
    }
}

enum gateway_verdict gateway_verdict_lost(const struct gateway_history *history)
{
    if (!is_write(history->op) || history->has_idempotency_key ||
        NK_PLANTED(NK_PLANT_RETRY_NOT_IDEMPOTENT)) {
        return GATEWAY_VERDICT_RETRY;
    }
    return GATEWAY_VERDICT_UNKNOWN;
}

enum nk_err gateway_expired_err(const struct gateway_history *history, bool outstanding,
                                bool has_leader)
{
    if (is_write(history->op) && (outstanding || history->maybe_done)) {
        return NK_TIMEOUT;
    }
    if (!outstanding && !has_leader) {
        return NK_NOT_LEADER;
    }
    return NK_EXPIRED;
}

uint64_t gateway_retry_pause_us(uint32_t attempt)
{
    NK_ASSERT(attempt > 0);
    uint32_t doublings = attempt - 1 < 8 ? attempt - 1 : 8;
    return nk_min_u64(PAUSE_FIRST_US << doublings, PAUSE_LAST_US);
}
