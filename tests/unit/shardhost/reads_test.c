/* Where a get may read. */

#include <criterion/criterion.h>

#include "hosting.h"

TestSuite(shardhost_reads, .timeout = 20);

/* A leader that has just started has not applied yet what its log holds: minutes may lie between
 * that and what its tables say. */
Test(shardhost_reads, only_stale_ok_is_answered_before_a_new_leader_has_applied_its_log)
{
    static const struct {
        const char *consistency;
        bool waits;
    } cases[] = {
        {"", true},
        {"lease", true},
        {"linearizable", true},
        {"strong", true},
        {"bounded_staleness", true},
        {"stale_ok", false},
        {"eventual", false},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct hosting hosting;
        hosting_open(&hosting);
        (void)hosting_send_put(&hosting, "a", "1");
        hosting_settle(&hosting);
        hosting_restart(&hosting);
        stage_advance(&hosting.stage, 600000);
        hosting_tick(&hosting);
        (void)stage_run_jobs(&hosting.stage); /* its vote is durable: it leads */
        uint64_t get = hosting_send_get(&hosting, "a", cases[i].consistency);
        hosting_tick(&hosting);
        cr_expect_eq(hosting_reply(&hosting, get) == NULL, cases[i].waits, "case %zu", i);
        hosting_settle(&hosting);
        cr_expect(!cases[i].waits || strcmp(hosting_value(&hosting, get), "1") == 0, "case %zu", i);
        hosting_close(&hosting);
    }
}

Test(shardhost_reads, a_get_that_no_gateway_sends_is_refused)
{
    static const struct nk_bytes requests[] = {
        {(const uint8_t *)"\x0a\x02"
                          "a",
         3},
        {(const uint8_t *)"\x0a\x01"
                          "a\x12\x03"
                          "any",
         8},
    };
    struct hosting hosting;
    hosting_open(&hosting);
    for (size_t i = 0; i < NK_COUNT_OF(requests); i++) {
        uint64_t get =
            hosting_send(&hosting, NORIKV__INTERNAL__V1__SHARD_OP__SHARD_OP_GET, requests[i]);
        hosting_settle(&hosting);
        cr_expect_eq(hosting_err(&hosting, get), NK_INVALID, "case %zu", i);
    }
    hosting_close(&hosting);
}

/* ---- Keys past their time by the leader's clock ---- */

/* Two keys that a shard has, of which neither is known to be past its time, and 600 ms later. */
static void open_with_expiring_keys(struct hosting *hosting)
{
    hosting_open(hosting);
    (void)hosting_send_put_for(hosting, "early", 500);
    (void)hosting_send_put_for(hosting, "late", 900);
    hosting_settle(hosting);
    stage_advance(&hosting->stage, 600);
    hosting_settle(hosting);
}

Test(shardhost_reads, gets_of_keys_past_their_time_share_one_entry_of_the_log)
{
    struct hosting hosting;
    open_with_expiring_keys(&hosting);
    uint64_t before =
        stage_metric(&hosting.stage, "raft_commit_index{shard_id=\"3\",node_id=\"n1\"}");
    uint64_t gets[200];
    for (size_t i = 0; i < NK_COUNT_OF(gets); i++) {
        gets[i] = hosting_send_get(&hosting, "early", i % 2 == 0 ? "" : "linearizable");
    }
    hosting_settle(&hosting);
    for (size_t i = 0; i < NK_COUNT_OF(gets); i++) {
        cr_expect_str_eq(hosting_value(&hosting, gets[i]), "", "get %zu", i);
    }
    cr_expect_eq(stage_metric(&hosting.stage, "raft_commit_index{shard_id=\"3\",node_id=\"n1\"}"),
                 before + 1);
    uint64_t alive = hosting_send_get(&hosting, "late", "");
    hosting_settle(&hosting);
    cr_expect_str_eq(hosting_value(&hosting, alive), "for a while");
    hosting_close(&hosting);
}

/* The entry under way may be too old for a key that has run out since: then one more is needed, and
 * it comes after the first. */
Test(shardhost_reads, a_key_that_ran_out_after_the_entry_was_made_waits_for_the_next_one)
{
    struct hosting hosting;
    open_with_expiring_keys(&hosting);
    uint64_t before = stage_metric(&hosting.stage, "wal_records_total");
    uint64_t early = hosting_send_get(&hosting, "early", "");
    hosting_tick(&hosting); /* its entry is on the way to the disk */
    stage_advance(&hosting.stage, 350);
    uint64_t late[20];
    for (size_t i = 0; i < NK_COUNT_OF(late); i++) {
        late[i] = hosting_send_get(&hosting, "late", "");
    }
    hosting_tick(&hosting);
    (void)stage_run_jobs(&hosting.stage);
    cr_expect_eq(stage_metric(&hosting.stage, "wal_records_total"), before + 1);
    hosting_settle(&hosting);
    cr_expect_eq(stage_metric(&hosting.stage, "wal_records_total"), before + 2);
    cr_expect_str_eq(hosting_value(&hosting, early), "");
    for (size_t i = 0; i < NK_COUNT_OF(late); i++) {
        cr_expect_str_eq(hosting_value(&hosting, late[i]), "", "get %zu", i);
    }
    hosting_close(&hosting);
}
