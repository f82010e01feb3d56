#include <criterion/criterion.h>

#include "common/base/units.h"
#include "services/shardhost/raft/progress.h"

#include "solo.h"

TestSuite(raft_replicate, .timeout = 10);

static const struct raft_message *append_to(const struct solo *solo, raft_id id)
{
    const struct raft_message *append = solo_sent(solo, RAFT_MESSAGE_APPEND, id);
    cr_assert_not_null(append);
    cr_assert(solo_sent_now(solo, append), "a leader does not wait for its own disk");
    return append;
}

static const struct raft_message *reply_to(const struct solo *solo, raft_id id)
{
    const struct raft_message *reply = solo_sent(solo, RAFT_MESSAGE_APPEND_REPLY, id);
    cr_assert_not_null(reply);
    return reply;
}

/* --- Leader --- */

Test(raft_replicate, entries_travel_while_the_own_disk_writes)
{
    struct solo solo;
    solo_open(&solo, 3);
    solo_lead(&solo);
    solo_acked(&solo, 2, 1, 1);
    cr_assert_eq(solo_propose(&solo, 2, 10), NK_OK);
    cr_assert_neq(solo.ready.persist_id, 0);
    const struct raft_message *append = append_to(&solo, 2);
    cr_assert_eq(append->index, 1);
    cr_assert_eq(append->index_term, 1);
    cr_assert_eq(append->entry_count, 2);
    cr_assert_eq(append->entries[0].index, 2);
    cr_assert_eq(append->entries[1].payload.size, 10);
    cr_assert_eq(append->commit, 1);
    solo_close(&solo);
}

Test(raft_replicate, a_majority_commits_without_the_leaders_own_disk)
{
    struct solo solo;
    solo_open(&solo, 3);
    solo_lead(&solo);
    solo_acked(&solo, 2, 1, 1);
    solo_acked(&solo, 3, 1, 1);
    cr_assert_eq(solo_propose(&solo, 1, 10), NK_OK);
    solo_acked(&solo, 2, 2, 1);
    cr_assert_eq(solo_status(&solo).commit, 1, "the leader has not persisted it");
    solo_acked(&solo, 3, 2, 1);
    cr_assert_eq(solo_status(&solo).commit, 2);
    cr_assert_eq(solo_status(&solo).persisted, 1);
    cr_assert_eq(solo.ready.committed_count, 1);
    solo_close(&solo);
}

/* Thesis 3.6.2, figure 3.7: entry 2 of term 2 is on a majority and still not committed. */
Test(raft_replicate, only_entries_of_its_own_term_are_committed_by_counting)
{
    static const raft_term terms[] = {1, 2};
    struct solo solo;
    solo_open_log(&solo, 5, 3, terms, 2);
    solo_lead(&solo);
    cr_assert_eq(solo_status(&solo).term, 4);
    solo_acked(&solo, 2, 2, 1);
    solo_acked(&solo, 3, 2, 1);
    cr_assert_eq(solo_status(&solo).commit, 0);
    solo_acked(&solo, 2, 3, 1);
    solo_acked(&solo, 3, 3, 1);
    cr_assert_eq(solo_status(&solo).commit, 3);
    cr_assert_eq(solo.ready.committed_count, 3);
    solo_close(&solo);
}

Test(raft_replicate, appends_obey_their_limits)
{
    struct raft_options options = solo_options(2);
    options.entries_per_append_max = 4;
    options.bytes_per_append_max = 1000;
    struct raft_restore restore = {0};
    struct solo solo;
    solo_open_with(&solo, &options, &restore);
    solo_lead(&solo);
    solo_acked(&solo, 2, 1, 1);
    cr_assert_eq(solo_propose(&solo, 10, 10), NK_OK);
    cr_assert_eq(solo_sent_count(&solo, RAFT_MESSAGE_APPEND, 2), 3);
    cr_assert_eq(append_to(&solo, 2)->entry_count, 4);
    cr_assert_eq(solo_propose(&solo, 3, 600), NK_OK);
    cr_assert_eq(solo_sent_count(&solo, RAFT_MESSAGE_APPEND, 2), 3);
    cr_assert_eq(append_to(&solo, 2)->entry_count, 1);
    solo_close(&solo);
}

