#include <criterion/criterion.h>

#include "common/base/units.h"

#include "solo.h"

TestSuite(raft_reads, .timeout = 10);

static uint64_t round_sent(const struct solo *solo)
{
    const struct raft_message *append = solo_sent(solo, RAFT_MESSAGE_APPEND, 2);
    cr_assert_not_null(append);
    return append->read_round;
}

/* A leader of `voter_count` whose noop, index 1, is committed and applied. */
static uint64_t open_leader(struct solo *solo, size_t voter_count)
{
    solo_open(solo, voter_count);
    solo_lead(solo);
    uint64_t round = 1;
    for (raft_id id = 2; id <= voter_count / 2 + 1; id++) {
        solo_acked(solo, id, 1, round);
    }
    solo_applied(solo, 1);
    return round;
}

Test(raft_reads, a_single_voter_confirms_at_once)
{
    struct solo solo;
    (void)open_leader(&solo, 1);
    cr_assert_eq(solo_read(&solo, 42), NK_OK);
    cr_assert_eq(solo.ready.read_count, 1);
    cr_assert_eq(solo.ready.reads[0].id, 42);
    cr_assert(solo.ready.reads[0].confirmed);
    cr_assert_eq(solo.ready.reads[0].index, 1);
    solo_tick(&solo, 0);
    cr_assert_eq(solo.ready.read_count, 0, "an answer is given once");
    solo_close(&solo);
}

Test(raft_reads, a_read_waits_for_a_majority_in_a_round_that_began_after_it)
{
    struct solo solo;
    uint64_t old = open_leader(&solo, 5);
    cr_assert_eq(solo_read(&solo, 7), NK_OK);
    cr_assert_eq(solo.ready.read_count, 0);
    uint64_t round = round_sent(&solo);
    cr_assert_gt(round, old);
    solo_acked(&solo, 2, 1, round);
    cr_assert_eq(solo.ready.read_count, 0);
    solo_acked(&solo, 4, 1, old);
    cr_assert_eq(solo.ready.read_count, 0, "an answer to an older question");
    solo_acked(&solo, 4, 1, round);
    cr_assert_eq(solo.ready.read_count, 1);
    cr_assert(solo.ready.reads[0].confirmed);
    solo_close(&solo);
}

Test(raft_reads, reads_during_a_round_share_the_next)
{
    struct solo solo;
    (void)open_leader(&solo, 3);
    cr_assert_eq(solo_read(&solo, 1), NK_OK);
    uint64_t first = round_sent(&solo);
    cr_assert_eq(solo_read(&solo, 2), NK_OK);
    cr_assert_eq(solo.ready.messages_now_count, 0);
    cr_assert_eq(solo_read(&solo, 3), NK_OK);
    solo_acked(&solo, 3, 1, first);
    cr_assert_eq(solo.ready.read_count, 1);
    cr_assert_eq(solo.ready.reads[0].id, 1);
    uint64_t second = round_sent(&solo);
    cr_assert_gt(second, first);
    solo_acked(&solo, 2, 1, second);
    cr_assert_eq(solo.ready.read_count, 2);
    cr_assert_eq(solo.ready.reads[0].id, 2);
    cr_assert_eq(solo.ready.reads[1].id, 3);
    solo_close(&solo);
}

Test(raft_reads, heartbeats_do_not_postpone_a_waiting_read)
{
    struct solo solo;
    (void)open_leader(&solo, 3);
    cr_assert_eq(solo_read(&solo, 1), NK_OK);
    uint64_t round = round_sent(&solo);
    solo_tick(&solo, SOLO_HEARTBEAT_MS);
    cr_assert_gt(round_sent(&solo), round);
    solo_acked(&solo, 2, 1, round);
    cr_assert_eq(solo.ready.read_count, 1);
    solo_close(&solo);
}

Test(raft_reads, a_lost_round_is_made_good_by_the_next_heartbeat)
{
    struct solo solo;
    (void)open_leader(&solo, 3);
    cr_assert_eq(solo_read(&solo, 1), NK_OK);
    solo_tick(&solo, SOLO_HEARTBEAT_MS);
    solo_acked(&solo, 2, 1, round_sent(&solo));
    cr_assert_eq(solo.ready.read_count, 1);
    solo_close(&solo);
}

