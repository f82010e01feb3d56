#include <criterion/criterion.h>

#include <signal.h>

#include "services/shardhost/raft/persists.h"

TestSuite(raft_persists, .timeout = 5);

Test(raft_persists, one_report_covers_all_smaller_ids)
{
    struct raft_persists persists = {0};
    cr_assert_eq(raft_persists_issue(&persists, 3), 1);
    cr_assert_eq(raft_persists_issue(&persists, 5), 2);
    cr_assert_eq(raft_persists_issue(&persists, 9), 3);
    cr_assert_eq(raft_persists_report(&persists, 2), 5);
    cr_assert(raft_persists_pending(&persists));
    cr_assert_eq(raft_persists_report(&persists, 1), 0, "an old report tells nothing");
    cr_assert(raft_persists_pending(&persists));
    cr_assert_eq(raft_persists_report(&persists, 3), 9);
    cr_assert_not(raft_persists_pending(&persists));
}

Test(raft_persists, an_id_issued_before_a_truncation_does_not_cover_what_came_after)
{
    struct raft_persists persists = {0};
    (void)raft_persists_issue(&persists, 10);
    raft_persists_truncate(&persists, 8);
    (void)raft_persists_issue(&persists, 12);
    cr_assert_eq(raft_persists_report(&persists, 1), 7);
    cr_assert_eq(raft_persists_report(&persists, 2), 12);
}

Test(raft_persists, a_full_ring_learns_late_but_never_wrongly)
{
    struct raft_persists persists = {0};
    for (uint64_t i = 1; i <= 3 * RAFT_PERSISTS_MAX; i++) {
        cr_assert_eq(raft_persists_issue(&persists, 10 * i), i);
    }
    raft_index durable = 0;
    for (uint64_t i = 1; i <= 3 * RAFT_PERSISTS_MAX; i++) {
        raft_index last = raft_persists_report(&persists, i);
        durable = last > durable ? last : durable;
        cr_assert_leq(durable, 10 * i);
        if (i < RAFT_PERSISTS_MAX) {
            cr_assert_eq(durable, 10 * i);
        }
    }
    cr_assert_eq(durable, 30 * RAFT_PERSISTS_MAX);
}

Test(raft_persists, reporting_an_id_that_was_never_issued_is_a_programmer_error, .signal = SIGABRT)
{
    struct raft_persists persists = {0};
    (void)raft_persists_report(&persists, 1);
}