Test(raft_replicate, the_window_bounds_what_is_under_way)
{
    struct solo solo;
    solo_open(&solo, 2);
    solo_lead(&solo);
    solo_acked(&solo, 2, 1, 1);
    size_t sent = 0;
    for (size_t i = 0; i < RAFT_INFLIGHT_MAX + 10; i++) {
        cr_assert_eq(solo_propose(&solo, 1, 10), NK_OK);
        sent += solo_sent_count(&solo, RAFT_MESSAGE_APPEND, 2);
    }
    cr_assert_eq(sent, RAFT_INFLIGHT_MAX);
    solo_acked(&solo, 2, 3, 1);
    const struct raft_message *append = append_to(&solo, 2);
    cr_assert_eq(append->entry_count, 10, "what had to wait goes in one");
    solo_close(&solo);
}

Test(raft_replicate, an_answer_that_changes_nothing_sends_nothing)
{
    static const raft_term terms[] = {1};
    struct solo solo;
    solo_open_log(&solo, 3, 1, terms, 1);
    solo_lead(&solo);
    solo_acked(&solo, 2, 2, 1);
    cr_assert_eq(solo_propose(&solo, 3, 10), NK_OK);
    for (size_t i = 0; i < 5; i++) {
        solo_acked(&solo, 2, 2, 1);
        cr_assert_eq(solo.ready.messages_now_count, 0);
    }
    solo_refused(&solo, 3, 0, 0, 1);
    cr_assert_eq(append_to(&solo, 3)->index, 0);
    for (size_t i = 0; i < 5; i++) {
        solo_refused(&solo, 3, 0, 0, 1);
        cr_assert_eq(solo.ready.messages_now_count, 0);
    }
    solo_close(&solo);
}

/* Thesis 3.5 end: one round trip skips a whole term. */
Test(raft_replicate, a_refusal_takes_the_leader_back_to_where_the_logs_may_meet)
{
    static const raft_term terms[] = {1, 1, 1, 4, 4, 5, 5, 6, 6};
    static const struct {
        raft_index hint;
        raft_term hint_term;
        raft_index previous;
    } cases[] = {
        {8, 6, 8},            /* it only lacks the end */
        {5, 4, 5}, {9, 5, 7}, /* its 8 and 9 are of term 5: ours of that term end at 7 */
        {7, 2, 3},            /* terms that we do not have: before all of ours that are later */
        {6, 3, 3}, {0, 0, 0}, /* it has nothing */
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct solo solo;
        solo_open_log(&solo, 3, 7, terms, NK_COUNT_OF(terms));
        solo_lead(&solo);
        solo_refused(&solo, 2, cases[i].hint, cases[i].hint_term, 1);
        const struct raft_message *append = append_to(&solo, 2);
        cr_expect_eq(append->index, cases[i].previous, "case %zu", i);
        cr_expect_eq(append->entry_count, 10 - cases[i].previous, "case %zu", i);
        solo_close(&solo);
    }
}

Test(raft_replicate, a_heartbeat_finds_out_that_appends_were_lost)
{
    struct solo solo;
    solo_open(&solo, 3);
    solo_lead(&solo);
    solo_acked(&solo, 2, 1, 1);
    cr_assert_eq(solo_propose(&solo, 3, 10), NK_OK);
    solo_tick(&solo, SOLO_HEARTBEAT_MS);
    const struct raft_message *heartbeat = append_to(&solo, 2);
    cr_assert_eq(heartbeat->index, 4);
    cr_assert_eq(heartbeat->entry_count, 0);
    solo_refused(&solo, 2, 1, 1, heartbeat->read_round);
    const struct raft_message *append = append_to(&solo, 2);
    cr_assert_eq(append->index, 1);
    cr_assert_eq(append->entry_count, 3);
    solo_close(&solo);
}

