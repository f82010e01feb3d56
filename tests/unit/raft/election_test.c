#include <criterion/criterion.h>

#include "common/base/units.h"

#include "solo.h"

TestSuite(raft_election, .timeout = 10);

static struct raft_message request(enum raft_message_type type, raft_id from, raft_term term,
                                   raft_index index, raft_term index_term)
{
    return (struct raft_message){
        .type = type,
        .from = from,
        .to = 1,
        .term = term,
        .index = index,
        .index_term = index_term,
    };
}

static struct raft_message reply(enum raft_message_type type, raft_id from, raft_term term,
                                 bool reject)
{
    return (struct raft_message){
        .type = type,
        .from = from,
        .to = 1,
        .term = term,
        .reject = reject,
    };
}

static void receive_reply(struct solo *solo, enum raft_message_type type, raft_id from,
                          raft_term term, bool reject)
{
    struct raft_message message = reply(type, from, term, reject);
    solo_receive(solo, &message);
}

static const struct raft_message *answer_to(struct solo *solo, enum raft_message_type type,
                                            raft_id from, raft_term term, raft_index index,
                                            raft_term index_term)
{
    struct raft_message message = request(type, from, term, index, index_term);
    solo_receive(solo, &message);
    return solo_sent(
        solo, type == RAFT_MESSAGE_VOTE ? RAFT_MESSAGE_VOTE_REPLY : RAFT_MESSAGE_PRE_VOTE_REPLY,
        from);
}

Test(raft_election, a_follower_that_hears_nothing_asks_before_it_raises_the_term)
{
    struct solo solo;
    solo_open(&solo, 3);
    solo_tick(&solo, SOLO_TIMEOUT_MAX_MS);
    cr_assert_eq(solo_status(&solo).role, RAFT_ROLE_PRE_CANDIDATE);
    cr_assert_eq(solo_status(&solo).term, 0);
    cr_assert_eq(solo.ready.persist_id, 0);
    const struct raft_message *ask = solo_sent(&solo, RAFT_MESSAGE_PRE_VOTE, 3);
    cr_assert_not_null(ask);
    cr_assert_eq(ask->term, 1);
    for (size_t i = 0; i < 10; i++) {
        solo_tick(&solo, SOLO_TIMEOUT_MAX_MS);
        cr_assert_eq(solo_status(&solo).term, 0, "cut off, it may ask for ever");
    }
    solo_close(&solo);
}

Test(raft_election, the_timeout_is_random_within_its_limits)
{
    uint64_t least = UINT64_MAX;
    uint64_t most = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct raft_options options = solo_options(3);
        options.seed = seed;
        struct raft_restore restore = {0};
        struct solo solo;
        solo_open_with(&solo, &options, &restore);
        solo_tick(&solo, 0);
        cr_assert_geq(solo.ready.next_tick_ms, SOLO_TIMEOUT_MIN_MS);
        cr_assert_leq(solo.ready.next_tick_ms, SOLO_TIMEOUT_MAX_MS);
        least = nk_min_u64(least, solo.ready.next_tick_ms);
        most = nk_max_u64(most, solo.ready.next_tick_ms);
        solo_close(&solo);
    }
    cr_assert_lt(least, SOLO_TIMEOUT_MIN_MS + 100);
    cr_assert_gt(most, SOLO_TIMEOUT_MAX_MS - 100);
}

Test(raft_election, answering_a_pre_vote_does_not_raise_the_term)
{
    struct solo solo;
    solo_open(&solo, 3);
    const struct raft_message *answer = answer_to(&solo, RAFT_MESSAGE_PRE_VOTE, 2, 9, 0, 0);
    cr_assert_not(answer->reject);
    cr_assert_eq(answer->term, 9);
    cr_assert_eq(solo_status(&solo).term, 0);
    cr_assert_eq(solo.ready.persist_id, 0);
    answer = answer_to(&solo, RAFT_MESSAGE_PRE_VOTE, 3, 9, 0, 0);
    cr_assert_not(answer->reject, "a pre-vote binds nobody");
    solo_close(&solo);
}

