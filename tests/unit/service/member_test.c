/* Membership as every process but gossip has it.  Gossip's side is played by the test. */

#include <criterion/criterion.h>
#include <stdio.h>

#include "common/base/alloc.h"
#include "common/service/member.h"
#include "tests/unit/stage/stage.h"

#include "telling.h"

TestSuite(service_member, .timeout = 10);

#define GOSSIP   "ipc:///data/run/gossip.bus"
#define LEASE_MS ((uint32_t)3000)

/* Member names of protobuf-c, shortened. */
typedef Norikv__Internal__V1__Register register_message;
typedef Norikv__Internal__V1__Registered registered_message;
typedef Norikv__Internal__V1__Heartbeat heartbeat_message;
typedef Norikv__Internal__V1__ShardReport report_message;

struct joining {
    struct stage stage;
    struct nk_member *member;
    registered_message answer; /* what gossip will say; a test may change it */
};

static void join(struct joining *joining, const char *role)
{
    stage_open(&joining->stage);
    struct nk_cluster_member self = {.node_id = "n1", .session = 1000, .state = NK_MEMBER_ALIVE};
    (void)snprintf(self.role, sizeof self.role, "%s", role);
    (void)snprintf(self.talk_address, sizeof self.talk_address, "stage://talk");
    nk_member_open(&joining->stage.context, &self, &joining->member);
    norikv__internal__v1__registered__init(&joining->answer);
    joining->answer.session = 1000;
    joining->answer.lease_ms = LEASE_MS;
    joining->answer.listen_address = (char *)"ipc:///data/run/gossip.bus.out";
    joining->answer.publisher = 50;
}

static void leave(struct joining *joining)
{
    nk_member_close(&joining->member);
    stage_close(&joining->stage);
}

/* Ticks; returns in how many milliseconds it wants to be called again. */
static uint64_t tick(struct joining *joining)
{
    return (nk_member_tick(joining->member) - joining->stage.now_us) / NK_US_PER_MS;
}

static void advance(struct joining *joining, uint64_t span_ms)
{
    stage_advance(&joining->stage, span_ms);
    (void)nk_member_tick(joining->member);
}

static size_t sent(const struct joining *joining, enum nk_frame_type type)
{
    return stage_sent_count(&joining->stage, type);
}

static bool receive_from(struct joining *joining, nk_peer from, enum nk_frame_type type,
                         const ProtobufCMessage *message)
{
    struct nk_buf packed = {0};
    size_t size = protobuf_c_message_get_packed_size(message);
    (void)protobuf_c_message_pack(message, nk_buf_extend(&packed, size));
    bool taken = nk_member_receive(joining->member, from, type, nk_buf_bytes(&packed));
    nk_buf_deinit(&packed);
    return taken;
}

static nk_peer gossip_peer(const struct joining *joining, const char *address)
{
    const struct stage_link *link = stage_link(&joining->stage, address);
    cr_assert_not_null(link, "no link to %s", address);
    return link->peer;
}

/* Gossip answers as `answer` says. */
static void answer(struct joining *joining, enum nk_err err)
{
    joining->answer.err = (uint32_t)err;
    cr_expect(receive_from(joining, gossip_peer(joining, GOSSIP), NK_FRAME_REGISTERED,
                           &joining->answer.base));
}

static void update(struct joining *joining, struct telling *telling)
{
    cr_expect(receive_from(joining, gossip_peer(joining, GOSSIP), NK_FRAME_STATE_UPDATE,
                           &telling->message.base));
    nk_free(telling);
}

/* Registered, with the whole state (epoch 100, number `sequence`) and nothing left to say. */
static void settle(struct joining *joining, uint64_t sequence)
{
    (void)tick(joining);
    joining->answer.sequence = sequence;
    answer(joining, NK_OK);
    (void)tick(joining);
    update(joining, telling_new(joining->answer.publisher, sequence, 100, true));
    (void)tick(joining);
    stage_forget_sent(&joining->stage);
}

