#include <criterion/criterion.h>

#include <signal.h>

#include "common/base/units.h"

#include "solo.h"

TestSuite(raft_step, .timeout = 10);

Test(raft_step, a_single_voter_goes_the_same_way_as_any_other)
{
    struct solo solo;
    solo_open(&solo, 1);
    solo_campaign(&solo);
    cr_assert_eq(solo_status(&solo).role, RAFT_ROLE_CANDIDATE);
    cr_assert_neq(solo.ready.persist_id, 0);
    cr_assert_eq(solo.ready.term, 1);
    cr_assert_eq(solo.ready.voted_for, 1);
    cr_assert_eq(solo.ready.entry_count, 0);

    solo_persisted(&solo);
    cr_assert_eq(solo_status(&solo).role, RAFT_ROLE_LEADER);
    cr_assert_eq(solo.ready.entry_count, 1);
    cr_assert_eq(solo.ready.entries[0].kind, RAFT_ENTRY_NOOP);
    cr_assert_eq(solo.ready.entries[0].index, 1);
    cr_assert_eq(solo.ready.committed_count, 0, "the noop is not durable yet");
    cr_assert_not(solo_status(&solo).lease_valid);

    solo_persisted(&solo);
    cr_assert_eq(solo.ready.committed_count, 1);
    cr_assert_eq(solo.ready.persist_id, 0);
    solo_applied(&solo, 1);
    cr_assert_eq(solo_status(&solo).applied, 1);
    cr_assert(solo_status(&solo).lease_valid);
    cr_assert_eq(solo.ready.messages_now_count + solo.ready.messages_after_sync_count, 0);
    solo_close(&solo);
}

Test(raft_step, a_batch_is_committed_when_it_is_durable_and_not_before)
{
    struct solo solo;
    solo_open(&solo, 1);
    solo_lead(&solo);
    solo_applied(&solo, 1);
    cr_assert_eq(solo_propose(&solo, 3, 10), NK_OK);
    cr_assert_eq(solo.ready.proposed_first, 2);
    cr_assert_eq(solo.ready.entry_count, 3);
    cr_assert_eq(solo.ready.committed_count, 0);
    uint64_t first = solo.ready.persist_id;
    cr_assert_eq(solo_propose(&solo, 2, 10), NK_OK);
    cr_assert_eq(solo.ready.proposed_first, 5);
    cr_assert_gt(solo.ready.persist_id, first);

    solo_persisted_id(&solo, first);
    cr_assert_eq(solo.ready.committed_count, 3);
    cr_assert_eq(solo.ready.committed[0].index, 2);
    cr_assert_eq(solo_status(&solo).persisted, 4);
    solo_persisted_id(&solo, first + 1);
    cr_assert_eq(solo.ready.committed_count, 2);
    cr_assert_eq(solo.ready.committed[0].index, 5);
    cr_assert_eq(solo_status(&solo).unapplied_bytes, 5 * (RAFT_ENTRY_BYTES + 10));
    solo_applied(&solo, 6);
    cr_assert_eq(solo_status(&solo).unapplied_bytes, 0);
    solo_close(&solo);
}

Test(raft_step, a_single_voter_with_nothing_to_do_needs_no_tick)
{
    struct solo solo;
    solo_open(&solo, 1);
    solo_campaign(&solo);
    cr_assert_eq(solo.ready.next_tick_ms, UINT64_MAX, "it waits for its disk only");
    solo_persisted(&solo);
    solo_persisted(&solo);
    solo_applied(&solo, 1);
    cr_assert_eq(solo.ready.next_tick_ms, UINT64_MAX);
    cr_assert_eq(solo_propose(&solo, 1, 1), NK_OK);
    cr_assert_eq(solo.ready.next_tick_ms, UINT64_MAX);
    solo_tick(&solo, 3600 * NK_MS_PER_SEC);
    cr_assert_eq(solo_status(&solo).role, RAFT_ROLE_LEADER);
    cr_assert_eq(solo.ready.persist_id, 0);
    solo_close(&solo);
}

Test(raft_step, a_single_voter_elects_itself_when_nobody_asks)
{
    struct solo solo;
    solo_open(&solo, 1);
    solo_tick(&solo, SOLO_TIMEOUT_MAX_MS);
    cr_assert_eq(solo_status(&solo).role, RAFT_ROLE_CANDIDATE);
    solo_close(&solo);
}

Test(raft_step, a_restarted_single_voter_leads_in_a_new_term_and_commits_its_old_tail)
{
    static const raft_term terms[] = {1, 1, 2};
    struct solo solo;
    solo_open_log(&solo, 1, 5, terms, 3);
    cr_assert_eq(solo_status(&solo).commit, 0, "what is in the log may not be committed");
    solo_campaign(&solo);
    cr_assert_eq(solo.ready.term, 6);
    solo_persisted(&solo);
    cr_assert_eq(solo.ready.entries[0].index, 4);
    cr_assert_eq(solo.ready.entries[0].term, 6);
    cr_assert_eq(solo.ready.committed_count, 0);
    solo_persisted(&solo);
    cr_assert_eq(solo.ready.committed_count, 4);
    solo_close(&solo);
}

Test(raft_step, a_follower_accepts_neither_proposals_nor_reads)
{
    struct solo solo;
    solo_open(&solo, 3);
    cr_assert_eq(solo_propose(&solo, 1, 1), NK_NOT_LEADER);
    cr_assert_eq(solo.ready.persist_id, 0);
    cr_assert_eq(solo.ready.entry_count, 0);
    cr_assert_eq(solo.ready.proposed_first, 0);
    cr_assert_neq(solo.ready.next_tick_ms, 0, "the ready is written all the same");
    cr_assert_eq(solo_read(&solo, 1), NK_NOT_LEADER);
    cr_assert_eq(solo.ready.read_count, 0);
    solo_close(&solo);
}

