/* Writes on their way into the log. */

#include <criterion/criterion.h>

#include "common/base/limits.h"
#include "proto/norikv/internal/v1/gossip.pb-c.h"
#include "services/shardhost/shardhost.h"

#include "hosting.h"

TestSuite(shardhost_shard, .timeout = 20);

#define PUT    NORIKV__INTERNAL__V1__SHARD_OP__SHARD_OP_PUT
#define DELETE NORIKV__INTERNAL__V1__SHARD_OP__SHARD_OP_DELETE

Test(shardhost_shard, a_write_is_answered_after_it_is_durable_and_not_before)
{
    struct hosting hosting;
    hosting_open(&hosting);
    uint64_t first = hosting_send_put(&hosting, "a", "1");
    hosting_settle(&hosting);
    cr_expect_eq(hosting_err(&hosting, first), NK_OK);
    uint64_t put = hosting_send_put(&hosting, "a", "2");
    hosting_tick(&hosting);
    hosting_tick(&hosting);
    cr_expect_null(hosting_reply(&hosting, put));
    hosting_settle(&hosting);
    cr_expect_eq(hosting_err(&hosting, put), NK_OK);
    hosting_close(&hosting);
}

Test(shardhost_shard, an_answered_write_is_there_after_a_restart)
{
    struct hosting hosting;
    hosting_open(&hosting);
    uint64_t put = hosting_send_put(&hosting, "a", "1");
    hosting_settle(&hosting);
    cr_assert_eq(hosting_err(&hosting, put), NK_OK);
    hosting_restart(&hosting);
    uint64_t get = hosting_send_get(&hosting, "a", "");
    hosting_settle(&hosting);
    cr_expect_str_eq(hosting_value(&hosting, get), "1");
    hosting_close(&hosting);
}

/* What cannot be carried out must not get into the log: from there it would stop the shard on every
 * replica, at once and after each restart.  A gateway reads requests more leniently than the
 * library that carries them out, as with tags that are longer than needed. */
Test(shardhost_shard, a_request_that_cannot_be_carried_out_is_refused_and_leaves_no_trace)
{
    static uint8_t long_key[NK_KEY_BYTES_MAX + 4] = {0x0a, 0x81, 0x08};
    static uint8_t long_value[NK_VALUE_BYTES_MAX + 8] = {0x0a, 0x01, 'a', 0x12, 0x81, 0x80, 0x40};
    static const struct {
        Norikv__Internal__V1__ShardOp op;
        struct nk_bytes request;
    } cases[] = {
        {PUT, {NULL, 0}},
        {DELETE, {NULL, 0}},
        {PUT,
         {(const uint8_t *)"\x0a\x02"
                           "a",
          3}}, /* ends inside the key */
        {PUT,
         {(const uint8_t *)"\x0a\x01"
                           "a\x18",
          4}}, /* ends inside ttl_ms */
        {PUT,
         {(const uint8_t *)"\x8a\x80\x80\x80\x80\x00\x01"
                           "a",
          8}}, /* a tag of six bytes */
        {DELETE,
         {(const uint8_t *)"\x8a\x80\x80\x80\x80\x00\x01"
                           "a",
          8}},
        {PUT, {(const uint8_t *)"\x0b", 1}}, /* a group */
        {PUT, {long_key, sizeof long_key}},
        {DELETE, {long_key, sizeof long_key}},
        {PUT, {long_value, sizeof long_value}},
    };
    struct hosting hosting;
    hosting_open(&hosting);
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        /* The first one comes before there is a leader and waits for it. */
        uint64_t bad = hosting_send(&hosting, cases[i].op, cases[i].request);
        hosting_settle(&hosting);
        cr_expect_eq(hosting_err(&hosting, bad), NK_INVALID, "case %zu: %s", i,
                     nk_err_name(hosting_err(&hosting, bad)));
        uint64_t put = hosting_send_put(&hosting, "k", "v");
        hosting_settle(&hosting);
        cr_expect_eq(hosting_err(&hosting, put), NK_OK, "case %zu: the shard is lost", i);
    }
    hosting_restart(&hosting);
    uint64_t get = hosting_send_get(&hosting, "k", "");
    hosting_settle(&hosting);
    cr_expect_str_eq(hosting_value(&hosting, get), "v");
    hosting_close(&hosting);
}

static uint64_t send_put_with_ttl(struct hosting *hosting, const char *key, uint64_t ttl_ms)
{
    Norikv__V1__PutRequest put = NORIKV__V1__PUT_REQUEST__INIT;
    put.key = (ProtobufCBinaryData){strlen(key), (uint8_t *)(uintptr_t)key};
    put.ttl_ms = ttl_ms;
    uint8_t packed[64];
    cr_assert_leq(norikv__v1__put_request__get_packed_size(&put), sizeof packed);
    size_t size = norikv__v1__put_request__pack(&put, packed);
    return hosting_send(hosting, PUT, nk_bytes_of(packed, size));
}