Test(raft_election, a_refused_pre_vote_tells_the_newer_term)
{
    struct solo solo;
    solo_open_log(&solo, 3, 5, NULL, 0);
    const struct raft_message *answer = answer_to(&solo, RAFT_MESSAGE_PRE_VOTE, 2, 5, 0, 0);
    cr_assert(answer->reject);
    cr_assert_eq(answer->term, 5);
    solo_campaign(&solo);
    receive_reply(&solo, RAFT_MESSAGE_PRE_VOTE_REPLY, 2, 8, true);
    cr_assert_eq(solo_status(&solo).term, 8);
    cr_assert_eq(solo_status(&solo).role, RAFT_ROLE_FOLLOWER);
    solo_close(&solo);
}

Test(raft_election, requests_for_votes_leave_only_when_its_own_vote_is_durable)
{
    struct solo solo;
    solo_open(&solo, 3);
    solo_campaign(&solo);
    receive_reply(&solo, RAFT_MESSAGE_PRE_VOTE_REPLY, 2, 1, false);
    cr_assert_eq(solo_status(&solo).role, RAFT_ROLE_CANDIDATE);
    cr_assert_eq(solo.ready.term, 1);
    cr_assert_eq(solo.ready.voted_for, 1);
    cr_assert_neq(solo.ready.persist_id, 0);
    cr_assert_eq(solo.ready.messages_now_count, 0);
    cr_assert_eq(solo.ready.messages_after_sync_count, 2);
    solo_close(&solo);
}

Test(raft_election, a_majority_of_others_does_not_replace_its_own_durable_vote)
{
    struct solo solo;
    solo_open(&solo, 3);
    solo_campaign(&solo);
    receive_reply(&solo, RAFT_MESSAGE_PRE_VOTE_REPLY, 2, 1, false);
    uint64_t persist_id = solo.ready.persist_id;
    receive_reply(&solo, RAFT_MESSAGE_VOTE_REPLY, 2, 1, false);
    receive_reply(&solo, RAFT_MESSAGE_VOTE_REPLY, 3, 1, false);
    cr_assert_eq(solo_status(&solo).role, RAFT_ROLE_CANDIDATE);
    solo_persisted_id(&solo, persist_id);
    cr_assert_eq(solo_status(&solo).role, RAFT_ROLE_LEADER);
    solo_close(&solo);
}

Test(raft_election, one_voter_counts_once)
{
    struct solo solo;
    solo_open(&solo, 5);
    solo_campaign(&solo);
    receive_reply(&solo, RAFT_MESSAGE_PRE_VOTE_REPLY, 2, 1, false);
    receive_reply(&solo, RAFT_MESSAGE_PRE_VOTE_REPLY, 2, 1, false);
    cr_assert_eq(solo_status(&solo).role, RAFT_ROLE_PRE_CANDIDATE);
    receive_reply(&solo, RAFT_MESSAGE_PRE_VOTE_REPLY, 3, 1, false);
    cr_assert_eq(solo_status(&solo).role, RAFT_ROLE_CANDIDATE);
    solo_persisted(&solo);
    receive_reply(&solo, RAFT_MESSAGE_VOTE_REPLY, 2, 1, false);
    receive_reply(&solo, RAFT_MESSAGE_VOTE_REPLY, 2, 1, false);
    cr_assert_eq(solo_status(&solo).role, RAFT_ROLE_CANDIDATE);
    solo_close(&solo);
}

