/* The life of a request: sent, repeated where that is safe, answered exactly once.  The shardhosts
 * are played by the test. */

#include <criterion/criterion.h>

#include "common/base/alloc.h"
#include "common/base/hash.h"
#include "common/base/limits.h"
#include "common/base/prng.h"
#include "proto/norikv/internal/v1/shard.pb-c.h"
#include "services/gateway/relay.h"
#include "tests/unit/stage/stage.h"

#include "nodes.h"

TestSuite(gateway_relay, .timeout = 60);

#define SHARDS ((uint32_t)4)

typedef Norikv__Internal__V1__ShardRequests batch_message;
typedef Norikv__Internal__V1__ShardReplies replies_message;
typedef Norikv__Internal__V1__ShardReply reply_message;

/* One request and how often it ended. */
struct asking {
    struct gateway_request request;
    size_t ended;
    char response[16]; /* as it was when it ended */
};

struct relaying {
    struct stage stage;
    struct gateway_relay relay;
};

static void ended(void *ctx, struct gateway_request *request)
{
    (void)ctx;
    struct asking *asking = NK_CONTAINER_OF(request, struct asking, request);
    asking->ended++;
    size_t size = request->response.size;
    if (request->err == NK_OK && size > 0 && size < sizeof asking->response) {
        memcpy(asking->response, request->response.data, size);
    }
}

static void open_relay(struct relaying *relaying)
{
    stage_open(&relaying->stage);
    struct gateway_relay_options options = {
        .env = &relaying->stage.env,
        .total_shards = SHARDS,
        .limits = {.key_bytes_max = 16, .value_bytes_max = 1024},
        .request_timeout_us = 5 * NK_US_PER_SEC,
        .inflight_max = 8,
        .inflight_bytes_max = 4096,
        .ended = ended,
    };
    gateway_relay_init(&relaying->relay, &options);
}

static void close_relay(struct relaying *relaying)
{
    gateway_relay_deinit(&relaying->relay);
    stage_close(&relaying->stage);
}

static void follow(struct relaying *relaying, const struct nk_cluster *cluster)
{
    gateway_relay_follow(&relaying->relay, cluster, relaying->stage.now_us);
}

/* One node, in `session`, that leads everything. */
static void follow_single(struct relaying *relaying, uint64_t session)
{
    struct nk_cluster *cluster = nodes_single(SHARDS);
    nodes_put(cluster, "n1", session, NK_MEMBER_ALIVE, NULL);
    follow(relaying, cluster);
    nk_cluster_free(&cluster);
}

/* n1 leads everything, n2 follows. */
static void follow_two(struct relaying *relaying, const char *leader)
{
    struct nk_cluster *cluster;
    nk_cluster_new(&cluster);
    nodes_put(cluster, "n1", 7, NK_MEMBER_ALIVE, "g1:1");
    nodes_put(cluster, "n2", 7, NK_MEMBER_ALIVE, "g2:2");
    for (uint32_t i = 0; i < SHARDS; i++) {
        nodes_shard(cluster, i, leader, "n1,n2");
    }
    follow(relaying, cluster);
    nk_cluster_free(&cluster);
}

static const uint8_t get_bytes[] = "\x0a\x01k";
static const uint8_t put_bytes[] = "\x0a\x01k\x12\x01v";
static const uint8_t put_with_id_bytes[] = "\x0a\x01k\x12\x01v\x22\x02id";

static struct asking get_request(void)
{
    return (struct asking){.request = {.op = GATEWAY_OP_GET,
                                       .message = {get_bytes, sizeof get_bytes - 1},
                                       .deadline_us = UINT64_MAX}};
}

static struct asking put_request(bool idempotency_key)
{
    struct asking asking = {.request = {.op = GATEWAY_OP_PUT,
                                        .message = {put_bytes, sizeof put_bytes - 1},
                                        .deadline_us = UINT64_MAX}};
    if (idempotency_key) {
        asking.request.message = nk_bytes_of(put_with_id_bytes, sizeof put_with_id_bytes - 1);
    }
    return asking;
}

static void accept(struct relaying *relaying, struct asking *asking)
{
    gateway_relay_accept(&relaying->relay, &asking->request, relaying->stage.now_us);
}

static void tick(struct relaying *relaying)
{
    (void)gateway_relay_tick(&relaying->relay, relaying->stage.now_us);
}