/* Thesis 6.4: entries of earlier terms below the noop may be committed without our knowing. */
Test(raft_reads, a_new_leader_reads_at_its_noop)
{
    static const raft_term terms[] = {1, 1};
    struct solo solo;
    solo_open_log(&solo, 3, 1, terms, 2);
    solo_lead(&solo);
    cr_assert_eq(solo_status(&solo).commit, 0);
    cr_assert_eq(solo_read(&solo, 1), NK_OK);
    solo_acked(&solo, 2, 0, round_sent(&solo));
    cr_assert_eq(solo.ready.read_count, 1);
    cr_assert_eq(solo.ready.reads[0].index, 3);
    solo_close(&solo);
}

Test(raft_reads, a_lost_leadership_gives_up_all_waiting_reads)
{
    struct solo solo;
    (void)open_leader(&solo, 3);
    cr_assert_eq(solo_read(&solo, 1), NK_OK);
    cr_assert_eq(solo_read(&solo, 2), NK_OK);
    solo_append(&solo, 2, 5, 0, 0, NULL, 0, 0);
    cr_assert_eq(solo.ready.read_count, 2);
    cr_assert_not(solo.ready.reads[0].confirmed);
    cr_assert_not(solo.ready.reads[1].confirmed);
    solo_close(&solo);
}

Test(raft_reads, waiting_reads_are_bounded)
{
    struct solo solo;
    (void)open_leader(&solo, 3);
    for (uint64_t id = 0; id < RAFT_READS_MAX; id++) {
        cr_assert_eq(solo_read(&solo, id), NK_OK);
    }
    cr_assert_eq(solo_read(&solo, RAFT_READS_MAX), NK_BUSY);
    solo_tick(&solo, SOLO_HEARTBEAT_MS);
    uint64_t round = round_sent(&solo);
    solo_acked(&solo, 2, 1, round);
    cr_assert_eq(solo.ready.read_count, 1, "the one whose round it was");
    solo_acked(&solo, 2, 1, round + 1);
    cr_assert_eq(solo.ready.read_count, RAFT_READS_MAX - 1);
    cr_assert_eq(solo_read(&solo, RAFT_READS_MAX), NK_OK);
    solo_close(&solo);
}

Test(raft_reads, a_round_that_was_never_asked_confirms_nothing)
{
    struct solo solo;
    (void)open_leader(&solo, 3);
    cr_assert_eq(solo_read(&solo, 1), NK_OK);
    uint64_t round = round_sent(&solo);
    solo_acked(&solo, 2, 1, UINT64_MAX);
    cr_assert_eq(solo.ready.read_count, 0);
    solo_acked(&solo, 2, 1, round + 1);
    cr_assert_eq(solo.ready.read_count, 0);
    solo_close(&solo);
}

/* Thesis 6.4.1. */
Test(raft_reads, a_lease_counts_from_when_the_leader_asked)
{
    struct solo solo;
    uint64_t round = open_leader(&solo, 3);
    solo_tick(&solo, SOLO_HEARTBEAT_MS);
    round = round_sent(&solo);
    uint64_t asked_ms = solo.now_ms;
    solo.now_ms += 300; /* the answer was slow */
    solo_acked(&solo, 2, 1, round);
    struct raft_status status;
    raft_get_status(solo.node, asked_ms + SOLO_LEASE_MS - 1, &status);
    cr_assert(status.lease_valid);
    raft_get_status(solo.node, asked_ms + SOLO_LEASE_MS, &status);
    cr_assert_not(status.lease_valid);
    solo_close(&solo);
}

Test(raft_reads, a_lease_needs_the_noop_of_its_term)
{
    struct solo solo;
    solo_open(&solo, 3);
    solo_lead(&solo);
    solo_acked(&solo, 2, 0, 1);
    cr_assert_eq(solo_status(&solo).commit, 0);
    cr_assert_not(solo_status(&solo).lease_valid);
    solo_acked(&solo, 2, 1, 1);
    cr_assert_eq(solo_status(&solo).commit, 1);
    cr_assert(solo_status(&solo).lease_valid);
    solo_close(&solo);
}

Test(raft_reads, votes_are_no_lease)
{
    static const raft_term terms[] = {1};
    struct solo solo;
    solo_open_log(&solo, 3, 1, terms, 1);
    solo_lead(&solo);
    solo_acked(&solo, 2, 2, 0); /* the noop is committed, but the answer names no round */
    cr_assert_eq(solo_status(&solo).commit, 2);
    cr_assert_not(solo_status(&solo).lease_valid);
    solo_close(&solo);
}