/* Makes "old" lie in a table, out of every cache, and "short" in the memtable, past its time. */
static void fill(struct hosting *hosting)
{
    static char value[3000];
    memset(value, 'v', sizeof value - 1);
    hosting->stage.config.lsm.memtable_bytes = 8192;
    hosting->stage.config.lsm.block_cache_bytes = 0;
    hosting_restart(hosting);
    (void)hosting_send_put(hosting, "old", value);
    hosting_settle(hosting);
    (void)hosting_send_put(hosting, "next", value);
    (void)hosting_send_put(hosting, "last", value);
    hosting_settle(hosting);
    (void)send_put_with_ttl(hosting, "short", 10);
    hosting_settle(hosting);
    stage_advance(&hosting->stage, 1000);
}

Test(shardhost_shard, a_fence_leaves_writes_unknown_and_gets_undone)
{
    struct hosting hosting;
    hosting_open(&hosting);
    fill(&hosting);
    uint64_t fails = hosting_send_get(&hosting, "old", "");
    uint64_t waits = hosting_send_get(&hosting, "short", ""); /* for log time to move on */
    uint64_t put = hosting_send_put(&hosting, "a", "1");
    hosting_tick(&hosting);
    cr_assert_null(hosting_reply(&hosting, waits));
    sim_fs_fail_at(hosting.stage.fs, 1, NK_IO);
    hosting_settle(&hosting);
    cr_expect_eq(hosting_err(&hosting, fails), NK_FENCED);
    cr_expect_eq(hosting_err(&hosting, waits), NK_FENCED);
    cr_expect_eq(hosting_err(&hosting, put), NK_TIMEOUT);
    hosting_close(&hosting);
}

/* Gossip has accepted the role, so that its reports are sent. */
static void register_role(struct hosting *hosting)
{
    const struct stage_link *link = stage_link(&hosting->stage, "ipc:///data/run/gossip.bus");
    cr_assert_not_null(link);
    Norikv__Internal__V1__Registered answer;
    norikv__internal__v1__registered__init(&answer);
    answer.session = hosting->stage.context.session;
    answer.publisher = 50;
    answer.lease_ms = 600000;
    answer.listen_address = (char *)(uintptr_t) "stage://gossip.pub";
    stage_deliver(&shardhost_role_ops, hosting->role, link->peer, NK_FRAME_REGISTERED,
                  &answer.base);
    hosting_settle(hosting);
}

static const char *leader_reported(struct hosting *hosting)
{
    const Norikv__Internal__V1__ShardReport *report =
        (const Norikv__Internal__V1__ShardReport *)stage_sent(&hosting->stage,
                                                              NK_FRAME_SHARD_REPORT);
    cr_assert_not_null(report);
    cr_assert_eq(report->n_shards, 1);
    cr_assert_eq(report->shards[0]->shard, HOSTING_SHARD);
    return report->shards[0]->leader_node;
}

Test(shardhost_shard, a_fenced_shard_says_so_everywhere)
{
    struct hosting hosting;
    hosting_open(&hosting);
    fill(&hosting);
    register_role(&hosting);
    struct stage *stage = &hosting.stage;
    struct nk_health_row *row = nk_health_row(stage->context.health, HOSTING_SHARD);
    cr_expect_str_eq(leader_reported(&hosting), "n1");
    cr_expect_eq(stage_metric(stage, "raft_leader{shard_id=\"3\"}"), 1);
    cr_expect_eq(stage_metric(stage, "shardhost_fenced_shards"), 0);
    cr_expect_eq(nk_health_status(stage->context.health), NK_HEALTHY);
    uint64_t fails = hosting_send_get(&hosting, "old", "");
    sim_fs_fail_at(stage->fs, 1, NK_IO);
    hosting_settle(&hosting);
    cr_expect_eq(hosting_err(&hosting, fails), NK_FENCED);
    cr_expect_str_eq(leader_reported(&hosting), "");
    cr_expect_eq(stage_metric(stage, "raft_leader{shard_id=\"3\"}"), 0);
    cr_expect_eq(stage_metric(stage, "shardhost_fenced_shards"), 1);
    cr_expect_eq(nk_health_status(stage->context.health), NK_DEGRADED);
    cr_expect_eq(atomic_load(&row->status), NK_SHARD_UNAVAILABLE);
    cr_expect_not(atomic_load(&row->is_leader));
    uint64_t put = hosting_send_put(&hosting, "a", "1"); /* answered, not left to wait */
    hosting_settle(&hosting);
    cr_expect_eq(hosting_err(&hosting, put), NK_FENCED);
    hosting_close(&hosting);
}