Test(service_member, it_registers_and_asks_again_until_it_is_answered)
{
    struct joining joining;
    join(&joining, "gateway");
    cr_expect_eq(tick(&joining), 100);
    cr_assert_eq(sent(&joining, NK_FRAME_REGISTER), 1);
    const register_message *message =
        (const register_message *)stage_sent(&joining.stage, NK_FRAME_REGISTER);
    cr_expect_str_eq(message->member->node_id, "n1");
    cr_expect_str_eq(message->member->role, "gateway");
    cr_expect_eq(message->member->session, 1000);
    cr_expect_str_eq(message->member->talk_address, "stage://talk");
    cr_expect_eq(message->epoch_seen, 0);
    advance(&joining, 99);
    cr_expect_eq(sent(&joining, NK_FRAME_REGISTER), 1);
    advance(&joining, 1);
    cr_expect_eq(sent(&joining, NK_FRAME_REGISTER), 2);
    cr_expect(!nk_member_registered(joining.member));
    answer(&joining, NK_OK);
    cr_expect(nk_member_registered(joining.member));
    advance(&joining, 1);
    cr_expect_eq(sent(&joining, NK_FRAME_REGISTER), 2);
    leave(&joining);
}

Test(service_member, once_accepted_it_listens_and_asks_for_the_state_until_that_comes)
{
    struct joining joining;
    join(&joining, "gateway");
    (void)tick(&joining);
    answer(&joining, NK_OK);
    const struct stage_link *listen = stage_link(&joining.stage, joining.answer.listen_address);
    cr_assert_not_null(listen);
    cr_expect_eq(listen->kind, NK_LINK_LISTEN);
    (void)tick(&joining);
    cr_expect_eq(sent(&joining, NK_FRAME_STATE_REQUEST), 1);
    cr_expect_eq(sent(&joining, NK_FRAME_SHARD_REPORT), 0); /* only shardhosts have something */
    advance(&joining, 99);
    cr_expect_eq(sent(&joining, NK_FRAME_STATE_REQUEST), 1);
    advance(&joining, 1);
    cr_expect_eq(sent(&joining, NK_FRAME_STATE_REQUEST), 2);
    uint64_t generation = nk_member_generation(joining.member);
    struct telling *telling = telling_new(50, 1, 100, true);
    (void)telling_member(telling, "n2", "shardhost");
    update(&joining, telling);
    cr_expect_gt(nk_member_generation(joining.member), generation);
    cr_expect_not_null(nk_cluster_member(nk_member_cluster(joining.member), "n2", "shardhost"));
    advance(&joining, 500);
    cr_expect_eq(sent(&joining, NK_FRAME_STATE_REQUEST), 2);
    leave(&joining);
}

Test(service_member, heartbeats_begin_close_together_and_end_at_a_third_of_the_lease)
{
    static const uint64_t distances_ms[] = {25, 25, 50, 100, 200, 400, 800, 1000, 1000};
    struct joining joining;
    join(&joining, "gateway");
    (void)tick(&joining);
    answer(&joining, NK_OK);
    update(&joining, telling_new(50, 1, 100, true));
    for (size_t i = 0; i < NK_COUNT_OF(distances_ms); i++) {
        (void)tick(&joining);
        advance(&joining, distances_ms[i] - 1);
        cr_expect_eq(sent(&joining, NK_FRAME_HEARTBEAT), i, "beat %zu", i);
        advance(&joining, 1);
        cr_expect_eq(sent(&joining, NK_FRAME_HEARTBEAT), i + 1, "beat %zu", i);
        answer(&joining, NK_OK);
    }
    const heartbeat_message *beat =
        (const heartbeat_message *)stage_sent(&joining.stage, NK_FRAME_HEARTBEAT);
    cr_expect_str_eq(beat->node_id, "n1");
    cr_expect_eq(beat->session, 1000);
    cr_expect_eq(beat->publisher, 50);
    cr_expect_eq(beat->epoch_seen, 100);
    leave(&joining);
}

Test(service_member, without_an_answer_within_the_lease_it_registers_anew)
{
    struct joining joining;
    join(&joining, "gateway");
    settle(&joining, 1);
    advance(&joining, LEASE_MS - 1);
    cr_expect(nk_member_registered(joining.member));
    cr_expect_eq(sent(&joining, NK_FRAME_REGISTER), 0);
    advance(&joining, 1);
    cr_expect(!nk_member_registered(joining.member));
    cr_expect_eq(sent(&joining, NK_FRAME_REGISTER), 1);
    leave(&joining);
}

