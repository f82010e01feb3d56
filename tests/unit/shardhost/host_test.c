/* Start, rounds of the log, background work, and what happens when the disk fails. */

#include <criterion/criterion.h>
#include <stdio.h>

#include "common/base/limits.h"
#include "services/shardhost/shardhost.h"

#include "hosting.h"

TestSuite(shardhost_host, .timeout = 120);

static const struct nk_role_ops *const ops = &shardhost_role_ops;

#define GET NORIKV__INTERNAL__V1__SHARD_OP__SHARD_OP_GET

/* A start that may fail; returns its error, `reason` has its words. */
static enum nk_err try_start(struct stage *stage, void **out_role, char *memory, size_t size)
{
    struct nk_text reason;
    nk_text_init(&reason, memory, size);
    return ops->init(&stage->context, out_role, &reason);
}

/* Ends the role as a killed process ends: nothing more reaches the disk. */
static void kill_role(struct hosting *hosting)
{
    sim_fs_cut_power_after(hosting->stage.fs, 0);
    (void)stage_run_jobs(&hosting->stage);
    ops->deinit(&hosting->role);
    sim_fs_kill(hosting->stage.fs);
}

Test(shardhost_host, data_of_another_number_of_shards_is_refused_with_both_numbers)
{
    struct hosting hosting;
    hosting_open(&hosting);
    hosting_settle(&hosting);
    ops->deinit(&hosting.role);
    stage_restart(&hosting.stage);
    hosting.stage.config.cluster.total_shards = 32;
    char memory[256];
    cr_expect_eq(try_start(&hosting.stage, &hosting.role, memory, sizeof memory), NK_INVALID);
    cr_expect_null(hosting.role);
    cr_expect_not_null(strstr(memory, "created with 16 shards, the configuration says 32"), "%s",
                       memory);
    stage_close(&hosting.stage);
}

Test(shardhost_host, an_identity_that_cannot_be_read_or_kept_stops_the_start)
{
    static const struct {
        enum stage_call call;
        enum nk_err err;
    } cases[] = {{STAGE_META_GET, NK_IO}, {STAGE_META_PUT, NK_IO}, {STAGE_META_PUT, NK_NO_SPACE}};
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct stage stage;
        stage_open(&stage);
        stage_fail(&stage, cases[i].call, 1, cases[i].err);
        char memory[256];
        void *role = &stage;
        cr_expect_eq(try_start(&stage, &role, memory, sizeof memory), cases[i].err, "case %zu", i);
        cr_expect_null(role, "case %zu", i);
        cr_expect_not_null(strstr(memory, "identity"), "case %zu", i);
        stage_close(&stage);
    }
    struct stage stage;
    stage_open(&stage);
    const struct nk_meta *meta = &stage.env.meta;
    cr_assert_eq(
        meta->ops->put(meta->ctx, nk_bytes_of_string("identity"), nk_bytes_of_string("short")),
        NK_OK);
    char memory[256];
    void *role;
    cr_expect_eq(try_start(&stage, &role, memory, sizeof memory), NK_CORRUPT);
    stage_close(&stage);
}

/* Long enough that a few fill a memtable. */
static const char *long_value(void)
{
    static char value[4000];
    memset(value, 'v', sizeof value - 1);
    return value;
}

/* Puts one key after the other, until one is not answered with NK_OK; memtables are flushed on the
 * way. */
static size_t put_many(struct hosting *hosting, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char key[24];
        (void)snprintf(key, sizeof key, "k%zu", i);
        uint64_t put = hosting_send_put(hosting, key, long_value());
        hosting_settle(hosting);
        if (hosting_reply(hosting, put) == NULL || hosting_err(hosting, put) != NK_OK) {
            return i;
        }
    }
    return count;
}

static bool has_table(const struct hosting *hosting)
{
    struct nk_buf names = {0};
    sim_fs_list(hosting->stage.fs, "lsm/shard-3", &names);
    nk_buf_append_u8(&names, '\0');
    bool found = strstr((const char *)names.data, ".sst") != NULL;
    nk_buf_deinit(&names);
    return found;
}

