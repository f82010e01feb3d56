/* The role: queues of the fronts, membership, the probe of shard 0, the stop. */

#include <criterion/criterion.h>

#include "proto/norikv/internal/v1/gossip.pb-c.h"
#include "proto/norikv/internal/v1/shard.pb-c.h"
#include "services/gateway/gateway.h"
#include "tests/unit/stage/stage.h"

TestSuite(gateway_role, .timeout = 20);

static const struct nk_role_ops *const ops = &gateway_role_ops;

typedef Norikv__Internal__V1__ShardRequests batch_message;

struct serving {
    struct stage stage;
    void *role;
};

struct asking {
    struct gateway_request request;
    size_t done;
};

struct hearing {
    struct gateway_watch watch;
    size_t changed;
    size_t closed;
    enum nk_err err;
};

static void done(struct gateway_request *request)
{
    NK_CONTAINER_OF(request, struct asking, request)->done++;
}

static void changed(struct gateway_watch *watch, struct nk_bytes view)
{
    (void)view;
    NK_CONTAINER_OF(watch, struct hearing, watch)->changed++;
}

static void closed(struct gateway_watch *watch, enum nk_err err)
{
    struct hearing *hearing = NK_CONTAINER_OF(watch, struct hearing, watch);
    hearing->closed++;
    hearing->err = err;
}

static struct asking get_request(void)
{
    return (struct asking){.request = {.op = GATEWAY_OP_GET,
                                       .message = nk_bytes_of_string("\x0a\x01k"),
                                       .deadline_us = UINT64_MAX,
                                       .done = done}};
}

static char *text(const char *constant)
{
    return (char *)(uintptr_t)constant; /* protobuf-c has no const texts */
}

static void tick(struct serving *serving)
{
    (void)ops->tick(serving->role);
}

static void open_gateway(struct serving *serving)
{
    stage_open(&serving->stage);
    char memory[128];
    struct nk_text reason;
    nk_text_init(&reason, memory, sizeof memory);
    cr_assert_eq(ops->init(&serving->stage.context, &serving->role, &reason), NK_OK);
    tick(serving);
}

static void close_gateway(struct serving *serving)
{
    ops->deinit(&serving->role);
    cr_expect_null(serving->role);
    stage_close(&serving->stage);
}

/* Gossip tells of one shardhost, in `session`, that leads shard 0 of `total_shards`. */
static void know(struct serving *serving, uint64_t session, uint32_t total_shards)
{
    const struct stage_link *gossip = stage_link(&serving->stage, "ipc:///data/run/gossip.bus");
    cr_assert_not_null(gossip);
    Norikv__Internal__V1__Registered answer = NORIKV__INTERNAL__V1__REGISTERED__INIT;
    answer.session = serving->stage.context.session;
    answer.lease_ms = 3000;
    answer.publisher = 50;
    answer.sequence = session;
    answer.listen_address = text("stage://state");
    stage_deliver(ops, serving->role, gossip->peer, NK_FRAME_REGISTERED, &answer.base);
    Norikv__Internal__V1__Member member = NORIKV__INTERNAL__V1__MEMBER__INIT;
    member.node_id = text("n1");
    member.role = text("shardhost");
    member.session = session;
    member.talk_address = text("stage://n1");
    member.state = NORIKV__INTERNAL__V1__MEMBER_STATE__MEMBER_STATE_ALIVE;
    member.total_shards = total_shards;
    Norikv__Internal__V1__Member *members[] = {&member};
    Norikv__Internal__V1__ShardState shard = NORIKV__INTERNAL__V1__SHARD_STATE__INIT;
    shard.term = 3;
    shard.leader_node = text("n1");
    char *replicas[] = {text("n1")};
    shard.replica_nodes = replicas;
    shard.n_replica_nodes = 1;
    Norikv__Internal__V1__ShardState *shards[] = {&shard};
    Norikv__Internal__V1__StateUpdate update = NORIKV__INTERNAL__V1__STATE_UPDATE__INIT;
    update.publisher = 50;
    update.sequence = session;
    update.epoch = 100 + session;
    update.snapshot = true;
    update.members = members;
    update.n_members = 1;
    update.shards = shards;
    update.n_shards = 1;
    stage_deliver(ops, serving->role, gossip->peer, NK_FRAME_STATE_UPDATE, &update.base);
    tick(serving);
}

