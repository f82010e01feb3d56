/* The role: it registers, learns its cluster and says how it is. */

#include <criterion/criterion.h>

#include "proto/norikv/internal/v1/gossip.pb-c.h"
#include "services/admin/admin.h"
#include "tests/unit/stage/stage.h"

TestSuite(admin_role, .timeout = 10);

static const struct nk_role_ops *const ops = &admin_role_ops;

struct ruling {
    struct stage stage;
    void *role;
};

static char *text(const char *constant)
{
    return (char *)(uintptr_t)constant; /* protobuf-c has no const texts */
}

static enum nk_err start(struct ruling *ruling)
{
    char memory[128];
    struct nk_text reason;
    nk_text_init(&reason, memory, sizeof memory);
    return ops->init(&ruling->stage.context, &ruling->role, &reason);
}

static void open_admin(struct ruling *ruling)
{
    stage_open(&ruling->stage);
    cr_assert_eq(start(ruling), NK_OK);
    (void)ops->tick(ruling->role);
}

static void close_admin(struct ruling *ruling)
{
    ops->deinit(&ruling->role);
    stage_close(&ruling->stage);
}

/* Gossip answers, and tells of one shardhost of cluster `id` with that many shards. */
static void know(struct ruling *ruling, uint64_t sequence, uint8_t id, uint32_t total_shards)
{
    const struct stage_link *gossip = stage_link(&ruling->stage, "ipc:///data/run/gossip.bus");
    cr_assert_not_null(gossip);
    Norikv__Internal__V1__Registered answer = NORIKV__INTERNAL__V1__REGISTERED__INIT;
    answer.session = ruling->stage.context.session;
    answer.lease_ms = 3000;
    answer.publisher = 50;
    answer.sequence = sequence;
    answer.listen_address = text("stage://state");
    stage_deliver(ops, ruling->role, gossip->peer, NK_FRAME_REGISTERED, &answer.base);
    uint8_t cluster_id[16] = {id};
    Norikv__Internal__V1__Member member = NORIKV__INTERNAL__V1__MEMBER__INIT;
    member.node_id = text("n1");
    member.role = text("shardhost");
    member.session = 7;
    member.state = NORIKV__INTERNAL__V1__MEMBER_STATE__MEMBER_STATE_ALIVE;
    member.total_shards = total_shards;
    member.cluster_id = (ProtobufCBinaryData){sizeof cluster_id, cluster_id};
    Norikv__Internal__V1__Member *members[] = {&member};
    Norikv__Internal__V1__StateUpdate update = NORIKV__INTERNAL__V1__STATE_UPDATE__INIT;
    update.publisher = 50;
    update.sequence = sequence;
    update.epoch = 100 + sequence;
    update.snapshot = true;
    update.members = members;
    update.n_members = 1;
    stage_deliver(ops, ruling->role, gossip->peer, NK_FRAME_STATE_UPDATE, &update.base);
    (void)ops->tick(ruling->role);
}

static void expect_health(struct ruling *ruling, enum nk_health_status status, const char *missing)
{
    const char *reason;
    cr_expect_eq(nk_health_status(ruling->stage.context.health), status);
    cr_expect_eq(nk_health_ready(ruling->stage.context.health, &reason), missing[0] == '\0');
    cr_expect_str_eq(reason, missing);
}

Test(admin_role, it_is_ready_while_gossip_keeps_its_lease)
{
    struct ruling ruling;
    open_admin(&ruling);
    const Norikv__Internal__V1__Register *message =
        (const Norikv__Internal__V1__Register *)stage_sent(&ruling.stage, NK_FRAME_REGISTER);
    cr_assert_not_null(message);
    cr_expect_str_eq(message->member->role, "admin");
    cr_expect_str_eq(message->member->http_address, "127.0.0.1:8080");
    expect_health(&ruling, NK_DEGRADED, "no-gossip");
    cr_expect_eq(stage_metric(&ruling.stage, "admin_registered"), 0);
    know(&ruling, 1, 7, 16);
    expect_health(&ruling, NK_HEALTHY, "");
    cr_expect_eq(stage_metric(&ruling.stage, "admin_registered"), 1);
    stage_advance(&ruling.stage, 3000);
    (void)ops->tick(ruling.role);
    expect_health(&ruling, NK_DEGRADED, "no-gossip");
    cr_expect_eq(stage_metric(&ruling.stage, "admin_registered"), 0);
    close_admin(&ruling);
}

