/* The role: frames and time in; answers, deltas and snapshots out.  The other processes are played
 * by the test. */

#include <criterion/criterion.h>
#include <stdio.h>

#include "common/base/limits.h"
#include "proto/norikv/internal/v1/gossip.pb-c.h"
#include "services/gossip/gossip.h"
#include "services/gossip/registry.h"
#include "tests/unit/stage/stage.h"

TestSuite(gossip_role, .timeout = 20);

static const struct nk_role_ops *const ops = &gossip_role_ops;

#define DROPPED "gossip_frames_dropped_total"

typedef Norikv__Internal__V1__StateUpdate update_message;
typedef Norikv__Internal__V1__Registered registered_message;

struct telling_role {
    struct stage stage;
    void *role;
    nk_peer peer; /* some other process */
};

static void start(struct telling_role *gossip)
{
    char memory[256];
    struct nk_text reason;
    nk_text_init(&reason, memory, sizeof memory);
    enum nk_err err = ops->init(&gossip->stage.context, &gossip->role, &reason);
    cr_assert_eq(err, NK_OK, "%s", memory);
    gossip->peer = stage_partner(&gossip->stage);
}

static void open_gossip(struct telling_role *gossip)
{
    stage_open(&gossip->stage);
    start(gossip);
}

static void close_gossip(struct telling_role *gossip)
{
    ops->deinit(&gossip->role);
    stage_close(&gossip->stage);
}

static void restart(struct telling_role *gossip)
{
    ops->deinit(&gossip->role);
    stage_restart(&gossip->stage);
    start(gossip);
}

static void tick(struct telling_role *gossip)
{
    (void)ops->tick(gossip->role);
}

static char *text(const char *constant)
{
    return (char *)(uintptr_t)constant; /* protobuf-c has no const texts */
}

static enum nk_err answered(struct telling_role *gossip)
{
    const registered_message *answer =
        (const registered_message *)stage_sent(&gossip->stage, NK_FRAME_REGISTERED);
    cr_assert_not_null(answer);
    return (enum nk_err)answer->err;
}

static enum nk_err send_register(struct telling_role *gossip, const char *role, uint64_t session,
                                 uint64_t epoch_seen)
{
    Norikv__Internal__V1__Member member = NORIKV__INTERNAL__V1__MEMBER__INIT;
    member.node_id = text("n1");
    member.role = text(role);
    member.session = session;
    Norikv__Internal__V1__Register message = NORIKV__INTERNAL__V1__REGISTER__INIT;
    message.member = &member;
    message.epoch_seen = epoch_seen;
    stage_deliver(ops, gossip->role, gossip->peer, NK_FRAME_REGISTER, &message.base);
    return answered(gossip);
}

static enum nk_err send_heartbeat(struct telling_role *gossip, uint64_t publisher,
                                  uint64_t epoch_seen)
{
    Norikv__Internal__V1__Heartbeat message = NORIKV__INTERNAL__V1__HEARTBEAT__INIT;
    message.node_id = text("n1");
    message.role = text("shardhost");
    message.session = 9;
    message.publisher = publisher;
    message.epoch_seen = epoch_seen;
    stage_deliver(ops, gossip->role, gossip->peer, NK_FRAME_HEARTBEAT, &message.base);
    return answered(gossip);
}

/* n1 leads shard 3. */
static void send_report(struct telling_role *gossip, uint64_t session)
{
    Norikv__Internal__V1__ShardState shard = NORIKV__INTERNAL__V1__SHARD_STATE__INIT;
    Norikv__Internal__V1__ShardState *list[] = {&shard};
    shard.shard = 3;
    shard.term = 7;
    shard.leader_node = text("n1");
    Norikv__Internal__V1__ShardReport message = NORIKV__INTERNAL__V1__SHARD_REPORT__INIT;
    message.node_id = text("n1");
    message.session = session;
    message.shards = list;
    message.n_shards = 1;
    stage_deliver(ops, gossip->role, gossip->peer, NK_FRAME_SHARD_REPORT, &message.base);
}

