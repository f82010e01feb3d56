/* The restart policy.  Time is a number that the test moves. */

#include <criterion/criterion.h>

#include <signal.h>

#include "common/base/units.h"
#include "services/server/supervise.h"

TestSuite(supervise, .timeout = 5);

#define START_MS ((uint64_t)1000)

static void expect_action(struct supervise *policy, uint64_t now_ms,
                          enum supervise_action_kind kind, enum supervise_child child)
{
    struct supervise_action action = supervise_next(policy, now_ms);
    cr_assert_eq(action.kind, kind, "at %llu: kind %d", (unsigned long long)now_ms, action.kind);
    cr_assert_eq(action.child, child, "at %llu: child %d", (unsigned long long)now_ms,
                 action.child);
}

/* UINT64_MAX: not by time. */
static void expect_nothing_until(struct supervise *policy, uint64_t now_ms, uint64_t until_ms)
{
    struct supervise_action action = supervise_next(policy, now_ms);
    cr_assert_eq(action.kind, SUPERVISE_NOTHING, "at %llu: kind %d", (unsigned long long)now_ms,
                 action.kind);
    cr_assert_eq(action.next_ms, until_ms);
}

/* All four run and are ready, at START_MS. */
static void bring_up(struct supervise *policy)
{
    supervise_init(policy, START_MS);
    expect_action(policy, START_MS, SUPERVISE_START, SUPERVISE_GOSSIP);
    supervise_serving(policy, SUPERVISE_GOSSIP);
    expect_action(policy, START_MS, SUPERVISE_START, SUPERVISE_SHARDHOST);
    expect_action(policy, START_MS, SUPERVISE_START, SUPERVISE_GATEWAY);
    expect_action(policy, START_MS, SUPERVISE_START, SUPERVISE_ADMIN);
    for (size_t i = 0; i < SUPERVISE_CHILD_COUNT; i++) {
        supervise_ready(policy, (enum supervise_child)i);
    }
    expect_nothing_until(policy, START_MS, UINT64_MAX);
}

/* ---- Starting ---- */

Test(supervise, the_others_start_once_gossip_serves)
{
    struct supervise policy;
    supervise_init(&policy, START_MS);
    expect_action(&policy, START_MS, SUPERVISE_START, SUPERVISE_GOSSIP);
    expect_nothing_until(&policy, START_MS, UINT64_MAX);
    supervise_serving(&policy, SUPERVISE_GOSSIP);
    expect_action(&policy, START_MS, SUPERVISE_START, SUPERVISE_SHARDHOST);
    expect_action(&policy, START_MS, SUPERVISE_START, SUPERVISE_GATEWAY);
    expect_action(&policy, START_MS, SUPERVISE_START, SUPERVISE_ADMIN);
    expect_nothing_until(&policy, START_MS, UINT64_MAX);
}

Test(supervise, the_node_is_ready_while_every_child_runs_and_is_ready)
{
    struct supervise policy;
    bring_up(&policy);
    cr_expect(supervise_all_ready(&policy));
    cr_expect_eq(supervise_ended(&policy, SUPERVISE_ADMIN, 1, START_MS), SUPERVISE_RESTART);
    cr_expect_not(supervise_all_ready(&policy));
    expect_action(&policy, START_MS, SUPERVISE_START, SUPERVISE_ADMIN);
    cr_expect_not(supervise_all_ready(&policy), "a new life is not ready yet");
    supervise_ready(&policy, SUPERVISE_ADMIN);
    cr_expect(supervise_all_ready(&policy));
}

/* ---- Restarting ---- */

Test(supervise, a_child_that_ends_is_started_again_and_the_others_stay)
{
    for (size_t i = 0; i < SUPERVISE_CHILD_COUNT; i++) {
        enum supervise_child child = (enum supervise_child)i;
        struct supervise policy;
        bring_up(&policy);
        cr_expect_eq(supervise_ended(&policy, child, 137, START_MS + 5), SUPERVISE_RESTART);
        expect_action(&policy, START_MS + 5, SUPERVISE_START, child);
        expect_nothing_until(&policy, START_MS + 5, UINT64_MAX);
    }
}