static void advance(struct relaying *relaying, uint64_t span_ms)
{
    stage_advance(&relaying->stage, span_ms);
    tick(relaying);
}

static size_t batches(const struct relaying *relaying)
{
    return stage_sent_count(&relaying->stage, NK_FRAME_SHARD_REQUESTS);
}

/* The node that the last batch went to. */
static const char *last_target(const struct relaying *relaying)
{
    cr_assert_gt(relaying->stage.frame_count, 0);
    nk_peer to = relaying->stage.frames[relaying->stage.frame_count - 1].to;
    for (size_t i = 0; i < relaying->stage.link_count; i++) {
        if (relaying->stage.links[i].peer == to) {
            return relaying->stage.links[i].address;
        }
    }
    return "";
}

struct said {
    enum nk_err err;
    const char *message;
    const char *response;
    const char *leader;
};

/* `node` in `session` answers the first request of the last batch. */
static void answer(struct relaying *relaying, const char *node, uint64_t session,
                   const struct said *said)
{
    const batch_message *batch =
        (const batch_message *)stage_sent(&relaying->stage, NK_FRAME_SHARD_REQUESTS);
    cr_assert_not_null(batch);
    reply_message reply = NORIKV__INTERNAL__V1__SHARD_REPLY__INIT;
    reply_message *list[] = {&reply};
    reply.id = batch->requests[0]->id;
    reply.err = (uint32_t)said->err;
    reply.message = (char *)(uintptr_t)(said->message != NULL ? said->message : "");
    reply.leader_node = (char *)(uintptr_t)(said->leader != NULL ? said->leader : "");
    if (said->response != NULL) {
        reply.response.data = (uint8_t *)(uintptr_t)said->response;
        reply.response.len = strlen(said->response);
    }
    replies_message replies = NORIKV__INTERNAL__V1__SHARD_REPLIES__INIT;
    replies.session = session;
    replies.replies = list;
    replies.n_replies = 1;
    struct nk_buf packed = {0};
    size_t size = protobuf_c_message_get_packed_size(&replies.base);
    (void)protobuf_c_message_pack(&replies.base, nk_buf_extend(&packed, size));
    const struct stage_link *link = stage_link(&relaying->stage, node);
    nk_peer from = link != NULL ? link->peer : 999;
    cr_expect(gateway_relay_receive(&relaying->relay, from, nk_buf_bytes(&packed),
                                    relaying->stage.now_us));
    nk_buf_deinit(&packed);
}

static void expect_end(const struct asking *asking, enum nk_err err, const char *text)
{
    cr_expect_eq(asking->ended, 1, "ended %zu times", asking->ended);
    cr_expect_eq(asking->request.err, err, "%s", asking->request.text);
    cr_expect_str_eq(asking->request.text, text);
}

#define NOT_DONE "the deadline passed before there was an answer; nothing was done"
#define UNKNOWN                                                                                    \
    "COMMIT_TIMEOUT: the write was sent and not confirmed in time; it may have been applied, or "  \
    "may yet be"
#define LOST                                                                                       \
    "COMMIT_TIMEOUT: the shardhost that had the write went away; it may have been "                \
    "applied"
#define NO_LEADER "NOT_LEADER: no leader of the key's shard in time; nothing was proposed"
#define STOPPING  "NOT_LEADER: this gateway is stopping; nothing was proposed"

Test(gateway_relay, a_request_goes_to_the_leader_of_its_keys_shard_and_its_answer_back)
{
    struct relaying relaying;
    open_relay(&relaying);
    follow_two(&relaying, "n2");
    struct asking asking = get_request();
    accept(&relaying, &asking);
    tick(&relaying);
    cr_assert_eq(batches(&relaying), 1);
    cr_expect_str_eq(last_target(&relaying), "stage://n2");
    const batch_message *batch =
        (const batch_message *)stage_sent(&relaying.stage, NK_FRAME_SHARD_REQUESTS);
    cr_expect_eq(batch->requests[0]->shard, nk_shard_of_key(nk_bytes_of_string("k"), SHARDS));
    cr_expect_eq(batch->requests[0]->timeout_ms, 5000);
    cr_expect_eq(asking.ended, 0);
    answer(&relaying, "stage://n2", 7, &(struct said){.response = "value"});
    expect_end(&asking, NK_OK, "");
    cr_expect_str_eq(asking.response, "value");
    close_relay(&relaying);
}