/* The shardhost answers everything that the last batch asks with NK_OK. */
static void answer_all(struct serving *serving, uint64_t session)
{
    const batch_message *batch =
        (const batch_message *)stage_sent(&serving->stage, NK_FRAME_SHARD_REQUESTS);
    cr_assert_not_null(batch);
    Norikv__Internal__V1__ShardReply replies[8];
    Norikv__Internal__V1__ShardReply *list[8];
    cr_assert_leq(batch->n_requests, NK_COUNT_OF(list));
    for (size_t i = 0; i < batch->n_requests; i++) {
        norikv__internal__v1__shard_reply__init(&replies[i]);
        replies[i].id = batch->requests[i]->id;
        list[i] = &replies[i];
    }
    Norikv__Internal__V1__ShardReplies message = NORIKV__INTERNAL__V1__SHARD_REPLIES__INIT;
    message.session = session;
    message.replies = list;
    message.n_replies = batch->n_requests;
    stage_deliver(ops, serving->role, stage_link(&serving->stage, "stage://n1")->peer,
                  NK_FRAME_SHARD_REPLIES, &message.base);
    tick(serving);
}

Test(gateway_role, it_registers_with_the_address_that_clients_should_use)
{
    static const struct {
        const char *advertised;
        const char *told;
    } cases[] = {{"", "127.0.0.1:7447"}, {"public:1", "public:1"}};
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct serving serving;
        stage_open(&serving.stage);
        serving.stage.config.advertise_rpc_addr = cases[i].advertised;
        char memory[128];
        struct nk_text reason;
        nk_text_init(&reason, memory, sizeof memory);
        cr_assert_eq(ops->init(&serving.stage.context, &serving.role, &reason), NK_OK);
        tick(&serving);
        const Norikv__Internal__V1__Register *message =
            (const Norikv__Internal__V1__Register *)stage_sent(&serving.stage, NK_FRAME_REGISTER);
        cr_assert_not_null(message);
        cr_expect_str_eq(message->member->role, "gateway");
        cr_expect_str_eq(message->member->rpc_address, cases[i].told, "case %zu", i);
        cr_expect_str_eq(message->member->http_address, "127.0.0.1:8080");
        close_gateway(&serving);
    }
}

Test(gateway_role, it_is_ready_once_shard_0_has_answered_its_probe)
{
    struct serving serving;
    open_gateway(&serving);
    const char *reason;
    cr_expect(!nk_health_ready(serving.stage.context.health, &reason));
    cr_expect_str_eq(reason, "no-shardhost");
    know(&serving, 7, 16);
    cr_expect(!nk_health_ready(serving.stage.context.health, &reason));
    cr_expect_str_eq(reason, "shard-0");
    stage_advance(&serving.stage, 1000); /* the probe that found nobody is over */
    tick(&serving);
    tick(&serving);
    const batch_message *batch =
        (const batch_message *)stage_sent(&serving.stage, NK_FRAME_SHARD_REQUESTS);
    cr_assert_not_null(batch);
    cr_expect_eq(batch->requests[0]->op, NORIKV__INTERNAL__V1__SHARD_OP__SHARD_OP_PROBE);
    cr_expect_eq(batch->requests[0]->shard, 0);
    answer_all(&serving, 7);
    cr_expect(nk_health_ready(serving.stage.context.health, &reason));
    cr_expect(nk_health_quick(serving.stage.context.health));
    stage_advance(&serving.stage, 1000);
    tick(&serving); /* asked again */
    stage_advance(&serving.stage, 1000);
    tick(&serving); /* and not answered */
    cr_expect(!nk_health_ready(serving.stage.context.health, &reason));
    cr_expect(!nk_health_quick(serving.stage.context.health));
    close_gateway(&serving);
}