Test(service_member, the_next_address_is_tried_when_one_is_silent)
{
    static const char *const addresses[] = {"tcp://a:1", "tcp://b:2", "tcp://c:3"};
    struct joining joining;
    join(&joining, "gateway");
    joining.stage.config.bus.gossip_addrs.items = addresses;
    joining.stage.config.bus.gossip_addrs.count = NK_COUNT_OF(addresses);
    (void)tick(&joining);
    for (size_t i = 0; i < 2 * NK_COUNT_OF(addresses); i++) {
        const char *address = addresses[i % NK_COUNT_OF(addresses)];
        const char *other = addresses[(i + 1) % NK_COUNT_OF(addresses)];
        cr_expect_not_null(stage_link(&joining.stage, address), "try %zu", i);
        stage_forget_sent(&joining.stage);
        advance(&joining, 999);
        cr_expect_null(stage_link(&joining.stage, other), "try %zu", i);
        cr_assert_eq(sent(&joining, NK_FRAME_REGISTER), 1, "try %zu", i);
        cr_expect_eq(joining.stage.frames[0].to, stage_link(&joining.stage, address)->peer,
                     "try %zu", i);
        advance(&joining, 1);
        cr_expect_not_null(stage_link(&joining.stage, other), "try %zu", i);
        cr_expect_null(stage_link(&joining.stage, address), "try %zu", i);
    }
    leave(&joining);
}

Test(service_member, when_its_gossip_dies_it_goes_to_the_next_at_once)
{
    static const char *const addresses[] = {GOSSIP, "tcp://b:2"};
    struct joining joining;
    join(&joining, "gateway");
    joining.stage.config.bus.gossip_addrs.items = addresses;
    joining.stage.config.bus.gossip_addrs.count = NK_COUNT_OF(addresses);
    settle(&joining, 1);
    advance(&joining, LEASE_MS);
    cr_expect_not_null(stage_link(&joining.stage, "tcp://b:2"));
    cr_expect_eq(sent(&joining, NK_FRAME_REGISTER), 1);
    const register_message *message =
        (const register_message *)stage_sent(&joining.stage, NK_FRAME_REGISTER);
    cr_expect_eq(message->epoch_seen, 100); /* what the new one says must be above it */
    leave(&joining);
}

Test(service_member, a_link_that_cannot_be_opened_is_tried_again)
{
    for (uint64_t failing = 1; failing <= 3; failing++) {
        struct joining joining;
        join(&joining, "gateway");
        stage_fail_from(&joining.stage, STAGE_NET_OPEN, 1, NK_BUSY);
        for (uint64_t i = 0; i < failing; i++) {
            cr_expect_eq(tick(&joining), 100);
            cr_expect_eq(joining.stage.frame_count, 0);
            stage_advance(&joining.stage, 100);
        }
        stage_mend(&joining.stage, STAGE_NET_OPEN);
        (void)tick(&joining);
        cr_expect_eq(sent(&joining, NK_FRAME_REGISTER), 1);
        leave(&joining);
    }
}

Test(service_member, without_a_subscription_the_state_comes_by_asking)
{
    struct joining joining;
    join(&joining, "gateway");
    (void)tick(&joining);
    stage_fail(&joining.stage, STAGE_NET_OPEN, 1, NK_BUSY);
    answer(&joining, NK_OK);
    cr_expect(nk_member_registered(joining.member));
    cr_expect_eq(nk_member_dropped(joining.member), 1);
    update(&joining, telling_new(50, 1, 100, true));
    /* The next answer opens the subscription. */
    answer(&joining, NK_OK);
    cr_expect_not_null(stage_link(&joining.stage, joining.answer.listen_address));
    leave(&joining);
}

/* The whole conversation with the 1st, 2nd, 3rd ... frame not handed over: nothing of it is lost
 * for good. */