static void ask_for_state(struct telling_role *gossip, nk_peer from)
{
    Norikv__Internal__V1__StateRequest message = NORIKV__INTERNAL__V1__STATE_REQUEST__INIT;
    stage_deliver(ops, gossip->role, from, NK_FRAME_STATE_REQUEST, &message.base);
}

static const update_message *last_update(struct telling_role *gossip)
{
    return (const update_message *)stage_sent(&gossip->stage, NK_FRAME_STATE_UPDATE);
}

static const Norikv__Internal__V1__Member *member_in(const update_message *update, const char *role)
{
    for (size_t i = 0; update != NULL && i < update->n_members; i++) {
        if (strcmp(update->members[i]->role, role) == 0) {
            return update->members[i];
        }
    }
    return NULL;
}

Test(gossip_role, a_process_that_registers_is_answered_at_once_and_told_with_the_tick)
{
    struct telling_role gossip;
    open_gossip(&gossip);
    tick(&gossip);
    uint64_t before = last_update(&gossip)->epoch;
    stage_forget_sent(&gossip.stage);
    cr_expect_eq(send_register(&gossip, "gateway", 9, 0), NK_OK);
    const registered_message *answer =
        (const registered_message *)stage_sent(&gossip.stage, NK_FRAME_REGISTERED);
    cr_expect_eq(answer->session, 9);
    cr_expect_eq(answer->publisher, 1000);
    cr_expect_eq(answer->lease_ms, GOSSIP_LEASE_MS);
    cr_expect_str_eq(answer->listen_address, "stage://state");
    cr_expect_null(last_update(&gossip));
    tick(&gossip);
    const update_message *update = last_update(&gossip);
    cr_assert_not_null(update);
    cr_expect(!update->snapshot);
    cr_expect_gt(update->epoch, before);
    cr_expect_eq(update->publisher, 1000);
    cr_assert_not_null(member_in(update, "gateway"));
    cr_expect_eq(member_in(update, "gateway")->session, 9);
    cr_expect_eq(gossip.stage.frames[gossip.stage.frame_count - 1].to, 0); /* to everybody */
    close_gossip(&gossip);
}

Test(gossip_role, a_repetition_is_answered_and_nobody_is_bothered)
{
    struct telling_role gossip;
    open_gossip(&gossip);
    (void)send_register(&gossip, "gateway", 9, 0);
    tick(&gossip);
    stage_forget_sent(&gossip.stage);
    cr_expect_eq(send_register(&gossip, "gateway", 9, 0), NK_OK);
    tick(&gossip);
    cr_expect_null(last_update(&gossip));
    close_gossip(&gossip);
}

Test(gossip_role, who_asks_gets_the_whole_state_with_what_has_just_changed)
{
    struct telling_role gossip;
    open_gossip(&gossip);
    (void)send_register(&gossip, "shardhost", 9, 0);
    ask_for_state(&gossip, gossip.peer);
    ask_for_state(&gossip, gossip.peer); /* impatient: one answer is enough */
    send_report(&gossip, 9);
    tick(&gossip);
    cr_expect_eq(stage_sent_count(&gossip.stage, NK_FRAME_STATE_UPDATE), 2);
    const update_message *update = last_update(&gossip);
    cr_expect(update->snapshot);
    cr_expect_eq(update->n_members, 2);
    cr_assert_eq(update->n_shards, 1);
    cr_expect_str_eq(update->shards[0]->leader_node, "n1");
    cr_expect_eq(gossip.stage.frames[gossip.stage.frame_count - 1].to, gossip.peer);
    close_gossip(&gossip);
}