Test(gateway_role, a_request_from_another_thread_is_taken_with_the_tick_and_answered_once)
{
    struct serving serving;
    open_gateway(&serving);
    know(&serving, 7, 16);
    struct asking asking = get_request();
    uint64_t wakes = serving.stage.wakes;
    gateway_submit(serving.role, &asking.request);
    cr_expect_eq(serving.stage.wakes, wakes + 1); /* or the loop would sleep on */
    struct asking second = get_request();
    gateway_submit(serving.role, &second.request);
    cr_expect_eq(serving.stage.wakes, wakes + 1); /* one is enough */
    tick(&serving);
    cr_expect_eq(asking.done, 0);
    answer_all(&serving, 7);
    cr_expect_eq(asking.done, 1);
    cr_expect_eq(asking.request.err, NK_OK);
    cr_expect_eq(second.done, 1);
    cr_expect_eq(
        stage_metric(&serving.stage, "kv_requests_total{operation=\"get\",status=\"success\"}"), 2);
    gateway_cancel(serving.role, &asking.request); /* too late: nothing follows */
    tick(&serving);
    cr_expect_eq(asking.done, 1);
    cr_expect_eq(asking.request.err, NK_OK);
    close_gateway(&serving);
}

Test(gateway_role, a_cancelled_request_is_done_once_wherever_it_was)
{
    for (size_t stage = 0; stage < 3; stage++) {
        struct serving serving;
        open_gateway(&serving);
        if (stage > 0) {
            know(&serving, 7, 16); /* sent; else it waits for somebody to ask */
        }
        struct asking asking = get_request();
        gateway_submit(serving.role, &asking.request);
        if (stage < 2) {
            tick(&serving);
        } /* else the loop meets both at once */
        gateway_cancel(serving.role, &asking.request);
        cr_expect_eq(asking.done, 0, "case %zu", stage);
        tick(&serving);
        cr_expect_eq(asking.done, 1, "case %zu", stage);
        cr_expect_eq(asking.request.err, NK_CANCELLED, "case %zu", stage);
        tick(&serving);
        cr_expect_eq(asking.done, 1, "case %zu", stage);
        cr_expect_eq(stage_metric(&serving.stage,
                                  "kv_requests_total{operation=\"get\",status=\"cancelled\"}"),
                     1);
        close_gateway(&serving);
    }
}

Test(gateway_role, a_watch_hears_the_view_and_closes_once)
{
    struct serving serving;
    open_gateway(&serving);
    struct hearing hearing = {.watch = {.changed = changed, .closed = closed}};
    gateway_watch_open(serving.role, &hearing.watch);
    tick(&serving);
    cr_expect_eq(hearing.changed, 0);
    know(&serving, 7, 16);
    cr_expect_eq(hearing.changed, 1);
    cr_expect_eq(hearing.watch.epoch, 107);
    know(&serving, 8, 16);
    cr_expect_eq(hearing.changed, 2);
    gateway_watch_close(serving.role, &hearing.watch);
    tick(&serving);
    cr_expect_eq(hearing.closed, 1);
    cr_expect_eq(hearing.err, NK_CANCELLED);
    know(&serving, 9, 16);
    cr_expect_eq(hearing.changed, 2);
    close_gateway(&serving);
    cr_expect_eq(hearing.closed, 1);
}