Test(gateway_relay, what_a_shardhost_refuses_for_good_is_told_with_its_words)
{
    static const struct {
        struct said said;
        const char *text;
    } cases[] = {
        {{NK_CONFLICT, "version mismatch: expected 1.2, found 1.3", NULL, NULL},
         "version mismatch: expected 1.2, found 1.3"},
        {{NK_BUSY, "OVERLOADED: too many writes", NULL, NULL}, "OVERLOADED: too many writes"},
        {{NK_NO_SPACE, "", NULL, NULL}, "DISK_FULL"},
        {{NK_INVALID, "bad \xff\n", NULL, NULL}, "bad ??"},
        {{NK_FENCED, "SHARD_FENCED: damaged", NULL, NULL}, "SHARD_FENCED: damaged"},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct relaying relaying;
        open_relay(&relaying);
        follow_single(&relaying, 7);
        struct asking asking = put_request(false);
        accept(&relaying, &asking);
        tick(&relaying);
        answer(&relaying, "stage://n1", 7, &cases[i].said);
        expect_end(&asking, cases[i].said.err, cases[i].text);
        close_relay(&relaying);
    }
}

Test(gateway_relay, a_fault_is_told_by_a_number_and_its_words_stay_in_the_log)
{
    struct relaying relaying;
    open_relay(&relaying);
    follow_single(&relaying, 7);
    struct asking asking = get_request();
    accept(&relaying, &asking);
    tick(&relaying);
    answer(&relaying, "stage://n1", 7, &(struct said){.err = NK_IO, .message = "secret path"});
    cr_expect_eq(asking.request.err, NK_IO);
    cr_expect_eq(strncmp(asking.request.text, "internal error, id ", 19), 0);
    cr_expect_eq(strlen(asking.request.text), 19 + 16);
    cr_expect_eq(relaying.stage.log_counts[NK_LOG_ERROR], 1);
    close_relay(&relaying);
}

Test(gateway_relay, what_makes_no_sense_never_leaves)
{
    struct relaying relaying;
    open_relay(&relaying);
    follow_single(&relaying, 7);
    struct asking asking = get_request();
    asking.request.message = nk_bytes_of(NULL, 0);
    accept(&relaying, &asking);
    expect_end(&asking, NK_INVALID, "key is empty; it must have 1 to 16 bytes");
    tick(&relaying);
    cr_expect_eq(batches(&relaying), 0);
    close_relay(&relaying);
}

Test(gateway_relay, a_hint_is_followed_at_once_and_only_once)
{
    struct relaying relaying;
    open_relay(&relaying);
    follow_two(&relaying, "n1");
    struct asking asking = put_request(false);
    accept(&relaying, &asking);
    tick(&relaying);
    cr_expect_str_eq(last_target(&relaying), "stage://n1");
    answer(&relaying, "stage://n1", 7, &(struct said){.err = NK_NOT_LEADER, .leader = "n2"});
    tick(&relaying);
    cr_assert_eq(batches(&relaying), 2);
    cr_expect_str_eq(last_target(&relaying), "stage://n2");
    /* Two that name each other must not play ball with it. */
    answer(&relaying, "stage://n2", 7, &(struct said){.err = NK_NOT_LEADER, .leader = "n1"});
    tick(&relaying);
    cr_expect_eq(batches(&relaying), 2);
    advance(&relaying, 10);
    cr_expect_eq(batches(&relaying), 3);
    cr_expect_eq(asking.ended, 0);
    answer(&relaying, "stage://n1", 7, &(struct said){.response = "done"});
    expect_end(&asking, NK_OK, "");
    close_relay(&relaying);
}

Test(gateway_relay, without_a_hint_it_asks_again_after_pauses_until_the_time_is_over)
{
    struct relaying relaying;
    open_relay(&relaying);
    follow_single(&relaying, 7);
    struct asking asking = put_request(false);
    accept(&relaying, &asking);
    size_t attempts = 0;
    for (size_t ms = 0; ms < 5000; ms++) {
        tick(&relaying);
        if (batches(&relaying) > attempts) {
            attempts++;
            answer(&relaying, "stage://n1", 7, &(struct said){.err = NK_NOT_LEADER});
        }
        cr_assert_eq(asking.ended, 0, "after %zu ms", ms);
        stage_advance(&relaying.stage, 1);
    }
    tick(&relaying);
    expect_end(&asking, NK_NOT_LEADER, NO_LEADER);
    cr_expect_str_eq(asking.request.leader_hint, "g1:7447");
    cr_expect_gt(attempts, 30);
    cr_expect_lt(attempts, 45);
    close_relay(&relaying);
}