Test(gossip_role, a_process_whose_lease_ends_has_failed_and_leads_nothing)
{
    struct telling_role gossip;
    open_gossip(&gossip);
    (void)send_register(&gossip, "shardhost", 9, 0);
    send_report(&gossip, 9);
    tick(&gossip);
    stage_advance(&gossip.stage, GOSSIP_LEASE_MS - 1);
    cr_expect_eq(send_heartbeat(&gossip, 1000, 0), NK_OK);
    stage_advance(&gossip.stage, GOSSIP_LEASE_MS - 1);
    stage_forget_sent(&gossip.stage);
    tick(&gossip);
    cr_expect_null(last_update(&gossip));
    cr_expect_eq(nk_health_status(gossip.stage.context.health), NK_HEALTHY);
    stage_advance(&gossip.stage, 1);
    tick(&gossip);
    const update_message *update = last_update(&gossip);
    cr_assert_not_null(member_in(update, "shardhost"));
    cr_expect_eq(member_in(update, "shardhost")->state,
                 NORIKV__INTERNAL__V1__MEMBER_STATE__MEMBER_STATE_FAILED);
    cr_assert_eq(update->n_shards, 1);
    cr_expect_str_eq(update->shards[0]->leader_node, "");
    cr_expect_eq(stage_metric(&gossip.stage, "swim_failed_members_total"), 1);
    cr_expect_eq(nk_health_status(gossip.stage.context.health), NK_DEGRADED);

    cr_expect_eq(send_heartbeat(&gossip, 1000, 0), NK_NOT_FOUND);
    cr_expect_eq(send_register(&gossip, "shardhost", 9, 0), NK_OK);
    cr_expect_eq(stage_metric(&gossip.stage, "membership_flaps_total"), 1);
    stage_advance(&gossip.stage, 200);
    tick(&gossip);
    cr_expect_eq(nk_health_status(gossip.stage.context.health), NK_HEALTHY);
    close_gossip(&gossip);
}

Test(gossip_role, a_failed_process_is_forgotten_a_while_later_also_by_the_next_life)
{
    struct telling_role gossip;
    open_gossip(&gossip);
    (void)send_register(&gossip, "gateway", 9, 0);
    tick(&gossip);
    stage_advance(&gossip.stage, GOSSIP_LEASE_MS);
    tick(&gossip);
    stage_forget_sent(&gossip.stage);
    stage_advance(&gossip.stage, GOSSIP_FORGET_AFTER_MS);
    tick(&gossip);
    const update_message *update = last_update(&gossip);
    cr_assert_not_null(update);
    cr_assert_eq(update->n_removed, 1);
    cr_expect_str_eq(update->removed[0]->role, "gateway");
    restart(&gossip);
    ask_for_state(&gossip, gossip.peer);
    tick(&gossip);
    cr_expect_null(member_in(last_update(&gossip), "gateway"));
    close_gossip(&gossip);
}

Test(gossip_role, only_who_is_registered_keeps_a_lease_and_may_report)
{
    struct telling_role gossip;
    open_gossip(&gossip);
    cr_expect_eq(send_heartbeat(&gossip, 1000, 0), NK_NOT_FOUND);
    send_report(&gossip, 9);
    cr_expect_eq(stage_metric(&gossip.stage, DROPPED), 1);
    (void)send_register(&gossip, "shardhost", 9, 0);
    cr_expect_eq(send_heartbeat(&gossip, 1000, 0), NK_OK);
    cr_expect_eq(send_heartbeat(&gossip, 999, 0), NK_NOT_FOUND); /* meant for a former life */
    send_report(&gossip, 8);
    cr_expect_eq(stage_metric(&gossip.stage, DROPPED), 2);
    tick(&gossip);
    cr_expect_eq(last_update(&gossip)->n_shards, 0);
    close_gossip(&gossip);
}

Test(gossip_role, the_older_of_two_processes_is_refused)
{
    struct telling_role gossip;
    open_gossip(&gossip);
    cr_expect_eq(send_register(&gossip, "shardhost", 9, 0), NK_OK);
    cr_expect_eq(send_register(&gossip, "shardhost", 8, 0), NK_CONFLICT);
    cr_expect_eq(send_register(&gossip, "shardhost", 10, 0), NK_OK);
    cr_expect_eq(send_heartbeat(&gossip, 1000, 0), NK_CONFLICT); /* of session 9 */
    close_gossip(&gossip);
}