Test(service_member, whatever_frame_is_refused_everything_is_said_in_the_end)
{
    for (uint64_t nth = 1; nth <= 12; nth++) {
        struct joining joining;
        join(&joining, "shardhost");
        struct nk_cluster_shard shard = {.shard = 4, .term = 2, .leader_node = "n1"};
        nk_member_report_shard(joining.member, &shard);
        stage_fail(&joining.stage, STAGE_NET_SEND, nth, nth % 2 == 0 ? NK_BUSY : NK_UNAVAILABLE);
        bool reported = false;
        size_t seen = 0;
        for (size_t round = 0; round < 200; round++) {
            (void)tick(&joining);
            for (; seen < joining.stage.frame_count; seen++) {
                const struct stage_frame *frame = &joining.stage.frames[seen];
                const ProtobufCMessage *message = stage_message(&joining.stage, frame);
                if (frame->type == NK_FRAME_REGISTER || frame->type == NK_FRAME_HEARTBEAT) {
                    answer(&joining, NK_OK);
                } else if (frame->type == NK_FRAME_STATE_REQUEST) {
                    update(&joining, telling_new(50, 1, 100, true));
                } else {
                    reported |= ((const report_message *)message)->n_shards == 1;
                }
            }
            stage_advance(&joining.stage, 50);
        }
        cr_expect(nk_member_registered(joining.member), "frame %llu", (unsigned long long)nth);
        cr_expect(reported, "frame %llu", (unsigned long long)nth);
        cr_expect_eq(nk_cluster_epoch(nk_member_cluster(joining.member)), 100, "frame %llu",
                     (unsigned long long)nth);
        cr_expect_eq(nk_member_fault(joining.member), NK_OK);
        leave(&joining);
    }
}

Test(service_member, gossip_that_does_not_know_it_hears_everything_again)
{
    static const struct {
        enum nk_err err;
        uint64_t publisher;
    } cases[] = {
        {NK_NOT_FOUND, 50}, /* it has forgotten us */
        {NK_OK, 51},        /* it was started anew */
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct joining joining;
        join(&joining, "shardhost");
        struct nk_cluster_shard shard = {.shard = 4, .term = 2, .leader_node = "n1"};
        nk_member_report_shard(joining.member, &shard);
        settle(&joining, 1);
        advance(&joining, 25);
        joining.answer.publisher = cases[i].publisher;
        answer(&joining, cases[i].err);
        (void)tick(&joining);
        if (cases[i].err == NK_NOT_FOUND) {
            cr_expect_eq(sent(&joining, NK_FRAME_REGISTER), 1, "case %zu", i);
            cr_expect_eq(sent(&joining, NK_FRAME_SHARD_REPORT), 0, "case %zu", i);
            answer(&joining, NK_OK);
            (void)tick(&joining);
        }
        cr_expect_eq(sent(&joining, NK_FRAME_STATE_REQUEST), 1, "case %zu", i);
        const report_message *report =
            (const report_message *)stage_sent(&joining.stage, NK_FRAME_SHARD_REPORT);
        cr_assert_not_null(report, "case %zu", i);
        cr_assert_eq(report->n_shards, 1, "case %zu", i);
        cr_expect_eq(report->shards[0]->shard, 4, "case %zu", i);
        leave(&joining);
    }
}

Test(service_member, a_refusal_for_another_reason_is_tried_again_after_a_second)
{
    struct joining joining;
    join(&joining, "gateway");
    (void)tick(&joining);
    answer(&joining, NK_BUSY);
    advance(&joining, 999);
    cr_expect_eq(sent(&joining, NK_FRAME_REGISTER), 1);
    advance(&joining, 1);
    cr_expect_eq(sent(&joining, NK_FRAME_REGISTER), 2);
    cr_expect_eq(nk_member_fault(joining.member), NK_OK);
    leave(&joining);
}

Test(service_member, a_conflict_ends_the_process_only_when_the_other_outlives_its_lease)
{
    struct joining joining;
    join(&joining, "gateway");
    (void)tick(&joining);
    answer(&joining, NK_CONFLICT); /* it may be our own predecessor */
    cr_expect_eq(nk_member_fault(joining.member), NK_OK);
    advance(&joining, 2 * LEASE_MS - 1);
    answer(&joining, NK_CONFLICT);
    cr_expect_eq(nk_member_fault(joining.member), NK_OK);
    advance(&joining, 1);
    answer(&joining, NK_CONFLICT);
    cr_expect_eq(nk_member_fault(joining.member), NK_CONFLICT);
    leave(&joining);
}