/* What the caller is told when its time is over, by what is known then. */
Test(gateway_relay, out_of_time_the_answer_says_whether_it_may_have_been_done)
{
    static const struct {
        bool put;
        bool known; /* somebody to ask */
        enum nk_err err;
        const char *text;
    } cases[] = {
        {true, true, NK_TIMEOUT, UNKNOWN},
        {false, true, NK_EXPIRED, NOT_DONE},
        {true, false, NK_NOT_LEADER, NO_LEADER},
        {false, false, NK_NOT_LEADER, NO_LEADER},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct relaying relaying;
        open_relay(&relaying);
        if (cases[i].known) {
            follow_single(&relaying, 7);
        }
        struct asking asking = cases[i].put ? put_request(true) : get_request();
        asking.request.deadline_us = relaying.stage.now_us + 100 * NK_US_PER_MS;
        accept(&relaying, &asking);
        tick(&relaying);
        cr_expect_eq(batches(&relaying), cases[i].known ? 1 : 0, "case %zu", i);
        advance(&relaying, 99);
        cr_expect_eq(asking.ended, 0, "case %zu", i);
        advance(&relaying, 1);
        expect_end(&asking, cases[i].err, cases[i].text);
        if (cases[i].known) { /* the shardhost is told to forget it */
            const batch_message *batch =
                (const batch_message *)stage_sent(&relaying.stage, NK_FRAME_SHARD_REQUESTS);
            cr_expect_eq(batch->n_cancelled, 1, "case %zu", i);
        }
        close_relay(&relaying);
    }
}

Test(gateway_relay, a_deadline_that_has_passed_is_answered_at_once)
{
    struct relaying relaying;
    open_relay(&relaying);
    follow_single(&relaying, 7);
    struct asking asking = put_request(false);
    asking.request.deadline_us = relaying.stage.now_us;
    accept(&relaying, &asking);
    expect_end(&asking, NK_EXPIRED, NOT_DONE);
    tick(&relaying);
    cr_expect_eq(batches(&relaying), 0);
    close_relay(&relaying);
}

Test(gateway_relay, when_a_shardhost_dies_only_what_is_safe_is_repeated)
{
    static const struct {
        bool put;
        bool idempotency_key;
        bool repeated;
    } cases[] = {{false, false, true}, {true, true, true}, {true, false, false}};
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct relaying relaying;
        open_relay(&relaying);
        follow_single(&relaying, 7);
        struct asking asking = cases[i].put ? put_request(cases[i].idempotency_key) : get_request();
        accept(&relaying, &asking);
        tick(&relaying);
        follow_single(&relaying, 8);
        tick(&relaying);
        if (!cases[i].repeated) {
            expect_end(&asking, NK_TIMEOUT, LOST);
        } else {
            cr_expect_eq(asking.ended, 0, "case %zu", i);
            cr_expect_eq(batches(&relaying), 2, "case %zu", i);
            answer(&relaying, "stage://n1", 8, &(struct said){.response = "again"});
            expect_end(&asking, NK_OK, "");
        }
        close_relay(&relaying);
    }
}

Test(gateway_relay, after_a_lost_attempt_nothing_says_that_a_write_was_not_done)
{
    static const enum nk_err errs[] = {NK_BUSY, NK_NO_SPACE, NK_NO_QUORUM, NK_EXPIRED};
    for (size_t i = 0; i < NK_COUNT_OF(errs); i++) {
        struct relaying relaying;
        open_relay(&relaying);
        follow_single(&relaying, 7);
        struct asking asking = put_request(true);
        accept(&relaying, &asking);
        tick(&relaying);
        follow_single(&relaying, 8);
        tick(&relaying);
        answer(&relaying, "stage://n1", 8, &(struct said){.err = errs[i]});
        expect_end(&asking, NK_TIMEOUT, UNKNOWN);
        close_relay(&relaying);
    }
}