Test(raft_election, votes_of_another_term_do_not_count)
{
    struct solo solo;
    solo_open_log(&solo, 3, 4, NULL, 0);
    solo_campaign(&solo);
    receive_reply(&solo, RAFT_MESSAGE_PRE_VOTE_REPLY, 2, 4, false);
    receive_reply(&solo, RAFT_MESSAGE_PRE_VOTE_REPLY, 3, 6, false);
    cr_assert_eq(solo_status(&solo).role, RAFT_ROLE_PRE_CANDIDATE);
    cr_assert_eq(solo_status(&solo).term, 4);
    receive_reply(&solo, RAFT_MESSAGE_PRE_VOTE_REPLY, 2, 5, false);
    solo_persisted(&solo);
    receive_reply(&solo, RAFT_MESSAGE_VOTE_REPLY, 2, 4, false);
    cr_assert_eq(solo_status(&solo).role, RAFT_ROLE_CANDIDATE);
    solo_close(&solo);
}

Test(raft_election, a_candidate_that_a_majority_refused_gives_up)
{
    struct solo solo;
    solo_open(&solo, 3);
    solo_campaign(&solo);
    receive_reply(&solo, RAFT_MESSAGE_PRE_VOTE_REPLY, 2, 1, false);
    solo_persisted(&solo);
    receive_reply(&solo, RAFT_MESSAGE_VOTE_REPLY, 2, 1, true);
    cr_assert_eq(solo_status(&solo).role, RAFT_ROLE_CANDIDATE);
    receive_reply(&solo, RAFT_MESSAGE_VOTE_REPLY, 3, 1, true);
    cr_assert_eq(solo_status(&solo).role, RAFT_ROLE_FOLLOWER);
    solo_close(&solo);
}

Test(raft_election, a_vote_is_given_once_in_a_term_and_leaves_after_the_sync)
{
    struct solo solo;
    solo_open(&solo, 3);
    const struct raft_message *answer = answer_to(&solo, RAFT_MESSAGE_VOTE, 2, 1, 0, 0);
    cr_assert_not(answer->reject);
    cr_assert_not(solo_sent_now(&solo, answer));
    cr_assert_eq(solo.ready.voted_for, 2);
    cr_assert_neq(solo.ready.persist_id, 0);
    cr_assert(answer_to(&solo, RAFT_MESSAGE_VOTE, 3, 1, 0, 0)->reject);
    answer = answer_to(&solo, RAFT_MESSAGE_VOTE, 2, 1, 0, 0);
    cr_assert_not(answer->reject, "the same candidate may ask again");
    cr_assert_neq(solo.ready.persist_id, 0, "but the first sync is not over");
    cr_assert_not(answer_to(&solo, RAFT_MESSAGE_VOTE, 3, 2, 0, 0)->reject);
    solo_close(&solo);
}

Test(raft_election, a_vote_survives_a_restart)
{
    struct raft_options options = solo_options(3);
    struct raft_restore restore = {.term = 5, .voted_for = 2};
    struct solo solo;
    solo_open_with(&solo, &options, &restore);
    solo.now_ms = SOLO_TIMEOUT_MIN_MS;
    cr_assert(answer_to(&solo, RAFT_MESSAGE_VOTE, 3, 5, 0, 0)->reject);
    cr_assert_not(answer_to(&solo, RAFT_MESSAGE_VOTE, 2, 5, 0, 0)->reject);
    solo_close(&solo);
}

/* Thesis 3.6.1. */
Test(raft_election, only_a_log_as_complete_as_ours_gets_the_vote)
{
    static const raft_term terms[] = {1, 2, 2};
    static const struct {
        raft_index index;
        raft_term term;
        bool granted;
    } cases[] = {
        {3, 2, true}, {4, 2, true}, {2, 2, false}, {1, 3, true}, {9, 1, false}, {0, 0, false},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct solo solo;
        solo_open_log(&solo, 3, 3, terms, 3);
        const struct raft_message *answer =
            answer_to(&solo, RAFT_MESSAGE_PRE_VOTE, 2, 4, cases[i].index, cases[i].term);
        cr_expect_eq(!answer->reject, cases[i].granted, "pre-vote, case %zu", i);
        answer = answer_to(&solo, RAFT_MESSAGE_VOTE, 2, 4, cases[i].index, cases[i].term);
        cr_expect_eq(!answer->reject, cases[i].granted, "vote, case %zu", i);
        solo_close(&solo);
    }
}