Test(gossip_role, the_epoch_grows_over_restarts_even_when_the_clock_goes_back)
{
    struct telling_role gossip;
    open_gossip(&gossip);
    uint64_t last = 0;
    for (size_t life = 0; life < 5; life++) {
        tick(&gossip);
        cr_assert_not_null(last_update(&gossip));
        cr_expect_gt(last_update(&gossip)->epoch, last, "life %zu", life);
        last = last_update(&gossip)->epoch;
        gossip.stage.wall_ms -= 1000000;
        restart(&gossip);
    }
    close_gossip(&gossip);
}

Test(gossip_role, an_epoch_that_somebody_has_seen_is_passed)
{
    for (size_t by_heartbeat = 0; by_heartbeat < 2; by_heartbeat++) {
        struct telling_role gossip;
        open_gossip(&gossip);
        (void)send_register(&gossip, "shardhost", 9, 0);
        tick(&gossip);
        uint64_t seen = last_update(&gossip)->epoch + 100000;
        stage_forget_sent(&gossip.stage);
        if (by_heartbeat == 1) {
            (void)send_heartbeat(&gossip, 1000, seen);
        } else {
            (void)send_register(&gossip, "shardhost", 9, seen);
        }
        tick(&gossip);
        cr_assert_not_null(last_update(&gossip), "case %zu", by_heartbeat);
        cr_expect_gt(last_update(&gossip)->epoch, seen, "case %zu", by_heartbeat);
        stage_forget_sent(&gossip.stage);
        (void)send_heartbeat(&gossip, 1000, UINT64_MAX); /* senseless */
        tick(&gossip);
        cr_expect_null(last_update(&gossip), "case %zu", by_heartbeat);
        cr_expect_eq(stage_metric(&gossip.stage, DROPPED), 1);
        close_gossip(&gossip);
    }
}

/* A state without the leaders would make them vanish from everybody's table. */
Test(gossip_role, after_a_restart_it_holds_back_until_the_shardhosts_have_reported)
{
    for (size_t comes = 0; comes < 2; comes++) {
        struct telling_role gossip;
        open_gossip(&gossip);
        (void)send_register(&gossip, "shardhost", 9, 0);
        send_report(&gossip, 9);
        tick(&gossip);
        restart(&gossip);
        ask_for_state(&gossip, gossip.peer);
        tick(&gossip);
        cr_expect_null(last_update(&gossip));
        if (comes == 1) {
            (void)send_register(&gossip, "shardhost", 9, 0);
            tick(&gossip);
            cr_expect_null(last_update(&gossip));
            send_report(&gossip, 9);
        } else {
            stage_advance(&gossip.stage, 1199);
            tick(&gossip);
            cr_expect_null(last_update(&gossip));
            stage_advance(&gossip.stage, 1);
        }
        tick(&gossip);
        const update_message *update = last_update(&gossip);
        cr_assert_not_null(update, "case %zu", comes);
        cr_expect(update->snapshot);
        cr_expect_eq(update->n_shards, comes, "case %zu", comes);
        cr_expect_not_null(member_in(update, "shardhost"));
        close_gossip(&gossip);
    }
}

Test(gossip_role, it_starts_without_holding_back_where_it_knows_nobody)
{
    struct telling_role gossip;
    open_gossip(&gossip);
    ask_for_state(&gossip, gossip.peer);
    tick(&gossip);
    cr_assert_not_null(last_update(&gossip));
    cr_expect(last_update(&gossip)->snapshot);
    close_gossip(&gossip);
}