Test(gateway_relay, answers_of_others_and_of_former_lives_are_not_believed)
{
    struct relaying relaying;
    open_relay(&relaying);
    follow_two(&relaying, "n1");
    struct asking asking = put_request(true);
    accept(&relaying, &asking);
    tick(&relaying);
    struct said said = {.response = "wrong"};
    answer(&relaying, "stage://n1", 6, &said);
    answer(&relaying, "stage://n2", 7, &said);
    answer(&relaying, "nobody", 7, &said);
    cr_expect_eq(asking.ended, 0);
    said.response = "right";
    answer(&relaying, "stage://n1", 7, &said);
    expect_end(&asking, NK_OK, "");
    cr_expect_str_eq(asking.response, "right");
    answer(&relaying, "stage://n1", 7, &said); /* twice */
    cr_expect_eq(asking.ended, 1);
    cr_expect(!gateway_relay_receive(&relaying.relay, 1, nk_bytes_of_string("\xff"),
                                     relaying.stage.now_us));
    close_relay(&relaying);
}

Test(gateway_relay, a_full_table_refuses_at_once_and_nothing_was_done)
{
    struct relaying relaying;
    open_relay(&relaying);
    struct asking asking[9];
    for (size_t i = 0; i < NK_COUNT_OF(asking); i++) {
        asking[i] = put_request(false);
        accept(&relaying, &asking[i]);
    }
    expect_end(&asking[8], NK_BUSY,
               "OVERLOADED: this gateway has as many requests in flight as it may");
    cr_expect_eq(asking[7].ended, 0);
    gateway_relay_abandon(&relaying.relay);
    for (size_t i = 0; i < 8; i++) {
        expect_end(&asking[i], NK_NOT_LEADER, NO_LEADER);
    }
    close_relay(&relaying);
}

Test(gateway_relay, a_full_queue_to_the_shardhost_is_overload_and_a_missing_one_is_waited_for)
{
    static const struct {
        enum nk_err err;
        bool ends;
    } cases[] = {{NK_BUSY, true}, {NK_UNAVAILABLE, false}};
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct relaying relaying;
        open_relay(&relaying);
        follow_single(&relaying, 7);
        stage_fail(&relaying.stage, STAGE_NET_SEND, 1, cases[i].err);
        struct asking asking = put_request(false);
        accept(&relaying, &asking);
        tick(&relaying);
        if (cases[i].ends) {
            expect_end(&asking, NK_BUSY, "OVERLOADED: the queue towards the shardhost is full");
        } else {
            cr_expect_eq(asking.ended, 0);
            advance(&relaying, 5);
            cr_expect_eq(batches(&relaying), 1);
        }
        close_relay(&relaying);
    }
}

Test(gateway_relay, a_request_waits_for_a_leader_and_goes_as_soon_as_there_is_one)
{
    struct relaying relaying;
    open_relay(&relaying);
    struct asking asking = get_request();
    accept(&relaying, &asking);
    tick(&relaying);
    advance(&relaying, 4);
    cr_expect_eq(batches(&relaying), 0);
    follow_single(&relaying, 7);
    tick(&relaying); /* before its pause is over */
    cr_expect_eq(batches(&relaying), 1);
    gateway_relay_withdraw(&relaying.relay, &asking.request);
    close_relay(&relaying);
}

Test(gateway_relay, a_withdrawn_request_never_ends_and_its_shardhost_is_told)
{
    struct relaying relaying;
    open_relay(&relaying);
    follow_single(&relaying, 7);
    struct asking asking = put_request(false);
    accept(&relaying, &asking);
    tick(&relaying);
    gateway_relay_withdraw(&relaying.relay, &asking.request);
    gateway_relay_withdraw(&relaying.relay, &asking.request); /* not in any more */
    answer(&relaying, "stage://n1", 7, &(struct said){.response = "late"});
    tick(&relaying);
    cr_expect_eq(asking.ended, 0);
    const batch_message *batch =
        (const batch_message *)stage_sent(&relaying.stage, NK_FRAME_SHARD_REQUESTS);
    cr_expect_eq(batch->n_cancelled, 1);
    close_relay(&relaying);
}