Test(raft_replicate, a_single_client_of_a_probed_voter_costs_one_append_a_round)
{
    struct solo solo;
    solo_open(&solo, 3);
    solo_lead(&solo);
    for (size_t i = 0; i < 10; i++) {
        cr_assert_eq(solo_propose(&solo, 1, 10), NK_OK);
        cr_assert_eq(solo_sent_count(&solo, RAFT_MESSAGE_APPEND, 2), 0, "the noop is out");
    }
    solo_tick(&solo, SOLO_HEARTBEAT_MS);
    uint64_t round = append_to(&solo, 2)->read_round;
    cr_assert_eq(append_to(&solo, 2)->entry_count, 0, "nobody knows whether it lives");
    solo_acked(&solo, 2, 0, round);
    cr_assert_eq(append_to(&solo, 2)->entry_count, 11);
    solo_close(&solo);
}

Test(raft_replicate, entries_stay_in_memory_for_slower_members_up_to_the_limit)
{
    struct raft_options options = solo_options(3);
    options.retained_bytes_max = 5 * (RAFT_ENTRY_BYTES + 10);
    struct raft_restore restore = {0};
    struct solo solo;
    solo_open_with(&solo, &options, &restore);
    solo_lead(&solo);
    solo_acked(&solo, 2, 1, 1);
    for (raft_index last = 2; last <= 20; last++) {
        cr_assert_eq(solo_propose(&solo, 1, 10), NK_OK);
        solo_persisted(&solo);
        solo_acked(&solo, 2, last, 1);
        solo_applied(&solo, last);
    }
    solo_refused(&solo, 3, 0, 0, 1);
    cr_assert_eq(solo.ready.messages_now_count, 0, "it needs what is no longer there");
    solo_tick(&solo, SOLO_HEARTBEAT_MS);
    const struct raft_message *heartbeat = append_to(&solo, 3);
    cr_assert_eq(heartbeat->entry_count, 0);
    cr_assert_eq(heartbeat->index, 15, "the oldest place that can still be named");
    solo_refused(&solo, 3, 0, 0, heartbeat->read_round);
    cr_assert_eq(solo.ready.messages_now_count, 0);
    cr_assert_eq(solo_propose(&solo, 1, 10), NK_OK);
    cr_assert_eq(solo_sent_count(&solo, RAFT_MESSAGE_APPEND, 2), 1, "the others go on");
    solo_close(&solo);
}

Test(raft_replicate, what_all_have_is_released)
{
    struct solo solo;
    solo_open(&solo, 2);
    solo_lead(&solo);
    solo_acked(&solo, 2, 1, 1);
    cr_assert_eq(solo_propose(&solo, 5, 10), NK_OK);
    solo_persisted(&solo);
    solo_acked(&solo, 2, 6, 1);
    solo_applied(&solo, 6);
    char memory[256];
    struct nk_text text;
    nk_text_init(&text, memory, sizeof memory);
    raft_describe(solo.node, &text);
    cr_assert_not_null(strstr(memory, "base=1.6 last=1.6"), "%s", memory);
    solo_close(&solo);
}

/* --- Follower --- */

Test(raft_replicate, new_entries_are_acknowledged_after_the_sync)
{
    static const raft_term terms[] = {1, 1, 1};
    struct solo solo;
    solo_open(&solo, 3);
    solo_append(&solo, 2, 1, 0, 0, NULL, 0, 0);
    solo_persisted(&solo); /* the term alone would make the answer wait */
    solo_append(&solo, 2, 1, 0, 0, terms, 3, 1);
    const struct raft_message *reply = reply_to(&solo, 2);
    cr_assert_not(solo_sent_now(&solo, reply));
    cr_assert_not(reply->reject);
    cr_assert_eq(reply->index, 3);
    cr_assert_eq(reply->read_round, 1);
    cr_assert_eq(solo.ready.entry_count, 3);
    cr_assert_eq(solo.ready.committed_count, 1);
    solo_close(&solo);
}