Test(gossip_role, frames_that_make_no_sense_are_counted_and_change_nothing)
{
    struct telling_role gossip;
    open_gossip(&gossip);
    tick(&gossip);
    stage_forget_sent(&gossip.stage);
    ops->receive(gossip.role, gossip.peer, nk_bytes_of_string("garbage"));
    ops->receive(gossip.role, gossip.peer, nk_bytes_of(NULL, 0));
    uint64_t dropped = 2;
    static const enum nk_frame_type types[] = {
        NK_FRAME_REGISTER,     NK_FRAME_HEARTBEAT,  NK_FRAME_SHARD_REPORT,
        NK_FRAME_STATE_UPDATE, NK_FRAME_REGISTERED, NK_FRAME_SHARD_REQUESTS,
    };
    for (size_t i = 0; i < NK_COUNT_OF(types); i++) {
        Norikv__Internal__V1__StateRequest empty = NORIKV__INTERNAL__V1__STATE_REQUEST__INIT;
        stage_deliver(ops, gossip.role, gossip.peer, types[i], &empty.base);
        cr_expect_eq(stage_metric(&gossip.stage, DROPPED), ++dropped, "case %zu", i);
    }
    tick(&gossip);
    cr_expect_eq(gossip.stage.frame_count, 0);
    close_gossip(&gossip);
}

Test(gossip_role, who_waits_for_the_state_is_bounded)
{
    struct telling_role gossip;
    open_gossip(&gossip);
    for (nk_peer peer = 1000; peer < 1000 + NK_PEERS_MAX; peer++) {
        ask_for_state(&gossip, peer);
    }
    cr_expect_eq(stage_metric(&gossip.stage, DROPPED), 0);
    ask_for_state(&gossip, 999);
    cr_expect_eq(stage_metric(&gossip.stage, DROPPED), 1);
    tick(&gossip); /* nobody of them is there to receive it */
    ask_for_state(&gossip, 999);
    cr_expect_eq(stage_metric(&gossip.stage, DROPPED), 1);
    close_gossip(&gossip);
}

Test(gossip_role, the_pages_say_what_was_published)
{
    struct telling_role gossip;
    open_gossip(&gossip);
    (void)send_register(&gossip, "shardhost", 9, 0);
    send_report(&gossip, 9);
    tick(&gossip);
    struct nk_buf page = {0};
    gossip_cluster_json(gossip.role, &page);
    nk_buf_append_u8(&page, '\0');
    cr_expect_not_null(strstr((const char *)page.data, "\"id\":\"n1\",\"addr\":\"\","
                                                       "\"role\":\"leader\""));
    nk_buf_clear(&page);
    gossip_targets_json(gossip.role, &page);
    nk_buf_append_u8(&page, '\0');
    cr_expect_not_null(strstr((const char *)page.data, "{\"targets\":[\"127.0.0.1:8080\"],"
                                                       "\"labels\":{\"role\":\"gossip\","));
    nk_buf_deinit(&page);
    close_gossip(&gossip);
}

Test(gossip_role, what_it_remembers_must_be_readable_to_start)
{
    static const struct {
        enum stage_call call;
        enum nk_err err;
    } cases[] = {{STAGE_META_GET, NK_IO}, {STAGE_META_GET, NK_CORRUPT}, {STAGE_META_LIST, NK_IO}};
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct stage stage;
        stage_open(&stage);
        stage_fail(&stage, cases[i].call, 1, cases[i].err);
        char memory[256];
        struct nk_text reason;
        nk_text_init(&reason, memory, sizeof memory);
        void *role = &stage;
        cr_expect_eq(ops->init(&stage.context, &role, &reason), cases[i].err, "case %zu", i);
        cr_expect_null(role, "case %zu", i);
        cr_expect_not_null(strstr(memory, "saved state cannot be read"), "case %zu", i);
        stage_close(&stage);
    }
}