Test(gateway_relay, a_stop_ends_what_was_not_sent_and_lets_the_rest_be_answered)
{
    struct relaying relaying;
    open_relay(&relaying);
    follow_single(&relaying, 7);
    struct asking sent = put_request(false);
    struct asking unsent = put_request(false);
    struct asking refused = put_request(false);
    struct asking late = put_request(false);
    accept(&relaying, &sent);
    tick(&relaying);
    accept(&relaying, &unsent);
    gateway_relay_stop(&relaying.relay);
    expect_end(&unsent, NK_UNAVAILABLE, STOPPING);
    accept(&relaying, &refused);
    expect_end(&refused, NK_UNAVAILABLE, STOPPING);
    gateway_relay_refuse(&late.request);
    cr_expect_eq(late.request.err, NK_UNAVAILABLE);
    cr_expect_str_eq(late.request.text, STOPPING);
    answer(&relaying, "stage://n1", 7, &(struct said){.err = NK_NOT_LEADER}); /* no more attempts */
    expect_end(&sent, NK_UNAVAILABLE, STOPPING);
    close_relay(&relaying);
}

Test(gateway_relay, it_wants_to_be_called_when_the_next_thing_is_due)
{
    struct relaying relaying;
    open_relay(&relaying);
    cr_expect_eq(gateway_relay_tick(&relaying.relay, relaying.stage.now_us), UINT64_MAX);
    struct asking asking = get_request();
    asking.request.deadline_us = relaying.stage.now_us + 7 * NK_US_PER_MS;
    accept(&relaying, &asking);
    cr_expect_eq(gateway_relay_tick(&relaying.relay, relaying.stage.now_us),
                 relaying.stage.now_us + 5 * NK_US_PER_MS); /* the next attempt */
    stage_advance(&relaying.stage, 5);
    cr_expect_eq(gateway_relay_tick(&relaying.relay, relaying.stage.now_us),
                 asking.request.deadline_us);
    close_relay(&relaying);
}

/* Whatever happens in whatever order, each request ends exactly once, and a write without
 * idempotency key is handed to at most one incarnation. */
Test(gateway_relay, every_request_ends_exactly_once_whatever_happens)
{
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct nk_prng prng;
        nk_prng_init(&prng, seed);
        struct relaying relaying;
        open_relay(&relaying);
        uint64_t session = 7;
        follow_single(&relaying, session);
        struct asking asking[200];
        size_t count = 0;
        while (count < NK_COUNT_OF(asking)) {
            switch (nk_prng_below(&prng, 8)) {
            case 0:
                follow_single(&relaying, ++session);
                break;
            case 1:
                stage_fail(&relaying.stage, STAGE_NET_SEND, nk_prng_between(&prng, 1, 3),
                           nk_prng_below(&prng, 2) == 0 ? NK_BUSY : NK_UNAVAILABLE);
                break;
            case 2:
            case 3:
                if (relaying.stage.frame_count > 0) {
                    static const enum nk_err errs[] = {NK_OK, NK_OK, NK_NOT_LEADER, NK_BUSY, NK_IO};
                    struct said said = {
                        .err = errs[nk_prng_below(&prng, NK_COUNT_OF(errs))],
                        .leader = nk_prng_below(&prng, 2) == 0 ? "n1" : "",
                    };
                    const batch_message *batch =
                        (const batch_message *)stage_sent(&relaying.stage, NK_FRAME_SHARD_REQUESTS);
                    if (batch->n_requests > 0) {
                        answer(&relaying, "stage://n1", session, &said);
                    }
                }
                break;
            case 4:
                advance(&relaying, nk_prng_below(&prng, 300));
                break;
            default:
                asking[count] = nk_prng_below(&prng, 2) == 0
                                    ? get_request()
                                    : put_request(nk_prng_below(&prng, 2) == 0);
                if (nk_prng_below(&prng, 4) == 0) {
                    asking[count].request.deadline_us =
                        relaying.stage.now_us + nk_prng_below(&prng, 400 * NK_US_PER_MS);
                }
                accept(&relaying, &asking[count]);
                count++;
                tick(&relaying);
                break;
            }
        }
        gateway_relay_stop(&relaying.relay);
        gateway_relay_abandon(&relaying.relay);
        for (size_t i = 0; i < count; i++) {
            cr_assert_eq(asking[i].ended, 1, "seed %llu, request %zu", (unsigned long long)seed, i);
            cr_assert_null(asking[i].request.entry);
        }
        close_relay(&relaying);
    }
}