static void expect_all(struct hosting *hosting, size_t count, uint64_t nth)
{
    for (size_t i = 0; i < count; i++) {
        char key[24];
        (void)snprintf(key, sizeof key, "k%zu", i);
        uint64_t get = hosting_send_get(hosting, key, "");
        hosting_settle(hosting);
        cr_assert_str_eq(hosting_value(hosting, get), long_value(), "operation %llu: %s is lost",
                         (unsigned long long)nth, key);
    }
}

/* The 1st, 2nd, 3rd ... call to the disk fails while puts are served: what was answered is there
 * after the next start, and the process has said that it must end, or went on. */
Test(shardhost_host, whatever_disk_call_fails_no_answered_write_is_lost)
{
    bool met = true;
    uint64_t calls = 0;
    for (uint64_t nth = 1; met; nth++) {
        struct hosting hosting;
        hosting_open(&hosting);
        uint64_t before = sim_fs_operations(hosting.stage.fs);
        sim_fs_fail_at(hosting.stage.fs, nth, NK_IO);
        size_t answered = put_many(&hosting, 6);
        met = sim_fs_operations(hosting.stage.fs) >= before + nth;
        cr_expect(met || has_table(&hosting)); /* else no flush was among the calls */
        char memory[256];
        struct nk_text reason;
        nk_text_init(&reason, memory, sizeof memory);
        enum nk_err fault = ops->fault(hosting.role, &reason);
        if (answered < 6 && fault == NK_OK) { /* a shard that could not be opened is tried again */
            answered = put_many(&hosting, 6);
            cr_expect_eq(answered, 6, "operation %llu: %zu answered", (unsigned long long)nth,
                         answered);
        }
        if (fault != NK_OK) {
            cr_expect_neq(memory[0], '\0');
            cr_expect_eq(nk_health_status(hosting.stage.context.health), NK_UNHEALTHY);
        }
        kill_role(&hosting);
        stage_restart(&hosting.stage);
        cr_assert_eq(try_start(&hosting.stage, &hosting.role, memory, sizeof memory), NK_OK,
                     "operation %llu: %s", (unsigned long long)nth, memory);
        hosting_meet(&hosting);
        expect_all(&hosting, answered, nth);
        hosting_close(&hosting);
        calls = nth;
    }
    cr_expect_gt(calls, 30); /* opening, rounds, a flush with its manifest */
}

/* The same for the calls of a start. */
Test(shardhost_host, whatever_disk_call_of_a_start_fails_the_next_start_has_everything)
{
    bool met = true;
    for (uint64_t nth = 1; met; nth++) {
        struct hosting hosting;
        hosting_open(&hosting);
        cr_assert_eq(put_many(&hosting, 4), 4);
        kill_role(&hosting);
        stage_restart(&hosting.stage);
        uint64_t before = sim_fs_operations(hosting.stage.fs);
        sim_fs_fail_at(hosting.stage.fs, nth, NK_IO);
        char memory[256];
        enum nk_err err = try_start(&hosting.stage, &hosting.role, memory, sizeof memory);
        met = sim_fs_operations(hosting.stage.fs) >= before + nth;
        if (err == NK_OK) {
            kill_role(&hosting);
        } else {
            cr_expect_eq(err, NK_IO, "operation %llu: %s", (unsigned long long)nth, memory);
            cr_expect_null(hosting.role);
            cr_expect_neq(memory[0], '\0');
            sim_fs_kill(hosting.stage.fs);
        }
        stage_restart(&hosting.stage);
        cr_assert_eq(try_start(&hosting.stage, &hosting.role, memory, sizeof memory), NK_OK,
                     "operation %llu: %s", (unsigned long long)nth, memory);
        hosting_meet(&hosting);
        expect_all(&hosting, 4, nth);
        hosting_close(&hosting);
    }
}