Test(raft_replicate, a_heartbeat_is_answered_at_once_with_what_is_durable)
{
    static const raft_term terms[] = {1, 1, 1};
    struct solo solo;
    solo_open(&solo, 3);
    solo_append(&solo, 2, 1, 0, 0, terms, 1, 0);
    solo_persisted(&solo);
    solo_append(&solo, 2, 1, 1, 1, terms, 2, 0);
    uint64_t persist_id = solo.ready.persist_id;
    solo_append(&solo, 2, 1, 3, 1, NULL, 0, 0);
    const struct raft_message *reply = reply_to(&solo, 2);
    cr_assert(solo_sent_now(&solo, reply));
    cr_assert_eq(reply->index, 1);
    cr_assert_eq(solo.ready.persist_id, 0);
    solo_append(&solo, 2, 1, 1, 1, terms, 2, 0); /* the same again */
    cr_assert_eq(reply_to(&solo, 2)->index, 1);
    solo_persisted_id(&solo, persist_id);
    solo_append(&solo, 2, 1, 3, 1, NULL, 0, 0);
    cr_assert_eq(reply_to(&solo, 2)->index, 3);
    solo_close(&solo);
}

Test(raft_replicate, no_answer_leaves_before_its_term_is_durable)
{
    struct solo solo;
    solo_open(&solo, 3);
    solo_append(&solo, 2, 1, 0, 0, NULL, 0, 0);
    cr_assert_not(solo_sent_now(&solo, reply_to(&solo, 2)));
    solo_append(&solo, 2, 1, 5, 1, NULL, 0, 0);
    cr_assert(reply_to(&solo, 2)->reject);
    cr_assert_not(solo_sent_now(&solo, reply_to(&solo, 2)), "it confirms the round all the same");
    solo_persisted(&solo);
    solo_append(&solo, 2, 1, 0, 0, NULL, 0, 0);
    cr_assert(solo_sent_now(&solo, reply_to(&solo, 2)));
    solo_close(&solo);
}

/* Thesis 3.5. */
Test(raft_replicate, a_conflicting_tail_is_replaced)
{
    static const raft_term old_terms[] = {1, 1, 2, 2};
    static const raft_term new_terms[] = {1, 3};
    struct solo solo;
    solo_open_log(&solo, 3, 2, old_terms, 4);
    solo_append(&solo, 2, 3, 1, 1, new_terms, 2, 0);
    cr_assert_eq(solo.ready.entry_count, 1, "entry 2 was there");
    cr_assert_eq(solo.ready.entries[0].index, 3);
    cr_assert_eq(solo.ready.entries[0].term, 3);
    cr_assert_eq(solo_status(&solo).last, 3);
    cr_assert_eq(solo_status(&solo).persisted, 2);
    cr_assert_eq(reply_to(&solo, 2)->index, 3);
    solo_close(&solo);
}

Test(raft_replicate, a_late_append_does_not_cut_off_what_came_after_it)
{
    static const raft_term terms[] = {1, 1, 1, 1};
    struct solo solo;
    solo_open(&solo, 3);
    solo_append(&solo, 2, 1, 0, 0, terms, 4, 0);
    solo_append(&solo, 2, 1, 0, 0, terms, 2, 0);
    cr_assert_eq(solo_status(&solo).last, 4);
    solo_close(&solo);
}

Test(raft_replicate, a_commit_reaches_only_as_far_as_the_append_has_verified)
{
    static const raft_term old_terms[] = {1, 1, 2, 2};
    struct solo solo;
    solo_open_log(&solo, 3, 2, old_terms, 4);
    solo_append(&solo, 2, 3, 2, 1, NULL, 0, 9);
    cr_assert_eq(solo_status(&solo).commit, 2, "3 and 4 may be wrong");
    solo_close(&solo);
}