Test(gossip_role, a_saved_registration_that_is_not_readable_is_skipped)
{
    struct telling_role gossip;
    open_gossip(&gossip);
    (void)send_register(&gossip, "gateway", 9, 0);
    tick(&gossip);
    const struct nk_meta *meta = &gossip.stage.env.meta;
    cr_assert_eq(meta->ops->put(meta->ctx, nk_bytes_of_string("member/n2/admin"),
                                nk_bytes_of_string("\xff\xff")),
                 NK_OK);
    restart(&gossip);
    cr_expect_eq(gossip.stage.log_counts[NK_LOG_WARN], 1);
    ask_for_state(&gossip, gossip.peer);
    tick(&gossip);
    cr_expect_not_null(member_in(last_update(&gossip), "gateway"));
    cr_expect_null(member_in(last_update(&gossip), "admin"));
    close_gossip(&gossip);
}

Test(gossip_role, a_saved_epoch_that_is_not_readable_is_set_aside_for_a_higher_one)
{
    struct telling_role gossip;
    open_gossip(&gossip);
    (void)send_register(&gossip, "gateway", 9, 0);
    tick(&gossip);
    ask_for_state(&gossip, gossip.peer);
    tick(&gossip);
    uint64_t before = last_update(&gossip)->epoch;
    const struct nk_meta *meta = &gossip.stage.env.meta;
    cr_assert_eq(
        meta->ops->put(meta->ctx, nk_bytes_of_string("epoch"), nk_bytes_of_string("garbage")),
        NK_OK);
    restart(&gossip);
    cr_expect_eq(gossip.stage.log_counts[NK_LOG_WARN], 1);
    cr_expect_not_null(strstr(gossip.stage.log_message, "epoch"), "%s", gossip.stage.log_message);
    (void)send_register(&gossip, "gateway", 9, 0);
    tick(&gossip);
    ask_for_state(&gossip, gossip.peer);
    tick(&gossip);
    cr_expect_gt(last_update(&gossip)->epoch, before);
    close_gossip(&gossip);
}

/* A view that stands still is worse than one that may have to be told again after a restart. */
Test(gossip_role, whatever_write_fails_it_goes_on_telling)
{
    for (uint64_t nth = 1; nth <= 4; nth++) {
        struct telling_role gossip;
        open_gossip(&gossip);
        stage_fail_from(&gossip.stage, STAGE_META_PUT, nth, NK_NO_SPACE);
        stage_fail(&gossip.stage, STAGE_META_REMOVE, 1, NK_IO);
        for (uint64_t session = 9; session < 12; session++) {
            stage_forget_sent(&gossip.stage);
            cr_expect_eq(send_register(&gossip, "gateway", session, 0), NK_OK);
            tick(&gossip);
            cr_assert_not_null(member_in(last_update(&gossip), "gateway"));
            cr_expect_eq(member_in(last_update(&gossip), "gateway")->session, session);
            stage_advance(&gossip.stage, 70000); /* past the promised epochs */
            tick(&gossip);
        }
        cr_expect_gt(gossip.stage.log_counts[NK_LOG_WARN], 0, "write %llu",
                     (unsigned long long)nth);
        cr_expect_eq(nk_health_status(gossip.stage.context.health), NK_DEGRADED);
        char memory[64];
        struct nk_text reason;
        nk_text_init(&reason, memory, sizeof memory);
        cr_expect_eq(ops->fault(gossip.role, &reason), NK_OK);
        close_gossip(&gossip);
    }
}

/* Who does not get an answer or a snapshot asks again. */
Test(gossip_role, a_frame_that_cannot_be_handed_over_harms_nothing)
{
    struct telling_role gossip;
    open_gossip(&gossip);
    stage_fail(&gossip.stage, STAGE_NET_SEND, 1, NK_BUSY);
    Norikv__Internal__V1__Member member = NORIKV__INTERNAL__V1__MEMBER__INIT;
    member.node_id = text("n1");
    member.role = text("gateway");
    member.session = 9;
    Norikv__Internal__V1__Register message = NORIKV__INTERNAL__V1__REGISTER__INIT;
    message.member = &member;
    stage_deliver(ops, gossip.role, gossip.peer, NK_FRAME_REGISTER, &message.base);
    cr_expect_eq(stage_sent_count(&gossip.stage, NK_FRAME_REGISTERED), 0);
    cr_expect_eq(send_register(&gossip, "gateway", 9, 0), NK_OK);
    ask_for_state(&gossip, gossip.peer);
    stage_fail(&gossip.stage, STAGE_NET_SEND, 1, NK_UNAVAILABLE);
    tick(&gossip);
    cr_expect(!last_update(&gossip)->snapshot);
    ask_for_state(&gossip, gossip.peer);
    tick(&gossip);
    cr_expect(last_update(&gossip)->snapshot);
    close_gossip(&gossip);
}