Test(supervise, each_end_in_a_row_doubles_the_wait)
{
    static const uint64_t waits_ms[] = {0, 100, 200, 400, 800, 1600, 3200, 5000, 5000};
    struct supervise policy;
    bring_up(&policy);
    uint64_t now_ms = START_MS;
    for (size_t i = 0; i < NK_COUNT_OF(waits_ms); i++) {
        cr_expect_eq(supervise_ended(&policy, SUPERVISE_SHARDHOST, 1, now_ms), SUPERVISE_RESTART);
        if (waits_ms[i] > 0) {
            expect_nothing_until(&policy, now_ms + waits_ms[i] - 1, now_ms + waits_ms[i]);
        }
        now_ms += waits_ms[i];
        expect_action(&policy, now_ms, SUPERVISE_START, SUPERVISE_SHARDHOST);
    }
}

Test(supervise, thirty_seconds_of_life_begin_anew)
{
    struct supervise policy;
    bring_up(&policy);
    uint64_t now_ms = START_MS;
    for (int i = 0; i < 4; i++) {
        cr_expect_eq(supervise_ended(&policy, SUPERVISE_ADMIN, 1, now_ms), SUPERVISE_RESTART);
        now_ms = policy.children[SUPERVISE_ADMIN].due_ms;
        expect_action(&policy, now_ms, SUPERVISE_START, SUPERVISE_ADMIN);
    }
    now_ms += SUPERVISE_STABLE_MS;
    cr_expect_eq(supervise_ended(&policy, SUPERVISE_ADMIN, 1, now_ms), SUPERVISE_RESTART);
    expect_action(&policy, now_ms, SUPERVISE_START, SUPERVISE_ADMIN);
}

Test(supervise, gossip_that_ends_holds_nobody_back_later)
{
    struct supervise policy;
    bring_up(&policy);
    cr_expect_eq(supervise_ended(&policy, SUPERVISE_GOSSIP, 1, START_MS), SUPERVISE_RESTART);
    cr_expect_eq(supervise_ended(&policy, SUPERVISE_GATEWAY, 1, START_MS), SUPERVISE_RESTART);
    expect_action(&policy, START_MS, SUPERVISE_START, SUPERVISE_GOSSIP);
    expect_action(&policy, START_MS, SUPERVISE_START, SUPERVISE_GATEWAY);
}

/* ---- Giving up ---- */

Test(supervise, a_child_that_has_never_been_ready_gets_five_attempts)
{
    struct supervise policy;
    supervise_init(&policy, 0);
    uint64_t now_ms = 0;
    for (int i = 1; i < SUPERVISE_ATTEMPTS; i++) {
        expect_action(&policy, now_ms, SUPERVISE_START, SUPERVISE_GOSSIP);
        cr_expect_eq(supervise_ended(&policy, SUPERVISE_GOSSIP, 1, now_ms), SUPERVISE_RESTART);
        now_ms = policy.children[SUPERVISE_GOSSIP].due_ms;
    }
    expect_action(&policy, now_ms, SUPERVISE_START, SUPERVISE_GOSSIP);
    cr_expect_eq(supervise_ended(&policy, SUPERVISE_GOSSIP, 1, now_ms), SUPERVISE_HOPELESS);
    expect_action(&policy, now_ms, SUPERVISE_DONE, SUPERVISE_GOSSIP);
    cr_expect_eq(policy.exit_code, SUPERVISE_EXIT_FAILURE);
}

Test(supervise, a_child_that_was_ready_once_is_never_given_up)
{
    struct supervise policy;
    bring_up(&policy);
    uint64_t now_ms = START_MS;
    for (int i = 0; i < 100; i++) {
        cr_assert_eq(supervise_ended(&policy, SUPERVISE_GATEWAY, 1, now_ms), SUPERVISE_RESTART);
        now_ms = policy.children[SUPERVISE_GATEWAY].due_ms;
        expect_action(&policy, now_ms, SUPERVISE_START, SUPERVISE_GATEWAY);
    }
}