/* Thesis 4.2.3. */
Test(raft_election, a_follower_of_a_live_leader_helps_nobody_else)
{
    struct solo solo;
    solo_open(&solo, 3);
    solo_append(&solo, 2, 1, 0, 0, NULL, 0, 0);
    solo.now_ms += SOLO_TIMEOUT_MIN_MS - 1;
    cr_assert(answer_to(&solo, RAFT_MESSAGE_PRE_VOTE, 3, 2, 0, 0)->reject);
    cr_assert_null(answer_to(&solo, RAFT_MESSAGE_VOTE, 3, 2, 0, 0));
    cr_assert_eq(solo_status(&solo).term, 1);
    solo.now_ms += 1;
    cr_assert_not(answer_to(&solo, RAFT_MESSAGE_PRE_VOTE, 3, 2, 0, 0)->reject);
    cr_assert_not(answer_to(&solo, RAFT_MESSAGE_VOTE, 3, 2, 0, 0)->reject);
    solo_close(&solo);
}

Test(raft_election, a_leader_is_not_disturbed_by_candidates)
{
    struct solo solo;
    solo_open(&solo, 3);
    solo_lead(&solo);
    cr_assert_null(answer_to(&solo, RAFT_MESSAGE_VOTE, 2, 7, 5, 6));
    cr_assert_eq(solo_status(&solo).role, RAFT_ROLE_LEADER);
    cr_assert_eq(solo_status(&solo).term, 1);
    solo_close(&solo);
}

Test(raft_election, a_restarted_member_is_loyal_to_a_leader_it_may_have_forgotten)
{
    struct raft_options options = solo_options(3);
    struct raft_restore restore = {.term = 5};
    struct solo solo;
    solo_open_with(&solo, &options, &restore);
    cr_assert_null(answer_to(&solo, RAFT_MESSAGE_VOTE, 2, 6, 9, 5));
    cr_assert(answer_to(&solo, RAFT_MESSAGE_PRE_VOTE, 2, 6, 9, 5)->reject);
    solo_campaign(&solo);
    cr_assert_eq(solo_status(&solo).role, RAFT_ROLE_FOLLOWER);
    solo.now_ms += SOLO_TIMEOUT_MIN_MS;
    cr_assert_not(answer_to(&solo, RAFT_MESSAGE_VOTE, 2, 6, 9, 5)->reject);
    solo_close(&solo);
}

Test(raft_election, a_campaign_that_was_asked_for_waits_for_the_lease_of_the_last_leader)
{
    struct solo solo;
    solo_open(&solo, 3);
    solo_append(&solo, 2, 1, 0, 0, NULL, 0, 0);
    uint64_t heard_ms = solo.now_ms;
    solo.now_ms += 10;
    solo_campaign(&solo);
    cr_assert_eq(solo_status(&solo).role, RAFT_ROLE_FOLLOWER);
    cr_assert_eq(solo.ready.next_tick_ms, heard_ms + SOLO_TIMEOUT_MIN_MS);
    solo_tick(&solo, SOLO_TIMEOUT_MIN_MS - 10);
    cr_assert_eq(solo_status(&solo).role, RAFT_ROLE_PRE_CANDIDATE);
    solo_close(&solo);
}

Test(raft_election, a_candidate_follows_the_leader_that_won_its_term)
{
    struct solo solo;
    solo_open(&solo, 3);
    solo_campaign(&solo);
    receive_reply(&solo, RAFT_MESSAGE_PRE_VOTE_REPLY, 2, 1, false);
    solo_append(&solo, 3, 1, 0, 0, NULL, 0, 0);
    cr_assert_eq(solo_status(&solo).role, RAFT_ROLE_FOLLOWER);
    cr_assert_eq(solo_status(&solo).leader, 3);
    cr_assert_eq(solo.ready.voted_for, 1, "the vote of the term stays given");
    solo_close(&solo);
}