Test(admin_role, another_cluster_than_the_known_one_is_shown)
{
    struct ruling ruling;
    open_admin(&ruling);
    know(&ruling, 1, 7, 16);
    know(&ruling, 2, 8, 16);
    expect_health(&ruling, NK_DEGRADED, "");
    cr_expect_eq(ruling.stage.log_counts[NK_LOG_ERROR], 1);
    (void)ops->tick(ruling.role);
    cr_expect_eq(ruling.stage.log_counts[NK_LOG_ERROR], 1); /* said once */
    know(&ruling, 3, 7, 16);
    expect_health(&ruling, NK_HEALTHY, "");
    close_admin(&ruling);
}

Test(admin_role, a_catalogue_that_cannot_be_saved_is_tried_again_with_each_tick)
{
    struct ruling ruling;
    open_admin(&ruling);
    stage_fail_from(&ruling.stage, STAGE_META_PUT, 1, NK_NO_SPACE);
    know(&ruling, 1, 7, 16);
    expect_health(&ruling, NK_DEGRADED, "");
    (void)ops->tick(ruling.role);
    cr_expect_eq(ruling.stage.log_counts[NK_LOG_ERROR], 1);
    stage_mend(&ruling.stage, STAGE_META_PUT);
    (void)ops->tick(ruling.role);
    expect_health(&ruling, NK_HEALTHY, "");
    close_admin(&ruling);
}

Test(admin_role, a_catalogue_that_cannot_be_read_stops_the_start)
{
    struct ruling ruling;
    stage_open(&ruling.stage);
    stage_fail(&ruling.stage, STAGE_META_GET, 1, NK_IO);
    ruling.role = &ruling;
    cr_expect_eq(start(&ruling), NK_IO);
    cr_expect_null(ruling.role);
    ops->deinit(&ruling.role);
    stage_close(&ruling.stage);
}

Test(admin_role, frames_that_are_not_for_it_are_counted)
{
    struct ruling ruling;
    open_admin(&ruling);
    nk_peer stranger = stage_partner(&ruling.stage);
    ops->receive(ruling.role, stranger, nk_bytes_of_string("garbage"));
    Norikv__Internal__V1__StateRequest request = NORIKV__INTERNAL__V1__STATE_REQUEST__INIT;
    stage_deliver(ops, ruling.role, stranger, NK_FRAME_STATE_REQUEST, &request.base);
    cr_expect_eq(stage_metric(&ruling.stage, "admin_frames_dropped_total"), 2);
    close_admin(&ruling);
}

Test(admin_role, a_stop_is_done_at_once_and_shows)
{
    struct ruling ruling;
    open_admin(&ruling);
    know(&ruling, 1, 7, 16);
    cr_expect(!ops->stopped(ruling.role));
    ops->stop(ruling.role);
    cr_expect(ops->stopped(ruling.role));
    (void)ops->tick(ruling.role);
    expect_health(&ruling, NK_HEALTHY, "stopping");
    close_admin(&ruling);
}

Test(admin_role, a_second_one_of_its_name_ends_it)
{
    struct ruling ruling;
    open_admin(&ruling);
    know(&ruling, 1, 7, 16);
    char memory[128];
    struct nk_text reason;
    nk_text_init(&reason, memory, sizeof memory);
    cr_expect_eq(ops->fault(ruling.role, &reason), NK_OK);
    Norikv__Internal__V1__Registered answer = NORIKV__INTERNAL__V1__REGISTERED__INIT;
    answer.session = ruling.stage.context.session;
    answer.lease_ms = 3000;
    answer.err = NK_CONFLICT;
    stage_deliver(ops, ruling.role, stage_link(&ruling.stage, "ipc:///data/run/gossip.bus")->peer,
                  NK_FRAME_REGISTERED, &answer.base);
    cr_expect_eq(ops->fault(ruling.role, &reason), NK_CONFLICT);
    cr_expect_not_null(strstr(memory, "another process"));
    close_admin(&ruling);
}
