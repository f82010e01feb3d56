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
