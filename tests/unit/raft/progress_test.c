#include <criterion/criterion.h>

#include "services/shardhost/raft/progress.h"

TestSuite(raft_progress, .timeout = 5);

static struct raft_progress probing(raft_index next)
{
    struct raft_progress progress = {.id = 2};
    raft_progress_reset(&progress, next);
    return progress;
}

static struct raft_progress replicating(raft_index match)
{
    struct raft_progress progress = probing(match);
    raft_progress_sent(&progress, match, 1);
    cr_assert(raft_progress_acked(&progress, match, 1));
    cr_assert_eq(progress.state, RAFT_PROGRESS_REPLICATE);
    return progress;
}

Test(raft_progress, a_probe_is_followed_by_silence_until_it_is_answered)
{
    struct raft_progress progress = probing(5);
    cr_assert(raft_progress_may_send(&progress));
    raft_progress_sent(&progress, 7, 3);
    cr_assert_not(raft_progress_may_send(&progress));
    cr_assert_eq(progress.next, 5, "what a probe carries may have to be sent again");
    cr_assert(raft_progress_acked(&progress, 7, 3));
    cr_assert_eq(progress.state, RAFT_PROGRESS_REPLICATE);
    cr_assert_eq(progress.next, 8);
}

Test(raft_progress, a_lost_probe_is_repeated_once_for_each_later_round)
{
    struct raft_progress progress = probing(5);
    raft_progress_sent(&progress, 7, 3);
    (void)raft_progress_acked(&progress, 4, 3);
    cr_assert_not(raft_progress_may_send(&progress), "that heartbeat was older than the probe");
    (void)raft_progress_acked(&progress, 4, 4);
    cr_assert(raft_progress_may_send(&progress));
    raft_progress_sent(&progress, 7, 4);
    (void)raft_progress_acked(&progress, 4, 4);
    cr_assert_not(raft_progress_may_send(&progress), "a second copy of the same answer");
}

Test(raft_progress, the_window_bounds_unanswered_appends)
{
    struct raft_progress progress = replicating(4);
    for (raft_index last = 5; last < 5 + RAFT_INFLIGHT_MAX; last++) {
        cr_assert(raft_progress_may_send(&progress));
        raft_progress_sent(&progress, last, 1);
        cr_assert_eq(progress.next, last + 1);
    }
    cr_assert_not(raft_progress_may_send(&progress));
    cr_assert(raft_progress_acked(&progress, 7, 1));
    cr_assert_eq(progress.inflight_count, RAFT_INFLIGHT_MAX - 3, "one answer covers all before it");
    cr_assert_not(raft_progress_acked(&progress, 6, 1), "late");
    cr_assert_eq(progress.match, 7);
}

Test(raft_progress, a_refusal_moves_next_back_but_never_below_what_is_acknowledged)
{
    struct raft_progress progress = replicating(4);
    raft_progress_sent(&progress, 9, 1);
    raft_progress_rejected(&progress, 3);
    cr_assert_eq(progress.state, RAFT_PROGRESS_REPLICATE, "late: 4 is acknowledged");
    cr_assert_eq(progress.next, 10);
    raft_progress_rejected(&progress, 6);
    cr_assert_eq(progress.state, RAFT_PROGRESS_PROBE);
    cr_assert_eq(progress.next, 7);
    cr_assert(raft_progress_may_send(&progress));
}

Test(raft_progress, a_refusal_that_tells_nothing_new_does_not_make_another_probe)
{
    struct raft_progress progress = probing(9);
    raft_progress_sent(&progress, 9, 1);
    raft_progress_rejected(&progress, 5);
    cr_assert_eq(progress.next, 6);
    raft_progress_sent(&progress, 9, 1);
    raft_progress_rejected(&progress, 5);
    cr_assert_not(raft_progress_may_send(&progress));
    raft_progress_rejected(&progress, 7);
    cr_assert_not(raft_progress_may_send(&progress));
    cr_assert_eq(progress.next, 6);
}