Test(gateway_role, a_stop_ends_everything_and_later_calls_are_refused_at_once)
{
    struct serving serving;
    open_gateway(&serving);
    know(&serving, 7, 16);
    struct asking sent = get_request();
    gateway_submit(serving.role, &sent.request);
    tick(&serving);
    struct asking queued = get_request();
    gateway_submit(serving.role, &queued.request);
    struct hearing hearing = {.watch = {.changed = changed, .closed = closed}};
    gateway_watch_open(serving.role, &hearing.watch);
    tick(&serving);
    ops->stop(serving.role);
    cr_expect_eq(hearing.closed, 1);
    cr_expect_eq(hearing.err, NK_UNAVAILABLE);
    cr_expect(!ops->stopped(serving.role)); /* a shardhost has two of them */
    struct asking late = get_request();
    gateway_submit(serving.role, &late.request);
    cr_expect_eq(late.done, 1);
    cr_expect_eq(late.request.err, NK_UNAVAILABLE);
    struct hearing deaf = {.watch = {.changed = changed, .closed = closed}};
    gateway_watch_open(serving.role, &deaf.watch);
    cr_expect_eq(deaf.closed, 1);
    stage_advance(&serving.stage, 4999);
    tick(&serving);
    cr_expect_eq(sent.done, 0);
    stage_advance(&serving.stage, 1); /* their time to be answered is over */
    tick(&serving);
    cr_expect_eq(sent.done, 1);
    cr_expect_eq(queued.done, 1);
    cr_expect_eq(sent.request.err, NK_EXPIRED);
    tick(&serving);
    cr_expect(ops->stopped(serving.role));
    close_gateway(&serving);
}

Test(gateway_role, other_data_than_ours_is_a_fault)
{
    static const struct {
        uint32_t total_shards;
        enum nk_err err;
    } cases[] = {{16, NK_OK}, {0, NK_OK}, {32, NK_CONFLICT}};
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct serving serving;
        open_gateway(&serving);
        know(&serving, 7, cases[i].total_shards);
        char memory[160];
        struct nk_text reason;
        nk_text_init(&reason, memory, sizeof memory);
        cr_expect_eq(ops->fault(serving.role, &reason), cases[i].err, "case %zu", i);
        cr_expect_str_eq(memory, cases[i].err == NK_OK ? ""
                                                       : "cluster.total_shards is 16 here, but the "
                                                         "cluster's data was created with 32");
        close_gateway(&serving);
    }
}

Test(gateway_role, frames_that_make_no_sense_are_counted)
{
    struct serving serving;
    open_gateway(&serving);
    nk_peer stranger = stage_partner(&serving.stage);
    ops->receive(serving.role, stranger, nk_bytes_of_string("garbage"));
    cr_expect_eq(stage_metric(&serving.stage, "gateway_garbage_frames_total"), 1);
    Norikv__Internal__V1__Heartbeat misplaced = NORIKV__INTERNAL__V1__HEARTBEAT__INIT;
    misplaced.node_id = text("n1");
    stage_deliver(ops, serving.role, stranger, NK_FRAME_HEARTBEAT, &misplaced.base);
    cr_expect_eq(stage_metric(&serving.stage, "gateway_garbage_frames_total"), 2);
    stage_deliver(ops, serving.role, stranger, NK_FRAME_SHARD_REPLIES, &misplaced.base);
    cr_expect_eq(stage_metric(&serving.stage, "gateway_garbage_frames_total"), 3);
    close_gateway(&serving);
}

Test(gateway_role, the_texts_of_the_view_are_there_from_the_first_moment)
{
    struct serving serving;
    open_gateway(&serving);
    struct nk_buf out = {0};
    gateway_view_json(serving.role, &out);
    cr_expect(nk_bytes_equal(nk_buf_bytes(&out),
                             nk_bytes_of_string("{\"epoch\":0,\"nodes\":[],\"shards\":[]}\n")));
    know(&serving, 7, 16);
    nk_buf_clear(&out);
    gateway_view_json(serving.role, &out);
    cr_expect(nk_bytes_starts_with(nk_buf_bytes(&out), nk_bytes_of_string("{\"epoch\":107,")));
    nk_buf_clear(&out);
    gateway_targets_json(serving.role, &out);
    cr_expect(nk_bytes_equal(nk_buf_bytes(&out), nk_bytes_of_string("[]\n")));
    nk_buf_deinit(&out);
    close_gateway(&serving);
}