Test(shardhost_host, below_the_reserve_puts_are_refused_and_reads_and_deletes_go_on)
{
    struct hosting hosting;
    hosting_open(&hosting);
    cr_assert_eq(put_many(&hosting, 1), 1);
    hosting.stage.config.disk.reserve_bytes = UINT64_MAX;
    stage_advance(&hosting.stage, 1000);
    hosting_settle(&hosting);
    cr_expect_eq(nk_health_status(hosting.stage.context.health), NK_DEGRADED);
    uint64_t put = hosting_send_put(&hosting, "k0", "other");
    uint64_t get = hosting_send_get(&hosting, "k0", "");
    uint64_t deleted = hosting_send(&hosting, NORIKV__INTERNAL__V1__SHARD_OP__SHARD_OP_DELETE,
                                    nk_bytes_of_string("\x0a\x01x"));
    hosting_settle(&hosting);
    cr_expect_eq(hosting_err(&hosting, put), NK_NO_SPACE);
    cr_expect_str_eq(hosting_value(&hosting, get), long_value());
    cr_expect_eq(hosting_err(&hosting, deleted), NK_OK);
    hosting.stage.config.disk.reserve_bytes = 0; /* by itself, within a second */
    stage_advance(&hosting.stage, 1000);
    hosting_settle(&hosting);
    put = hosting_send_put(&hosting, "k0", "other");
    hosting_settle(&hosting);
    cr_expect_eq(hosting_err(&hosting, put), NK_OK);
    cr_expect_eq(nk_health_status(hosting.stage.context.health), NK_HEALTHY);
    hosting_close(&hosting);
}

Test(shardhost_host, a_full_worker_only_delays_a_round)
{
    struct hosting hosting;
    hosting_open(&hosting);
    cr_assert_eq(put_many(&hosting, 1), 1);
    stage_fail(&hosting.stage, STAGE_WORKER_SUBMIT, 1, NK_BUSY);
    uint64_t put = hosting_send_put(&hosting, "a", "1");
    hosting_tick(&hosting);
    cr_expect_null(hosting_reply(&hosting, put));
    stage_advance(&hosting.stage, 1);
    hosting_settle(&hosting);
    cr_expect_eq(hosting_err(&hosting, put), NK_OK);
    hosting_close(&hosting);
}

Test(shardhost_host, requests_that_make_no_sense_or_come_too_late_have_no_effect)
{
    struct hosting hosting;
    hosting_open(&hosting);
    cr_assert_eq(put_many(&hosting, 1), 1);
    ops->receive(hosting.role, hosting.gateway, nk_bytes_of_string("garbage"));
    cr_expect_eq(stage_metric(&hosting.stage, "shardhost_dropped_frames_total"), 1);
    uint64_t unknown =
        hosting_send(&hosting, (Norikv__Internal__V1__ShardOp)77, nk_bytes_of(NULL, 0));
    /* Meant for a former life: nobody is answered, since nobody of now has asked. */
    hosting.session--;
    uint64_t former = hosting_send_put(&hosting, "k0", "stale");
    hosting.session++;
    hosting_settle(&hosting);
    cr_expect_eq(hosting_err(&hosting, unknown), NK_INVALID);
    cr_expect_null(hosting_reply(&hosting, former));
    expect_all(&hosting, 1, 0);
    hosting_close(&hosting);
}

Test(shardhost_host, a_stop_refuses_what_is_new_and_finishes_what_is_under_way)
{
    struct hosting hosting;
    hosting_open(&hosting);
    cr_assert_eq(put_many(&hosting, 1), 1);
    uint64_t put = hosting_send_put(&hosting, "a", "1");
    hosting_tick(&hosting);
    ops->stop(hosting.role);
    uint64_t late = hosting_send(&hosting, GET,
                                 nk_bytes_of_string("\x0a\x01"
                                                    "a"));
    cr_expect(!ops->stopped(hosting.role));
    hosting_settle(&hosting);
    cr_expect_eq(hosting_err(&hosting, late), NK_UNAVAILABLE);
    cr_expect_eq(hosting_err(&hosting, put), NK_OK);
    cr_expect(ops->stopped(hosting.role));
    const char *reason;
    cr_expect(!nk_health_ready(hosting.stage.context.health, &reason));
    cr_expect_str_eq(reason, "stopping");
    hosting_close(&hosting);
}

/* Once a second what has waited past its deadline is dropped: the gateway has answered. */
Test(shardhost_host, what_waits_past_its_deadline_is_dropped)
{
    struct hosting hosting;
    hosting_open(&hosting);
    uint64_t put = hosting_send_put(&hosting, "a", "1"); /* waits for a leader */
    stage_advance(&hosting.stage, 1000);
    hosting_settle(&hosting);
    cr_expect_null(hosting_reply(&hosting, put));
    uint64_t get = hosting_send_get(&hosting, "a", "");
    hosting_settle(&hosting);
    cr_expect_str_eq(hosting_value(&hosting, get), "");
    hosting_close(&hosting);
}