Test(supervise, a_child_that_refuses_its_settings_stops_the_node_in_order_with_78)
{
    struct supervise policy;
    bring_up(&policy);
    cr_expect_eq(supervise_ended(&policy, SUPERVISE_SHARDHOST, 78, START_MS), SUPERVISE_BAD_CONFIG);
    static const enum supervise_child order[] = {SUPERVISE_GATEWAY, SUPERVISE_ADMIN,
                                                 SUPERVISE_GOSSIP};
    for (size_t i = 0; i < NK_COUNT_OF(order); i++) {
        expect_action(&policy, START_MS, SUPERVISE_TERMINATE, order[i]);
        cr_expect_eq(supervise_ended(&policy, order[i], 0, START_MS), SUPERVISE_EXPECTED);
    }
    expect_action(&policy, START_MS, SUPERVISE_DONE, SUPERVISE_GOSSIP);
    cr_expect_eq(policy.exit_code, SUPERVISE_EXIT_CONFIG);
}

/* ---- Stopping ---- */

static const enum supervise_child stop_order[] = {SUPERVISE_GATEWAY, SUPERVISE_SHARDHOST,
                                                  SUPERVISE_ADMIN, SUPERVISE_GOSSIP};

Test(supervise, a_stop_tells_one_child_after_the_other_has_ended)
{
    struct supervise policy;
    bring_up(&policy);
    supervise_stop(&policy, START_MS);
    uint64_t now_ms = START_MS;
    for (size_t i = 0; i < NK_COUNT_OF(stop_order); i++) {
        expect_action(&policy, now_ms, SUPERVISE_TERMINATE, stop_order[i]);
        cr_expect_eq(supervise_next(&policy, now_ms).kind, SUPERVISE_NOTHING);
        now_ms += 10;
        cr_expect_eq(supervise_ended(&policy, stop_order[i], 0, now_ms), SUPERVISE_EXPECTED);
    }
    expect_action(&policy, now_ms, SUPERVISE_DONE, SUPERVISE_GOSSIP);
    cr_expect_eq(policy.exit_code, 0);
}

Test(supervise, a_child_that_takes_its_time_delays_the_next_by_four_seconds)
{
    struct supervise policy;
    bring_up(&policy);
    supervise_stop(&policy, START_MS);
    expect_action(&policy, START_MS, SUPERVISE_TERMINATE, SUPERVISE_GATEWAY);
    expect_nothing_until(&policy, START_MS, START_MS + SUPERVISE_STOP_STEP_MS);
    expect_action(&policy, START_MS + SUPERVISE_STOP_STEP_MS, SUPERVISE_TERMINATE,
                  SUPERVISE_SHARDHOST);
    expect_nothing_until(&policy, START_MS + SUPERVISE_STOP_STEP_MS,
                         START_MS + 2 * SUPERVISE_STOP_STEP_MS);
}

Test(supervise, what_is_left_after_ten_seconds_is_killed)
{
    struct supervise policy;
    bring_up(&policy);
    supervise_stop(&policy, START_MS);
    expect_action(&policy, START_MS, SUPERVISE_TERMINATE, SUPERVISE_GATEWAY);
    cr_expect_eq(supervise_ended(&policy, SUPERVISE_GATEWAY, 0, START_MS), SUPERVISE_EXPECTED);
    expect_action(&policy, START_MS, SUPERVISE_TERMINATE, SUPERVISE_SHARDHOST);
    uint64_t now_ms = START_MS + SUPERVISE_STOP_MS;
    expect_action(&policy, now_ms, SUPERVISE_KILL, SUPERVISE_GOSSIP);
    expect_action(&policy, now_ms, SUPERVISE_KILL, SUPERVISE_SHARDHOST);
    expect_action(&policy, now_ms, SUPERVISE_KILL, SUPERVISE_ADMIN);
    expect_nothing_until(&policy, now_ms, UINT64_MAX);
    cr_expect_eq(supervise_ended(&policy, SUPERVISE_GOSSIP, 137, now_ms), SUPERVISE_EXPECTED);
    cr_expect_eq(supervise_ended(&policy, SUPERVISE_SHARDHOST, 137, now_ms), SUPERVISE_EXPECTED);
    expect_nothing_until(&policy, now_ms, UINT64_MAX);
    cr_expect_eq(supervise_ended(&policy, SUPERVISE_ADMIN, 137, now_ms), SUPERVISE_EXPECTED);
    expect_action(&policy, now_ms, SUPERVISE_DONE, SUPERVISE_GOSSIP);
    cr_expect_eq(policy.exit_code, SUPERVISE_EXIT_FAILURE, "it was not an ordered stop");
}

