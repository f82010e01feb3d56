/* Never two effects of one request, and never a definite "not done" about what may have been done.
 */

#include <criterion/criterion.h>
#include <signal.h>

#include "common/base/units.h"
#include "services/gateway/retry.h"

TestSuite(gateway_retry, .timeout = 10);

Test(gateway_retry, an_answer_is_final_unless_it_says_that_nothing_was_proposed)
{
    static const struct {
        enum nk_err err;
        enum gateway_verdict first;      /* of the only attempt */
        enum gateway_verdict after_loss; /* when an earlier attempt was lost */
    } cases[] = {
        {NK_OK, GATEWAY_VERDICT_ANSWER, GATEWAY_VERDICT_ANSWER},
        {NK_CONFLICT, GATEWAY_VERDICT_ANSWER, GATEWAY_VERDICT_ANSWER},
        {NK_EXISTS, GATEWAY_VERDICT_ANSWER, GATEWAY_VERDICT_ANSWER},
        {NK_INVALID, GATEWAY_VERDICT_ANSWER, GATEWAY_VERDICT_ANSWER},
        {NK_TOO_LARGE, GATEWAY_VERDICT_ANSWER, GATEWAY_VERDICT_ANSWER},
        {NK_TIMEOUT, GATEWAY_VERDICT_ANSWER, GATEWAY_VERDICT_ANSWER},
        {NK_IO, GATEWAY_VERDICT_ANSWER, GATEWAY_VERDICT_ANSWER},
        {(enum nk_err)77, GATEWAY_VERDICT_ANSWER, GATEWAY_VERDICT_ANSWER},
        {NK_NOT_LEADER, GATEWAY_VERDICT_RETRY, GATEWAY_VERDICT_RETRY},
        {NK_UNAVAILABLE, GATEWAY_VERDICT_RETRY, GATEWAY_VERDICT_RETRY},
        {NK_BUSY, GATEWAY_VERDICT_ANSWER, GATEWAY_VERDICT_UNKNOWN},
        {NK_NO_SPACE, GATEWAY_VERDICT_ANSWER, GATEWAY_VERDICT_UNKNOWN},
        {NK_NO_QUORUM, GATEWAY_VERDICT_ANSWER, GATEWAY_VERDICT_UNKNOWN},
        {NK_EXPIRED, GATEWAY_VERDICT_ANSWER, GATEWAY_VERDICT_UNKNOWN},
        {NK_CANCELLED, GATEWAY_VERDICT_ANSWER, GATEWAY_VERDICT_UNKNOWN},
        {NK_FENCED, GATEWAY_VERDICT_ANSWER, GATEWAY_VERDICT_UNKNOWN},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct gateway_history history = {.op = GATEWAY_OP_PUT, .has_idempotency_key = true};
        cr_expect_eq(gateway_verdict_answered(&history, cases[i].err), cases[i].first, "case %zu",
                     i);
        history.maybe_done = true;
        cr_expect_eq(gateway_verdict_answered(&history, cases[i].err), cases[i].after_loss,
                     "case %zu", i);
    }
}

Test(gateway_retry, a_lost_write_without_idempotency_key_is_never_repeated)
{
    static const struct {
        enum gateway_op op;
        bool key;
        enum gateway_verdict verdict;
    } cases[] = {
        {GATEWAY_OP_PUT, false, GATEWAY_VERDICT_UNKNOWN},
        {GATEWAY_OP_DELETE, false, GATEWAY_VERDICT_UNKNOWN},
        {GATEWAY_OP_PUT, true, GATEWAY_VERDICT_RETRY},
        {GATEWAY_OP_DELETE, true, GATEWAY_VERDICT_RETRY},
        {GATEWAY_OP_GET, false, GATEWAY_VERDICT_RETRY},
        {GATEWAY_OP_PROBE, false, GATEWAY_VERDICT_RETRY},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct gateway_history history = {cases[i].op, cases[i].key, false};
        cr_expect_eq(gateway_verdict_lost(&history), cases[i].verdict, "case %zu", i);
    }
}

Test(gateway_retry, out_of_time_a_write_that_may_have_been_done_is_a_timeout)
{
    static const struct {
        enum gateway_op op;
        bool maybe_done;
        bool outstanding;
        bool has_leader;
        enum nk_err err;
    } cases[] = {
        {GATEWAY_OP_PUT, false, true, true, NK_TIMEOUT},
        {GATEWAY_OP_PUT, false, true, false, NK_TIMEOUT},
        {GATEWAY_OP_DELETE, true, false, true, NK_TIMEOUT},
        {GATEWAY_OP_DELETE, true, false, false, NK_TIMEOUT},
        {GATEWAY_OP_PUT, false, false, true, NK_EXPIRED},
        {GATEWAY_OP_PUT, false, false, false, NK_NOT_LEADER},
        {GATEWAY_OP_GET, false, true, true, NK_EXPIRED},
        {GATEWAY_OP_GET, false, true, false, NK_EXPIRED},
        {GATEWAY_OP_GET, false, false, true, NK_EXPIRED},
        {GATEWAY_OP_GET, false, false, false, NK_NOT_LEADER},
        {GATEWAY_OP_PROBE, false, false, false, NK_NOT_LEADER},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct gateway_history history = {cases[i].op, false, cases[i].maybe_done};
        cr_expect_eq(gateway_expired_err(&history, cases[i].outstanding, cases[i].has_leader),
                     cases[i].err, "case %zu", i);
    }
}

Test(gateway_retry, pauses_double_up_to_their_limit)
{
    static const uint64_t pauses_ms[] = {5, 10, 20, 40, 80, 160, 160, 160};
    for (uint32_t i = 0; i < NK_COUNT_OF(pauses_ms); i++) {
        cr_expect_eq(gateway_retry_pause_us(i + 1), pauses_ms[i] * NK_US_PER_MS, "attempt %u", i);
    }
    cr_expect_eq(gateway_retry_pause_us(UINT32_MAX), 160 * NK_US_PER_MS);
}

Test(gateway_retry, the_first_attempt_has_no_pause_before_it, .signal = SIGABRT)
{
    (void)gateway_retry_pause_us(0);
}