Test(service_member, a_conflict_that_goes_away_is_forgotten)
{
    struct joining joining;
    join(&joining, "gateway");
    (void)tick(&joining);
    answer(&joining, NK_CONFLICT);
    advance(&joining, LEASE_MS);
    answer(&joining, NK_OK);
    cr_expect(nk_member_registered(joining.member));
    cr_expect_eq(nk_member_fault(joining.member), NK_OK);
    leave(&joining);
}

Test(service_member, once_accepted_a_conflict_means_that_a_newer_one_lives)
{
    struct joining joining;
    join(&joining, "gateway");
    settle(&joining, 1);
    advance(&joining, 25);
    answer(&joining, NK_CONFLICT);
    cr_expect_eq(nk_member_fault(joining.member), NK_CONFLICT);
    leave(&joining);
}

Test(service_member, a_missed_update_is_noticed_and_the_whole_state_asked_for)
{
    struct joining joining;
    join(&joining, "gateway");
    settle(&joining, 5);
    update(&joining, telling_new(50, 6, 101, false));
    (void)tick(&joining);
    cr_expect_eq(sent(&joining, NK_FRAME_STATE_REQUEST), 0);
    update(&joining, telling_new(50, 8, 103, false)); /* 7 is missing */
    (void)tick(&joining);
    cr_expect_eq(sent(&joining, NK_FRAME_STATE_REQUEST), 1);
    cr_expect_eq(nk_cluster_sequence(nk_member_cluster(joining.member)), 6);
    update(&joining, telling_new(50, 8, 103, true));
    advance(&joining, 24);
    cr_expect_eq(sent(&joining, NK_FRAME_STATE_REQUEST), 1);
    joining.answer.sequence = 9; /* told by the answer to a heartbeat */
    answer(&joining, NK_OK);
    update(&joining, telling_new(50, 8, 103, true));
    (void)tick(&joining);
    cr_expect_eq(sent(&joining, NK_FRAME_STATE_REQUEST), 2);
    leave(&joining);
}

/* The last update for a long time got lost: nothing but the answers to heartbeats tells of it. */
Test(service_member, an_update_that_nothing_follows_is_missed_by_the_next_answer)
{
    struct joining joining;
    join(&joining, "gateway");
    settle(&joining, 5);
    joining.answer.sequence = 6;
    answer(&joining, NK_OK);
    (void)tick(&joining);
    cr_expect_eq(sent(&joining, NK_FRAME_STATE_REQUEST), 1);
    update(&joining, telling_new(50, 6, 101, true));
    answer(&joining, NK_OK);
    advance(&joining, 200);
    cr_expect_eq(sent(&joining, NK_FRAME_STATE_REQUEST), 1);
    leave(&joining);
}

/* A publisher that has not heard of our epoch yet: everything it says counts as old. */
Test(service_member, a_publisher_with_an_old_epoch_is_told_ours_and_asked_again)
{
    struct joining joining;
    join(&joining, "gateway");
    settle(&joining, 5);
    joining.answer.publisher = 51;
    joining.answer.sequence = 1;
    answer(&joining, NK_OK);
    (void)tick(&joining);
    stage_forget_sent(&joining.stage);
    update(&joining, telling_new(51, 1, 99, true));
    cr_expect_eq(nk_cluster_publisher(nk_member_cluster(joining.member)), 50);
    (void)tick(&joining);
    const heartbeat_message *beat =
        (const heartbeat_message *)stage_sent(&joining.stage, NK_FRAME_HEARTBEAT);
    cr_assert_not_null(beat);
    cr_expect_eq(beat->epoch_seen, 100);
    advance(&joining, 100);
    cr_expect_geq(sent(&joining, NK_FRAME_STATE_REQUEST), 1);
    update(&joining, telling_new(51, 2, 101, true));
    cr_expect_eq(nk_cluster_publisher(nk_member_cluster(joining.member)), 51);
    leave(&joining);
}