Test(raft_election, a_leader_of_the_past_is_told_the_new_term)
{
    struct solo solo;
    solo_open_log(&solo, 3, 4, NULL, 0);
    solo_append(&solo, 2, 3, 0, 0, NULL, 0, 0);
    const struct raft_message *answer = solo_sent(&solo, RAFT_MESSAGE_APPEND_REPLY, 2);
    cr_assert(answer->reject);
    cr_assert_eq(answer->term, 4);
    cr_assert_eq(solo_status(&solo).leader, 0);
    answer = answer_to(&solo, RAFT_MESSAGE_VOTE, 3, 2, 0, 0);
    cr_assert(answer->reject);
    cr_assert_eq(answer->term, 4);
    solo_close(&solo);
}

Test(raft_election, a_newer_term_ends_a_leadership)
{
    struct solo solo;
    solo_open(&solo, 3);
    solo_lead(&solo);
    receive_reply(&solo, RAFT_MESSAGE_APPEND_REPLY, 3, 4, true);
    cr_assert_eq(solo_status(&solo).role, RAFT_ROLE_FOLLOWER);
    cr_assert_eq(solo_status(&solo).term, 4);
    cr_assert_eq(solo.ready.term, 4);
    cr_assert_eq(solo.ready.voted_for, 0);
    cr_assert_neq(solo.ready.persist_id, 0);
    solo_close(&solo);
}

/* Thesis 6.2. */
Test(raft_election, a_leader_without_a_majority_steps_down)
{
    struct solo solo;
    solo_open(&solo, 5);
    solo_lead(&solo);
    uint64_t led_ms = solo.now_ms;
    while (solo.now_ms < led_ms + SOLO_TIMEOUT_MAX_MS - SOLO_HEARTBEAT_MS) {
        solo_tick(&solo, SOLO_HEARTBEAT_MS);
        const struct raft_message *heartbeat = solo_sent(&solo, RAFT_MESSAGE_APPEND, 2);
        cr_assert_not_null(heartbeat);
        solo_acked(&solo, 2, 0, heartbeat->read_round); /* one of four is not enough */
    }
    cr_assert_eq(solo_status(&solo).role, RAFT_ROLE_LEADER);
    solo_tick(&solo, SOLO_HEARTBEAT_MS);
    cr_assert_eq(solo_status(&solo).role, RAFT_ROLE_FOLLOWER);
    cr_assert_eq(solo_status(&solo).term, 1);
    solo_close(&solo);
}

Test(raft_election, a_leader_with_a_majority_stays)
{
    struct solo solo;
    solo_open(&solo, 5);
    solo_lead(&solo);
    for (size_t i = 0; i < 100; i++) {
        solo_tick(&solo, SOLO_HEARTBEAT_MS);
        uint64_t round = solo_sent(&solo, RAFT_MESSAGE_APPEND, 2)->read_round;
        solo_acked(&solo, 2, 0, round);
        solo_acked(&solo, 4, 0, round);
    }
    cr_assert_eq(solo_status(&solo).role, RAFT_ROLE_LEADER);
    solo_close(&solo);
}

Test(raft_election, a_node_at_the_end_of_all_terms_does_not_overflow)
{
    struct raft_options options = solo_options(3);
    struct raft_restore restore = {.term = ((uint64_t)1 << 62) - 1};
    struct solo solo;
    solo_open_with(&solo, &options, &restore);
    for (size_t i = 0; i < 5; i++) {
        solo_tick(&solo, SOLO_TIMEOUT_MAX_MS);
        cr_assert_eq(solo_status(&solo).role, RAFT_ROLE_FOLLOWER);
        cr_assert_eq(solo.ready.messages_now_count, 0);
    }
    solo_close(&solo);
}