Test(raft_step, proposals_beyond_the_limit_are_busy_until_something_is_applied)
{
    struct solo solo;
    solo_open(&solo, 1);
    solo_lead(&solo);
    solo_applied(&solo, 1);
    cr_assert_eq(solo_propose(&solo, 40, 1000), NK_OK);
    solo_persisted(&solo);
    struct raft_status before = solo_status(&solo);
    cr_assert_eq(solo_propose(&solo, 40, 1000), NK_BUSY);
    struct raft_status after = solo_status(&solo);
    cr_assert_eq(after.last, before.last);
    cr_assert_eq(after.unapplied_bytes, before.unapplied_bytes);
    cr_assert_eq(solo.ready.persist_id, 0);
    solo_applied(&solo, 41);
    cr_assert_eq(solo_propose(&solo, 40, 1000), NK_OK);
    solo_close(&solo);
}

Test(raft_step, a_batch_larger_than_the_limit_passes_when_nothing_waits)
{
    struct solo solo;
    solo_open(&solo, 1);
    solo_lead(&solo);
    cr_assert_eq(solo_propose(&solo, 1, 100 * 1024), NK_BUSY, "the noop waits");
    solo_applied(&solo, 1);
    cr_assert_eq(solo_propose(&solo, 1, 100 * 1024), NK_OK);
    cr_assert_eq(solo_propose(&solo, 1, 1), NK_BUSY);
    solo_close(&solo);
}

Test(raft_step, committed_payloads_stay_until_they_are_reported_applied)
{
    struct solo solo;
    solo_open(&solo, 1);
    solo_lead(&solo);
    solo_applied(&solo, 1);
    cr_assert_eq(solo_propose(&solo, 2, 100), NK_OK);
    solo_persisted(&solo);
    struct nk_bytes payload = solo.ready.committed[1].payload;
    for (size_t i = 0; i < 50; i++) {
        cr_assert_eq(solo_propose(&solo, 5, 50), NK_OK);
        solo_persisted(&solo);
    }
    solo_applied(&solo, 2);
    cr_assert_eq(payload.size, 100);
    cr_assert_eq(payload.data[0], 'x');
    cr_assert_eq(payload.data[99], 'x');
    solo_close(&solo);
}

Test(raft_step, an_answer_that_waits_for_an_earlier_sync_makes_the_host_say_when)
{
    struct solo solo;
    solo_open(&solo, 3);
    static const raft_term terms[] = {1};
    solo_append(&solo, 2, 1, 0, 0, terms, 1, 0);
    uint64_t earlier = solo.ready.persist_id;
    cr_assert_neq(earlier, 0);
    /* Nothing new for the disk, but the term is not durable yet and the answer builds on it. */
    solo_append(&solo, 2, 1, 1, 1, NULL, 0, 0);
    cr_assert_eq(solo.ready.messages_after_sync_count, 1);
    cr_assert_eq(solo.ready.entry_count, 0);
    cr_assert_gt(solo.ready.persist_id, earlier);
    solo_persisted(&solo);
    cr_assert_eq(solo_status(&solo).persisted, 1);
    solo_close(&solo);
}

Test(raft_step, a_node_restored_behind_its_state_machine_continues_there)
{
    struct raft_options options = solo_options(1);
    struct raft_restore restore = {.term = 4, .voted_for = 1, .applied = 100, .applied_term = 3};
    struct solo solo;
    solo_open_with(&solo, &options, &restore);
    cr_assert_eq(solo_status(&solo).commit, 100);
    solo_lead(&solo);
    cr_assert_eq(solo.ready.committed_count, 1);
    cr_assert_eq(solo.ready.committed[0].index, 101);
    cr_assert_eq(solo.ready.committed[0].term, 5);
    solo_close(&solo);
}

Test(raft_step, closing_nothing_is_allowed)
{
    struct raft_node *node = NULL;
    raft_close(&node);
    raft_close(NULL);
    cr_assert_null(node);
}

Test(raft_step, time_never_goes_back, .signal = SIGABRT)
{
    struct solo solo;
    solo_open(&solo, 1);
    solo_tick(&solo, 10);
    solo.now_ms = 9;
    solo_tick(&solo, 0);
}

Test(raft_step, applying_what_was_not_handed_out_is_a_programmer_error, .signal = SIGABRT)
{
    struct solo solo;
    solo_open(&solo, 1);
    solo_lead(&solo);
    solo_applied(&solo, 2);
}

Test(raft_step, a_restored_log_with_a_gap_is_a_programmer_error, .signal = SIGABRT)
{
    struct raft_options options = solo_options(1);
    struct raft_entry entry = {.index = 3, .term = 1, .kind = RAFT_ENTRY_COMMAND};
    struct raft_restore restore = {.term = 1, .entries = &entry, .entry_count = 1};
    struct solo solo;
    solo_open_with(&solo, &options, &restore);
}

Test(raft_step, a_lease_as_long_as_the_election_timeout_is_a_programmer_error, .signal = SIGABRT)
{
    struct raft_options options = solo_options(3);
    options.lease_ms = options.election_timeout_min_ms;
    struct raft_restore restore = {0};
    struct solo solo;
    solo_open_with(&solo, &options, &restore);
}