Test(gossip_role, a_stop_is_done_at_once_and_shows)
{
    struct telling_role gossip;
    open_gossip(&gossip);
    tick(&gossip);
    const char *reason;
    cr_expect(nk_health_ready(gossip.stage.context.health, &reason));
    cr_expect(!ops->stopped(gossip.role));
    ops->stop(gossip.role);
    cr_expect(ops->stopped(gossip.role));
    cr_expect(!nk_health_ready(gossip.stage.context.health, &reason));
    cr_expect_str_eq(reason, "stopping");
    close_gossip(&gossip);
}

struct numbered {
    uint64_t sequence;
    bool first_of_all;
    uint64_t told; /* by the heartbeat after it */
    bool missing;  /* says the answer */
};

Test(gossip_role, a_report_that_got_lost_is_missed_until_everything_was_reported)
{
    static const struct numbered cases[] = {
        {1, true, 1, false}, {2, false, 2, false}, {3, false, 4, true}, /* 4 has not come */
        {5, false, 5, true}, {6, false, 6, true},  {7, true, 7, false}, {8, false, 8, false},
    };
    struct telling_role gossip;
    open_gossip(&gossip);
    cr_assert_eq(send_register(&gossip, "shardhost", 9, 0), NK_OK);
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        Norikv__Internal__V1__ShardReport report = NORIKV__INTERNAL__V1__SHARD_REPORT__INIT;
        report.node_id = text("n1");
        report.session = 9;
        report.sequence = cases[i].sequence;
        report.first_of_all = cases[i].first_of_all;
        stage_deliver(ops, gossip.role, gossip.peer, NK_FRAME_SHARD_REPORT, &report.base);
        Norikv__Internal__V1__Heartbeat beat = NORIKV__INTERNAL__V1__HEARTBEAT__INIT;
        beat.node_id = text("n1");
        beat.role = text("shardhost");
        beat.session = 9;
        beat.publisher = gossip.stage.context.session;
        beat.reports = cases[i].told;
        stage_deliver(ops, gossip.role, gossip.peer, NK_FRAME_HEARTBEAT, &beat.base);
        cr_assert_eq(answered(&gossip), NK_OK, "case %zu", i);
        const registered_message *answer =
            (const registered_message *)stage_sent(&gossip.stage, NK_FRAME_REGISTERED);
        cr_expect_eq(answer->report_missing, cases[i].missing, "case %zu", i);
    }
    close_gossip(&gossip);
}

static bool is_healthy(struct telling_role *gossip)
{
    return nk_health_status(gossip->stage.context.health) == NK_HEALTHY;
}

Test(gossip_role, an_epoch_that_could_not_be_saved_is_saved_when_it_can_be)
{
    struct telling_role gossip;
    stage_open(&gossip.stage);
    stage_fail_from(&gossip.stage, STAGE_META_PUT, 1, NK_NO_SPACE);
    start(&gossip);
    tick(&gossip);
    cr_expect(!is_healthy(&gossip));
    stage_advance(&gossip.stage, 1100);
    tick(&gossip);
    cr_expect(!is_healthy(&gossip));
    stage_mend(&gossip.stage, STAGE_META_PUT);
    stage_advance(&gossip.stage, 1100); /* nothing changes meanwhile */
    tick(&gossip);
    cr_expect(is_healthy(&gossip));
    close_gossip(&gossip);
}