Test(service_member, an_update_of_a_publisher_that_did_not_accept_it_makes_it_register)
{
    struct joining joining;
    join(&joining, "gateway");
    settle(&joining, 5);
    update(&joining, telling_new(51, 1, 101, false));
    (void)tick(&joining);
    cr_expect_eq(sent(&joining, NK_FRAME_REGISTER), 1);
    leave(&joining);
}

Test(service_member, frames_that_make_no_sense_are_counted_and_change_nothing)
{
    struct joining joining;
    join(&joining, "gateway");
    settle(&joining, 5);
    nk_peer gossip = gossip_peer(&joining, GOSSIP);
    nk_peer listen = gossip_peer(&joining, joining.answer.listen_address);
    nk_peer stranger = stage_partner(&joining.stage);
    uint64_t dropped = nk_member_dropped(joining.member);
    uint64_t generation = nk_member_generation(joining.member);
    registered_message foreign = joining.answer;
    foreign.session = 999;
    registered_message hasty = joining.answer;
    hasty.lease_ms = 99;
    registered_message lazy = joining.answer;
    lazy.lease_ms = 600001;
    registered_message nobody = joining.answer;
    nobody.publisher = 0;
    const struct {
        nk_peer from;
        const registered_message *message;
    } cases[] = {
        {stranger, &joining.answer},
        {listen, &joining.answer},
        {gossip, &foreign},
        {gossip, &hasty},
        {gossip, &lazy},
        {gossip, &nobody},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        cr_expect(
            receive_from(&joining, cases[i].from, NK_FRAME_REGISTERED, &cases[i].message->base),
            "case %zu", i);
        cr_expect_eq(nk_member_dropped(joining.member), ++dropped, "case %zu", i);
    }
    cr_expect(nk_member_receive(joining.member, gossip, NK_FRAME_STATE_UPDATE,
                                nk_bytes_of_string("\xff")));
    cr_expect_eq(nk_member_dropped(joining.member), ++dropped);
    struct telling *telling = telling_new(50, 6, 101, false);
    telling_member(telling, "n2", "shardhost")->session = 0;
    update(&joining, telling);
    cr_expect_eq(nk_member_dropped(joining.member), ++dropped);
    cr_expect_eq(stage_metric(&joining.stage, "norikv_member_frames_dropped_total"), dropped);
    cr_expect_eq(nk_member_generation(joining.member), generation);
    cr_expect(nk_member_registered(joining.member));
    cr_expect(
        !nk_member_receive(joining.member, gossip, NK_FRAME_SHARD_REPLIES, nk_bytes_of(NULL, 0)));
    leave(&joining);
}

Test(service_member, deltas_come_by_the_subscription_too)
{
    struct joining joining;
    join(&joining, "gateway");
    settle(&joining, 5);
    struct telling *telling = telling_new(50, 6, 101, false);
    (void)telling_member(telling, "n2", "shardhost");
    cr_expect(receive_from(&joining, gossip_peer(&joining, joining.answer.listen_address),
                           NK_FRAME_STATE_UPDATE, &telling->message.base));
    nk_free(telling);
    cr_expect_not_null(nk_cluster_member(nk_member_cluster(joining.member), "n2", "shardhost"));
    leave(&joining);
}

Test(service_member, a_new_listen_address_replaces_the_former_subscription)
{
    struct joining joining;
    join(&joining, "gateway");
    settle(&joining, 5);
    joining.answer.listen_address = (char *)"tcp://g:9";
    answer(&joining, NK_OK);
    cr_expect_not_null(stage_link(&joining.stage, "tcp://g:9"));
    cr_expect_null(stage_link(&joining.stage, "ipc:///data/run/gossip.bus.out"));
    size_t links = joining.stage.link_count;
    answer(&joining, NK_OK);
    cr_expect_eq(joining.stage.link_count, links); /* the same again: nothing to do */
    leave(&joining);
}

Test(service_member, a_shardhost_reports_even_if_it_has_no_shards)
{
    struct joining joining;
    join(&joining, "shardhost");
    (void)tick(&joining);
    answer(&joining, NK_OK);
    (void)tick(&joining);
    cr_assert_eq(sent(&joining, NK_FRAME_SHARD_REPORT), 1);
    const report_message *report =
        (const report_message *)stage_sent(&joining.stage, NK_FRAME_SHARD_REPORT);
    cr_expect_eq(report->n_shards, 0);
    cr_expect_eq(report->session, 1000);
    leave(&joining);
}