Test(supervise, a_second_stop_kills_at_once)
{
    struct supervise policy;
    bring_up(&policy);
    supervise_stop(&policy, START_MS);
    expect_action(&policy, START_MS, SUPERVISE_TERMINATE, SUPERVISE_GATEWAY);
    supervise_stop(&policy, START_MS + 1);
    for (size_t i = 0; i < SUPERVISE_CHILD_COUNT; i++) {
        expect_action(&policy, START_MS + 1, SUPERVISE_KILL, (enum supervise_child)i);
    }
    expect_nothing_until(&policy, START_MS + 1, UINT64_MAX);
}

Test(supervise, a_stop_before_the_first_start_starts_nobody)
{
    struct supervise policy;
    supervise_init(&policy, START_MS);
    supervise_stop(&policy, START_MS);
    expect_action(&policy, START_MS, SUPERVISE_DONE, SUPERVISE_GOSSIP);
    cr_expect_eq(policy.exit_code, 0);
}

Test(supervise, a_child_that_waits_for_its_restart_is_not_started_by_a_stop)
{
    struct supervise policy;
    bring_up(&policy);
    cr_expect_eq(supervise_ended(&policy, SUPERVISE_GATEWAY, 1, START_MS), SUPERVISE_RESTART);
    supervise_stop(&policy, START_MS);
    expect_action(&policy, START_MS, SUPERVISE_TERMINATE, SUPERVISE_SHARDHOST);
    expect_nothing_until(&policy, START_MS, START_MS + SUPERVISE_STOP_STEP_MS);
}

/* How a child ends changes nothing about the order of a stop, but the server's code. */
Test(supervise, a_child_that_fails_during_a_stop_makes_the_code_1)
{
    static const struct {
        int gateway; /* told and not told: a service manager may tell everybody at once */
        int shardhost;
        int exit_code;
    } cases[] = {
        {0, 0, 0},
        {0, 1, 1},
        {1, 0, 1},
        {78, 0, 1},
        {128 + SIGTERM, 128 + SIGINT, 0}, /* before it could listen */
        {0, 128 + SIGHUP, 0},
        {0, 128 + SIGABRT, 1},
        {128 + SIGKILL, 0, 1},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct supervise policy;
        bring_up(&policy);
        supervise_stop(&policy, START_MS);
        expect_action(&policy, START_MS, SUPERVISE_TERMINATE, SUPERVISE_GATEWAY);
        cr_expect_eq(supervise_ended(&policy, SUPERVISE_GATEWAY, cases[i].gateway, START_MS),
                     SUPERVISE_EXPECTED);
        cr_expect_eq(supervise_ended(&policy, SUPERVISE_SHARDHOST, cases[i].shardhost, START_MS),
                     SUPERVISE_EXPECTED);
        expect_action(&policy, START_MS, SUPERVISE_TERMINATE, SUPERVISE_ADMIN);
        cr_expect_eq(supervise_ended(&policy, SUPERVISE_ADMIN, 0, START_MS), SUPERVISE_EXPECTED);
        expect_action(&policy, START_MS, SUPERVISE_TERMINATE, SUPERVISE_GOSSIP);
        cr_expect_eq(supervise_ended(&policy, SUPERVISE_GOSSIP, 0, START_MS), SUPERVISE_EXPECTED);
        expect_action(&policy, START_MS, SUPERVISE_DONE, SUPERVISE_GOSSIP);
        cr_expect_eq(policy.exit_code, cases[i].exit_code, "case %zu", i);
    }
}

Test(supervise, the_end_of_a_child_that_does_not_run_is_a_programmer_error, .signal = SIGABRT)
{
    struct supervise policy;
    supervise_init(&policy, START_MS);
    (void)supervise_ended(&policy, SUPERVISE_ADMIN, 0, START_MS);
}
