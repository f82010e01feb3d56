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
        cr_assert_str_eq(hosting_value(hosting, get), hosting_long_value(),
                         "operation %llu: %s is lost", (unsigned long long)nth, key);
    }
}

static bool is_fenced(struct hosting *hosting)
{
    uint64_t get = hosting_send_get(hosting, "k0", "");
    hosting_settle(hosting);
    return hosting_reply(hosting, get) != NULL && hosting_err(hosting, get) == NK_FENCED;
}

/* The 1st, 2nd, 3rd ... call to the disk fails while puts are served: what was answered is there
 * after the next start, and the process has said that it must end, or the shard is fenced, or all
 * went on. */
Test(shardhost_host, whatever_disk_call_fails_no_answered_write_is_lost)
{
    bool met = true;
    uint64_t calls = 0;
    for (uint64_t nth = 1; met; nth++) {
        struct hosting hosting;
        hosting_open(&hosting);
        uint64_t before = sim_fs_operations(hosting.stage.fs);
        sim_fs_fail_at(hosting.stage.fs, nth, NK_IO);
        size_t answered = hosting_put_many(&hosting, 6);
        met = sim_fs_operations(hosting.stage.fs) >= before + nth;
        cr_expect(met || has_table(&hosting)); /* else no flush was among the calls */
        char memory[256];
        struct nk_text reason;
        nk_text_init(&reason, memory, sizeof memory);
        enum nk_err fault = ops->fault(hosting.role, &reason);
        /* A shard that could not be opened is tried again. */
        if (answered < 6 && fault == NK_OK && !is_fenced(&hosting)) {
            answered = hosting_put_many(&hosting, 6);
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
        cr_assert_eq(hosting_put_many(&hosting, 4), 4);
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
    cr_assert_eq(hosting_put_many(&hosting, 1), 1);
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
    cr_expect_str_eq(hosting_value(&hosting, get), hosting_long_value());
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

#define WARNINGS(hosting) ((hosting)->stage.log_counts[NK_LOG_WARN])

/* No reserve is asked for, but the log finds no room: what a look at the free space says does not
 * end that, only a round that is written does. */
Test(shardhost_host, a_round_without_room_refuses_puts_until_a_round_is_written)
{
    struct hosting hosting;
    hosting_open(&hosting);
    cr_assert_eq(hosting_put_many(&hosting, 1), 1);
    uint64_t put = hosting_send_put(&hosting, "a", "1");
    for (size_t i = 0; i < 3; i++) {
        hosting_tick(&hosting); /* begins the round, or tries it again */
        sim_fs_fail_at(hosting.stage.fs, 1, NK_NO_SPACE);
        cr_assert_eq(stage_run_jobs(&hosting.stage), 1, "try %zu", i);
        stage_advance(&hosting.stage, 999);
        hosting_tick(&hosting);
        cr_expect_eq(nk_health_status(hosting.stage.context.health), NK_DEGRADED, "try %zu", i);
        uint64_t refused = hosting_send_put(&hosting, "b", "1");
        hosting_tick(&hosting);
        cr_expect_eq(hosting_err(&hosting, refused), NK_NO_SPACE, "try %zu", i);
        cr_expect_eq(WARNINGS(&hosting), 1, "try %zu", i);
        stage_advance(&hosting.stage, 1);
    }
    hosting_settle(&hosting);
    cr_expect_eq(nk_health_status(hosting.stage.context.health), NK_HEALTHY);
    cr_expect_eq(WARNINGS(&hosting), 2);
    cr_expect_str_eq(hosting.stage.log_message, "disk has room again: puts are taken");
    uint64_t taken = hosting_send_put(&hosting, "b", "2");
    hosting_settle(&hosting);
    cr_expect_eq(hosting_err(&hosting, taken), NK_OK);
    cr_expect(hosting_reply(&hosting, put) == NULL || hosting_err(&hosting, put) == NK_OK);
    hosting_close(&hosting);
}

/* Whichever call finds no room, of a round, a flush or a compaction: each episode has a beginning
 * and an end in the log, and puts go on afterwards. */
Test(shardhost_host, a_full_disk_is_told_once_and_its_end_once)
{
    bool met = true;
    size_t episodes = 0;
    for (uint64_t nth = 1; met; nth++) {
        struct hosting hosting;
        hosting_open(&hosting);
        cr_assert_eq(hosting_put_many(&hosting, 1), 1);
        uint64_t before = sim_fs_operations(hosting.stage.fs);
        sim_fs_fail_at(hosting.stage.fs, nth, NK_NO_SPACE);
        (void)hosting_put_many(&hosting, 6);
        met = sim_fs_operations(hosting.stage.fs) >= before + nth;
        uint64_t begun = WARNINGS(&hosting);
        cr_expect_leq(begun, 2, "operation %llu", (unsigned long long)nth);
        episodes += begun > 0;
        for (size_t i = 0; i < 3; i++) {
            stage_advance(&hosting.stage, 1000);
            hosting_settle(&hosting);
        }
        cr_expect_eq(WARNINGS(&hosting), begun > 0 ? 2 : 0, "operation %llu",
                     (unsigned long long)nth);
        cr_expect_eq(nk_health_status(hosting.stage.context.health), NK_HEALTHY);
        cr_expect_eq(hosting_put_many(&hosting, 6), 6, "operation %llu", (unsigned long long)nth);
        hosting_close(&hosting);
    }
    cr_expect_gt(episodes, 3);
}

/* A put of a value of about `NK_VALUE_BYTES_MAX`, to one shard after the other. */
static uint64_t send_large_put(struct hosting *hosting)
{
    static char value[NK_VALUE_BYTES_MAX];
    memset(value, 'v', sizeof value - 1);
    hosting->shard = (hosting->shard + 1) % hosting->stage.config.cluster.total_shards;
    return hosting_send_put(hosting, "large", value);
}

/* Every shard leads. */
static void open_with_leaders(struct hosting *hosting)
{
    hosting_open(hosting);
    for (uint32_t i = 0; i < hosting->stage.config.cluster.total_shards; i++) {
        hosting->shard = i;
        uint64_t put = hosting_send_put(hosting, "first", "1");
        hosting_settle(hosting);
        cr_assert_eq(hosting_err(hosting, put), NK_OK);
    }
}

static uint64_t pending_bytes(struct hosting *hosting)
{
    stage_advance(&hosting->stage, 1000); /* the housekeeping sets the gauge */
    hosting_tick(hosting);
    return stage_metric(&hosting->stage, "shardhost_pending_bytes");
}

/* A round that never ends, as on a disk that hangs: jobs do not run. */
Test(shardhost_host, a_hanging_disk_takes_no_more_than_two_rounds_however_long_callers_go_on)
{
    struct hosting hosting;
    open_with_leaders(&hosting);
    (void)hosting_send_put(&hosting, "a", "1");
    hosting_tick(&hosting); /* its round hangs */
    uint64_t bytes[4];
    for (size_t i = 0; i < NK_COUNT_OF(bytes); i++) {
        for (size_t j = 0; j < 48; j++) {
            (void)send_large_put(&hosting);
        }
        bytes[i] = pending_bytes(&hosting); /* a second later: all callers have given up */
    }
    /* Entries that are proposed, and their copies on the way to the log. */
    cr_expect_leq(bytes[0], 2 * (NK_SHARDHOST_ROUND_BYTES_MAX + 2 * NK_MIB));
    cr_expect_geq(bytes[0], 2 * NK_SHARDHOST_ROUND_BYTES_MAX);
    cr_expect_eq(bytes[3], bytes[0]);
    cr_expect_eq(stage_metric(&hosting.stage, "shardhost_pending_requests"), 0);
    hosting_settle(&hosting);
    cr_expect_lt(pending_bytes(&hosting), NK_MIB);
    uint64_t put = hosting_send_put(&hosting, "a", "2");
    hosting_settle(&hosting);
    cr_expect_eq(hosting_err(&hosting, put), NK_OK);
    hosting_close(&hosting);
}

Test(shardhost_host, writes_that_a_round_has_no_room_for_go_with_the_next_ones)
{
    struct hosting hosting;
    open_with_leaders(&hosting);
    (void)hosting_send_put(&hosting, "a", "1");
    hosting_tick(&hosting);
    uint64_t before = stage_metric(&hosting.stage, "wal_bytes_total");
    uint64_t puts[80];
    for (size_t i = 0; i < NK_COUNT_OF(puts); i++) {
        puts[i] = send_large_put(&hosting);
    }
    size_t rounds = 0;
    uint64_t written = before;
    while (stage_run_jobs(&hosting.stage) > 0) {
        hosting_tick(&hosting);
        uint64_t now = stage_metric(&hosting.stage, "wal_bytes_total");
        cr_expect_leq(now - written, NK_SHARDHOST_ROUND_BYTES_MAX + 2 * NK_MIB);
        rounds += now - written > NK_MIB; /* else what it says about released segments */
        written = now;
    }
    cr_expect_eq(rounds, 3);
    for (size_t i = 0; i < NK_COUNT_OF(puts); i++) {
        cr_expect_eq(hosting_err(&hosting, puts[i]), NK_OK, "put %zu", i);
    }
    hosting_close(&hosting);
}

Test(shardhost_host, all_that_waits_has_one_budget_and_more_is_refused)
{
    struct hosting hosting;
    open_with_leaders(&hosting);
    (void)hosting_send_put(&hosting, "a", "1");
    hosting_tick(&hosting);
    uint64_t puts[300];
    for (size_t i = 0; i < NK_COUNT_OF(puts); i++) {
        puts[i] = send_large_put(&hosting);
    }
    hosting_tick(&hosting);
    size_t refused = 0;
    for (size_t i = 0; i < NK_COUNT_OF(puts); i++) {
        if (hosting_reply(&hosting, puts[i]) != NULL) {
            cr_expect_eq(hosting_err(&hosting, puts[i]), NK_BUSY);
            refused++;
        }
    }
    /* What is proposed counts twice: in raft and on its way to the log. */
    size_t taken_max = (NK_SHARDHOST_BYTES_MAX - NK_SHARDHOST_ROUND_BYTES_MAX) / NK_MIB;
    cr_expect_geq(refused, NK_COUNT_OF(puts) - taken_max - 1);
    cr_expect_leq(refused, NK_COUNT_OF(puts) - taken_max + 4);
    hosting_close(&hosting);
}

Test(shardhost_host, a_round_of_seconds_degrades_the_health_and_refuses_writes_until_it_ends)
{
    struct hosting hosting;
    hosting_open(&hosting);
    cr_assert_eq(hosting_put_many(&hosting, 1), 1);
    (void)hosting_send_put(&hosting, "a", "1");
    hosting_tick(&hosting);
    for (size_t i = 0; i < 8; i++) {
        stage_advance(&hosting.stage, 1000);
        hosting_tick(&hosting);
        bool stalled = i >= 4;
        cr_expect_eq(nk_health_status(hosting.stage.context.health),
                     stalled ? NK_DEGRADED : NK_HEALTHY, "second %zu", i + 1);
        cr_expect_eq(stage_metric(&hosting.stage, "shardhost_disk_stalled"), stalled);
        cr_expect_eq(hosting.stage.log_counts[NK_LOG_ERROR], stalled, "second %zu", i + 1);
    }
    uint64_t put = hosting_send_put(&hosting, "b", "1");
    uint64_t get = hosting_send_get(&hosting, "k0", "stale_ok");
    hosting_tick(&hosting);
    cr_expect_eq(hosting_err(&hosting, put), NK_BUSY);
    cr_expect_str_eq(hosting_value(&hosting, get), hosting_long_value());
    hosting_settle(&hosting);
    cr_expect_eq(nk_health_status(hosting.stage.context.health), NK_HEALTHY);
    cr_expect_eq(stage_metric(&hosting.stage, "shardhost_disk_stalled"), 0);
    cr_expect_eq(WARNINGS(&hosting), 1);
    put = hosting_send_put(&hosting, "b", "1");
    hosting_settle(&hosting);
    cr_expect_eq(hosting_err(&hosting, put), NK_OK);
    hosting_close(&hosting);
}

/* Time passes within a tick: what begins in it is younger than its start. */
Test(shardhost_host, a_round_that_has_just_begun_is_not_stalled)
{
    struct hosting hosting;
    hosting_open(&hosting);
    hosting.stage.us_per_look = 1;
    cr_expect_eq(hosting_put_many(&hosting, 6), 6);
    cr_expect_eq(hosting.stage.log_counts[NK_LOG_ERROR], 0);
    cr_expect_eq(WARNINGS(&hosting), 0);
    hosting_close(&hosting);
}

Test(shardhost_host, a_stop_gives_up_on_a_round_that_cannot_be_written)
{
    for (size_t i = 0; i < 2; i++) {
        bool full = i == 1; /* else the disk hangs */
        struct hosting hosting;
        hosting_open(&hosting);
        cr_assert_eq(hosting_put_many(&hosting, 1), 1);
        (void)hosting_send_put(&hosting, "a", "1");
        hosting_tick(&hosting);
        ops->stop(hosting.role);
        char memory[256];
        struct nk_text reason;
        nk_text_init(&reason, memory, sizeof memory);
        for (size_t second = 0; second < 3; second++) {
            cr_expect(!ops->stopped(hosting.role), "full %d, second %zu", full, second);
            cr_expect_eq(ops->fault(hosting.role, &reason), NK_OK);
            if (full) {
                sim_fs_fail_at(hosting.stage.fs, 1, NK_NO_SPACE);
                (void)stage_run_jobs(&hosting.stage);
            }
            stage_advance(&hosting.stage, 1000);
            hosting_tick(&hosting);
        }
        cr_expect_eq(ops->fault(hosting.role, &reason), full ? NK_NO_SPACE : NK_TIMEOUT);
        cr_expect_not_null(strstr(memory, full ? "the disk is full" : "the disk hangs"), "%s",
                           memory);
        hosting_close(&hosting);
    }
}

/* What needs the log is refused at once while it takes nothing, also in the middle of a try. */
Test(shardhost_host, a_log_that_takes_nothing_refuses_at_once_whatever_needs_it)
{
    for (size_t i = 0; i < 2; i++) {
        bool full = i == 1; /* else the disk hangs */
        struct hosting hosting;
        hosting_open(&hosting);
        (void)hosting_send_put(&hosting, "small", "1");
        (void)hosting_send_put_for(&hosting, "expired", 500);
        hosting_settle(&hosting);
        (void)hosting_send_put(&hosting, "a", "1");
        hosting_tick(&hosting);
        for (size_t second = 0; second < 6; second++) { /* it fails, or stays where it is */
            if (full) {
                sim_fs_fail_at(hosting.stage.fs, 1, NK_NO_SPACE);
                (void)stage_run_jobs(&hosting.stage);
            }
            stage_advance(&hosting.stage, 1000);
            hosting_tick(&hosting);
        }
        enum nk_err err = full ? NK_NO_SPACE : NK_BUSY;
        const char *message = full ? "DISK_FULL" : "OVERLOADED: the disk does not keep up";
        uint64_t refused[] = {
            hosting_send_put(&hosting, "b", "1"),
            hosting_send_delete(&hosting, "small"),
            hosting_send_get(&hosting, "expired", ""),
            (hosting.shard++, hosting_send_get(&hosting, "in a shard that nobody has used", "")),
        };
        hosting_tick(&hosting);
        for (size_t j = 0; j < NK_COUNT_OF(refused); j++) {
            cr_expect_eq(hosting_err(&hosting, refused[j]), err, "full %d, request %zu", full, j);
            cr_expect_str_eq(hosting_reply(&hosting, refused[j])->message, message);
        }
        hosting.shard = HOSTING_SHARD;
        uint64_t get = hosting_send_get(&hosting, "small", "");
        hosting_tick(&hosting);
        cr_expect_str_eq(hosting_value(&hosting, get), "1");
        stage_advance(&hosting.stage, 1000);
        hosting_settle(&hosting);
        get = hosting_send_get(&hosting, "expired", "");
        uint64_t deleted = hosting_send_delete(&hosting, "small");
        hosting_settle(&hosting);
        cr_expect_str_eq(hosting_value(&hosting, get), "");
        cr_expect_eq(hosting_err(&hosting, deleted), NK_OK);
        hosting_close(&hosting);
    }
}

/* ---- A thread that hangs in the disk ---- */

/* Calls for a table, in the middle of which time passes and the loop goes on. */
static struct {
    struct hosting *hosting;
    struct nk_fs_ops ops;
    const struct nk_fs_ops *inner;
    void (*meanwhile)(struct hosting *hosting); /* NULL: calls are as ever */
    size_t calls;
} slow;

static void pass(void)
{
    slow.calls++;
    if (slow.meanwhile != NULL) {
        slow.meanwhile(slow.hosting);
    }
}

static enum nk_err slow_open(void *ctx, const char *name, enum nk_fs_open mode,
                             struct nk_file **out_file)
{
    if (strstr(name, ".sst") != NULL) {
        pass();
    }
    return slow.inner->open(ctx, name, mode, out_file);
}

static enum nk_err slow_pread(void *ctx, struct nk_file *file, uint64_t offset, void *out_data,
                              size_t size, size_t *out_read)
{
    pass();
    return slow.inner->pread(ctx, file, offset, out_data, size, out_read);
}

static void open_with_slow_disk(struct hosting *hosting)
{
    hosting_open(hosting);
    slow.hosting = hosting;
    slow.inner = hosting->stage.env.fs.ops;
    slow.ops = *slow.inner;
    slow.ops.open = slow_open;
    slow.ops.pread = slow_pread;
    slow.meanwhile = NULL;
    slow.calls = 0;
    hosting->stage.env.fs.ops = &slow.ops;
}

/* Keys of which the first are in tables and not in memory. */
static void put_beyond_memory(struct hosting *hosting)
{
    cr_assert_eq(hosting_put_many(hosting, 8), 8);
    hosting_restart(hosting);
    (void)hosting_send_get(hosting, "none", "");
    hosting_settle(hosting); /* it leads, and has applied its log */
}

static void hang(struct hosting *hosting)
{
    slow.meanwhile = NULL; /* once */
    for (size_t i = 0; i < 8; i++) {
        stage_advance(&hosting->stage, 1000);
        hosting_tick(hosting);
        bool stalled = i >= 4;
        cr_expect_eq(nk_health_status(hosting->stage.context.health),
                     stalled ? NK_DEGRADED : NK_HEALTHY, "second %zu", i + 1);
        cr_expect_eq(stage_metric(&hosting->stage, "shardhost_disk_stalled"), stalled);
        cr_expect_eq(hosting->stage.log_counts[NK_LOG_ERROR], stalled, "second %zu", i + 1);
    }
    uint64_t get = hosting_send_get(hosting, "small", "stale_ok");
    hosting_tick(hosting);
    cr_expect_str_eq(hosting_value(hosting, get), "1");
}

static void expect_recovered(struct hosting *hosting)
{
    cr_expect_null(slow.meanwhile, "no call was met");
    cr_expect_eq(nk_health_status(hosting->stage.context.health), NK_HEALTHY);
    cr_expect_eq(stage_metric(&hosting->stage, "shardhost_disk_stalled"), 0);
    cr_expect_eq(hosting->stage.log_counts[NK_LOG_ERROR], 1);
    cr_expect_eq(WARNINGS(hosting), 1);
    cr_expect_str_eq(hosting->stage.log_message,
                     "disk answers again: no call for the tables hangs any more");
}

Test(shardhost_host, a_flush_that_hangs_is_told_and_so_is_its_end)
{
    struct hosting hosting;
    open_with_slow_disk(&hosting);
    (void)hosting_send_put(&hosting, "small", "1");
    hosting_settle(&hosting);
    slow.meanwhile = hang;
    (void)hosting_put_many(&hosting, 4);
    hosting_settle(&hosting);
    expect_recovered(&hosting);
    cr_expect(has_table(&hosting));
    hosting_close(&hosting);
}

Test(shardhost_host, a_read_that_hangs_is_told_and_so_is_its_end)
{
    struct hosting hosting;
    open_with_slow_disk(&hosting);
    put_beyond_memory(&hosting);
    (void)hosting_send_put(&hosting, "small", "1");
    hosting_settle(&hosting);
    slow.meanwhile = hang;
    (void)hosting_send_get(&hosting, "k0", "");
    hosting_settle(&hosting);
    expect_recovered(&hosting);
    hosting_close(&hosting);
}

static void two_seconds(struct hosting *hosting)
{
    stage_advance(&hosting->stage, 2000);
    hosting_tick(hosting);
    cr_expect_eq(stage_metric(&hosting->stage, "shardhost_disk_stalled"), 0);
}

/* What takes long because it is much is no stall. */
Test(shardhost_host, a_job_of_many_calls_that_all_end_is_no_stall)
{
    struct hosting hosting;
    open_with_slow_disk(&hosting);
    put_beyond_memory(&hosting);
    slow.calls = 0;
    slow.meanwhile = two_seconds;
    (void)hosting_put_many(&hosting, 40); /* flushes and compactions */
    cr_expect_gt(slow.calls, 10);
    slow.meanwhile = NULL;
    hosting_settle(&hosting);
    cr_expect_eq(hosting.stage.log_counts[NK_LOG_ERROR], 0);
    hosting_close(&hosting);
}

static void stop_meanwhile(struct hosting *hosting)
{
    slow.meanwhile = NULL;
    ops->stop(hosting->role);
    for (size_t second = 0; second < 3; second++) {
        cr_expect(!ops->stopped(hosting->role), "second %zu", second);
        stage_advance(&hosting->stage, 1000);
        hosting_tick(hosting);
    }
    cr_expect(ops->stopped(hosting->role));
    cr_expect_str_eq(hosting->stage.log_message,
                     "the stop waits no longer for reads, flushes and compactions");
}

Test(shardhost_host, a_stop_does_not_wait_for_a_read_that_hangs)
{
    struct hosting hosting;
    open_with_slow_disk(&hosting);
    put_beyond_memory(&hosting);
    slow.meanwhile = stop_meanwhile;
    (void)hosting_send_get(&hosting, "k0", "");
    hosting_settle(&hosting);
    cr_expect_null(slow.meanwhile, "no call was met");
    char memory[256];
    struct nk_text reason;
    nk_text_init(&reason, memory, sizeof memory);
    cr_expect_eq(ops->fault(hosting.role, &reason), NK_OK, "%s", memory);
    hosting_close(&hosting);
}

/* Its caller has gone: a request that has not been proposed has no effect. */
Test(shardhost_host, a_cancelled_request_is_dropped_wherever_it_waits)
{
    struct hosting hosting;
    open_with_leaders(&hosting);
    hosting_restart(&hosting); /* nobody leads: all wait */
    enum { COUNT = 100 };
    uint64_t gone[COUNT];
    uint64_t stay[COUNT];
    for (uint32_t i = 0; i < COUNT; i++) {
        hosting.shard = i % 16;
        gone[i] = hosting_send_put(&hosting, "gone", "1");
        stay[i] = hosting_send_get(&hosting, "first", "");
    }
    hosting_cancel(&hosting, gone, COUNT);
    hosting_cancel(&hosting, gone, COUNT); /* unknown by now */
    hosting_settle(&hosting);
    for (uint32_t i = 0; i < COUNT; i++) {
        cr_expect_null(hosting_reply(&hosting, gone[i]));
        cr_expect_str_eq(hosting_value(&hosting, stay[i]), "1");
    }
    /* Held for the next round. */
    (void)hosting_send_put(&hosting, "a", "1");
    hosting_tick(&hosting);
    for (size_t i = 0; i < 32; i++) {
        (void)send_large_put(&hosting);
    }
    uint64_t held = hosting_send_put(&hosting, "gone", "1");
    hosting_cancel(&hosting, &held, 1);
    hosting_settle(&hosting);
    cr_expect_null(hosting_reply(&hosting, held));
    /* Others cannot be dropped any more. */
    uint64_t proposed = hosting_send_put(&hosting, "proposed", "1");
    hosting_cancel(&hosting, &proposed, 1);
    hosting_settle(&hosting);
    cr_expect_eq(hosting_err(&hosting, proposed), NK_OK);
    for (uint32_t i = 0; i < 16; i++) {
        hosting.shard = i;
        uint64_t get = hosting_send_get(&hosting, "gone", "");
        hosting_settle(&hosting);
        cr_expect_str_eq(hosting_value(&hosting, get), "", "shard %u", i);
    }
    hosting_close(&hosting);
}

Test(shardhost_host, a_full_worker_only_delays_a_round)
{
    struct hosting hosting;
    hosting_open(&hosting);
    cr_assert_eq(hosting_put_many(&hosting, 1), 1);
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
    cr_assert_eq(hosting_put_many(&hosting, 1), 1);
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
    cr_assert_eq(hosting_put_many(&hosting, 1), 1);
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

/* The flush leaves memory to give back bit by bit, for which tables want to be asked; but a host
 * that stops asks them no more, and a time in the past would stay one. */
Test(shardhost_host, a_stop_that_waits_sleeps_meanwhile)
{
    struct hosting hosting;
    hosting_open(&hosting);
    cr_assert_eq(hosting_put_many(&hosting, 1), 1);
    for (int i = 0; stage_metric(&hosting.stage, "lsm_flushes_total") == 0; i++) {
        cr_assert_lt(i, 100);
        (void)hosting_send_put(&hosting, "k", hosting_long_value());
        hosting_tick(&hosting);
        (void)stage_run_jobs(&hosting.stage);
    }
    (void)hosting_send_put(&hosting, "k", "last");
    ops->stop(hosting.role);
    for (int i = 0; i < 100; i++) {
        stage_advance(&hosting.stage, 10);
        uint64_t next_us = ops->tick(hosting.role);
        cr_expect(next_us > nk_mono_us(&hosting.stage.env.clock), "%d", i);
    }
    cr_expect(!ops->stopped(hosting.role));
    hosting_settle(&hosting);
    cr_expect(ops->stopped(hosting.role));
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