Test(service_member, reports_wait_for_the_registration_and_travel_in_batches)
{
    struct joining joining;
    join(&joining, "shardhost");
    for (uint32_t i = 0; i < 600; i++) {
        struct nk_cluster_shard shard = {.shard = i, .term = 1, .leader_node = "n1"};
        nk_member_report_shard(joining.member, &shard);
    }
    (void)tick(&joining);
    cr_expect_eq(sent(&joining, NK_FRAME_SHARD_REPORT), 0);
    answer(&joining, NK_OK);
    (void)tick(&joining);
    static const size_t sizes[] = {256, 256, 88};
    size_t batch = 0;
    for (size_t i = 0; i < joining.stage.frame_count; i++) {
        const struct stage_frame *frame = &joining.stage.frames[i];
        if (frame->type == NK_FRAME_SHARD_REPORT) {
            const report_message *report =
                (const report_message *)stage_message(&joining.stage, frame);
            cr_assert_lt(batch, NK_COUNT_OF(sizes));
            cr_expect_eq(report->n_shards, sizes[batch], "batch %zu", batch);
            batch++;
        }
    }
    cr_expect_eq(batch, NK_COUNT_OF(sizes));
    leave(&joining);
}

Test(service_member, of_a_shard_that_changed_twice_only_the_newest_is_told)
{
    struct joining joining;
    join(&joining, "shardhost");
    settle(&joining, 5);
    struct nk_cluster_shard shard = {.shard = 4, .term = 2};
    nk_member_report_shard(joining.member, &shard);
    shard.term = 3;
    nk_member_report_shard(joining.member, &shard);
    (void)tick(&joining);
    cr_assert_eq(sent(&joining, NK_FRAME_SHARD_REPORT), 1);
    const report_message *report =
        (const report_message *)stage_sent(&joining.stage, NK_FRAME_SHARD_REPORT);
    cr_assert_eq(report->n_shards, 1);
    cr_expect_eq(report->shards[0]->term, 3);
    (void)tick(&joining);
    cr_expect_eq(sent(&joining, NK_FRAME_SHARD_REPORT), 1);
    leave(&joining);
}

Test(service_member, closing_nothing_is_allowed)
{
    struct nk_member *nothing = NULL;
    nk_member_close(&nothing);
    nk_member_close(NULL);
}

/* Reports are not answered: gossip says in its answers to heartbeats that one of them is missing.
 */
Test(service_member, after_a_lost_report_everything_is_reported_again)
{
    struct joining joining;
    join(&joining, "shardhost");
    struct nk_cluster_shard shard = {.shard = 1, .term = 1};
    nk_member_report_shard(joining.member, &shard);
    settle(&joining, 1);
    shard.shard = 2;
    nk_member_report_shard(joining.member, &shard);
    (void)tick(&joining);
    const report_message *report =
        (const report_message *)stage_sent(&joining.stage, NK_FRAME_SHARD_REPORT);
    cr_assert_not_null(report);
    cr_expect_eq(report->sequence, 2);
    cr_expect(!report->first_of_all);
    advance(&joining, 25);
    const heartbeat_message *beat =
        (const heartbeat_message *)stage_sent(&joining.stage, NK_FRAME_HEARTBEAT);
    cr_assert_not_null(beat);
    cr_expect_eq(beat->reports, 2);
    stage_forget_sent(&joining.stage);
    answer(&joining, NK_OK);
    (void)tick(&joining);
    cr_expect_eq(sent(&joining, NK_FRAME_SHARD_REPORT), 0);
    joining.answer.report_missing = true;
    answer(&joining, NK_OK);
    (void)tick(&joining);
    report = (const report_message *)stage_sent(&joining.stage, NK_FRAME_SHARD_REPORT);
    cr_assert_not_null(report);
    cr_expect_eq(report->n_shards, 2);
    cr_expect_eq(report->sequence, 3);
    cr_expect(report->first_of_all);
    leave(&joining);
}