Test(raft_replicate, a_refusal_names_the_last_entry_that_can_match)
{
    static const raft_term terms[] = {1, 1, 4, 4, 4, 6};
    static const struct {
        raft_index previous;
        raft_term previous_term;
        raft_index hint;
        raft_term hint_term;
    } cases[] = {
        {9, 7, 6, 6}, /* too short */
        {6, 5, 5, 4}, /* its previous is of term 5: our 6 cannot match, our 5 may */
        {5, 3, 2, 1}, {3, 2, 2, 1},
        {4, 5, 4, 4}, /* its is later: ours may match further back in the leader's log */
        {2, 3, 2, 1},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct solo solo;
        solo_open_log(&solo, 3, 8, terms, NK_COUNT_OF(terms));
        solo_append(&solo, 2, 8, cases[i].previous, cases[i].previous_term, NULL, 0, 0);
        const struct raft_message *reply = reply_to(&solo, 2);
        cr_expect(reply->reject, "case %zu", i);
        cr_expect_eq(reply->index, cases[i].hint, "case %zu", i);
        cr_expect_eq(reply->index_term, cases[i].hint_term, "case %zu", i);
        solo_close(&solo);
    }
}

Test(raft_replicate, an_append_that_begins_below_what_is_applied_is_taken)
{
    static const raft_term terms[] = {2, 2, 3, 3};
    struct raft_options options = solo_options(3);
    struct raft_restore restore = {.term = 3, .applied = 10, .applied_term = 2};
    struct solo solo;
    solo_open_with(&solo, &options, &restore);
    solo_append(&solo, 2, 3, 8, 2, terms, 4, 0);
    cr_assert_eq(solo_status(&solo).last, 12);
    cr_assert_eq(solo.ready.entry_count, 2);
    cr_assert_eq(solo.ready.entries[0].index, 11);
    cr_assert_eq(reply_to(&solo, 2)->index, 12);
    solo_append(&solo, 2, 3, 4, 1, terms, 2, 0);
    cr_assert_not(reply_to(&solo, 2)->reject, "all of it is applied");
    solo_close(&solo);
}

Test(raft_replicate, a_follower_whose_host_does_not_apply_takes_no_more)
{
    struct raft_options options = solo_options(3);
    options.unapplied_bytes_max = 4 * RAFT_ENTRY_BYTES; /* a follower may hold twice that */
    struct raft_restore restore = {0};
    struct solo solo;
    solo_open_with(&solo, &options, &restore);
    static const raft_term terms[] = {1, 1, 1, 1, 1, 1};
    solo_append(&solo, 2, 1, 0, 0, terms, 6, 6);
    solo_append(&solo, 2, 1, 6, 1, terms, 6, 6);
    cr_assert_eq(solo_status(&solo).last, 8);
    cr_assert_eq(reply_to(&solo, 2)->index, 8);
    solo_append(&solo, 2, 1, 8, 1, terms, 6, 6);
    cr_assert_eq(solo_status(&solo).last, 8);
    cr_assert_null(solo_sent(&solo, RAFT_MESSAGE_APPEND_REPLY, 2));
    solo_applied(&solo, 6);
    /* Only uncommitted entries are left: the commit may be waiting for more of them. */
    solo_append(&solo, 2, 1, 8, 1, terms, 6, 6);
    solo_append(&solo, 2, 1, 14, 1, terms, 6, 6);
    cr_assert_eq(solo_status(&solo).last, 20);
    solo_close(&solo);
}

Test(raft_replicate, a_second_leader_of_the_same_term_is_not_believed)
{
    static const raft_term terms[] = {1};
    struct solo solo;
    solo_open(&solo, 3);
    solo_append(&solo, 2, 1, 0, 0, NULL, 0, 0);
    solo_append(&solo, 3, 1, 0, 0, terms, 1, 1);
    cr_assert_eq(solo_status(&solo).leader, 2);
    cr_assert_eq(solo_status(&solo).last, 0);
    solo_close(&solo);
}

Test(raft_replicate, nobody_changes_what_is_committed)
{
    static const raft_term terms[] = {1, 1, 1};
    static const raft_term others[] = {1, 2, 2};
    struct solo solo;
    solo_open(&solo, 3);
    solo_append(&solo, 2, 1, 0, 0, terms, 3, 3);
    solo_append(&solo, 3, 2, 0, 0, others, 3, 3);
    solo_append(&solo, 3, 2, 2, 2, others, 1, 3);
    cr_assert_eq(solo_status(&solo).last, 3);
    cr_assert_eq(solo_status(&solo).commit, 3);
    cr_assert_eq(solo.ready.entry_count, 0);
    solo_close(&solo);
}
