/* Writes whose apply looks at records that are not in memory. */

#include <criterion/criterion.h>
#include <stdio.h>

#include "common/base/limits.h"
#include "services/shardhost/shardhost.h"

#include "hosting.h"

TestSuite(shardhost_fetch, .timeout = 60);

static const struct nk_role_ops *const ops = &shardhost_role_ops;

#define PUT    NORIKV__INTERNAL__V1__SHARD_OP__SHARD_OP_PUT
#define DELETE NORIKV__INTERNAL__V1__SHARD_OP__SHARD_OP_DELETE

/* The files of the role, and who reads tables. */
static struct {
    struct stage *stage;
    struct nk_fs_ops ops;
    const struct nk_fs_ops *inner;
    size_t by_loop;
    size_t by_workers;
    enum nk_err failure; /* NK_IO: reads of tables fail; NK_CORRUPT: they bring other bytes */
} disk;

static void count(void)
{
    if (disk.stage->in_job) {
        disk.by_workers++;
    } else {
        disk.by_loop++;
    }
}

static enum nk_err counting_open(void *ctx, const char *name, enum nk_fs_open mode,
                                 struct nk_file **out_file)
{
    if (strstr(name, ".sst") != NULL) {
        count();
    }
    return disk.inner->open(ctx, name, mode, out_file);
}

static enum nk_err counting_pread(void *ctx, struct nk_file *file, uint64_t offset, void *out_data,
                                  size_t size, size_t *out_read)
{
    count();
    if (disk.failure == NK_IO) {
        return NK_IO;
    }
    enum nk_err err = disk.inner->pread(ctx, file, offset, out_data, size, out_read);
    if (disk.failure == NK_CORRUPT && size > 0) {
        ((uint8_t *)out_data)[0] ^= 0xff;
    }
    return err;
}

struct write {
    Norikv__Internal__V1__ShardOp op;
    const char *key;
    const char *value;
    const char *idempotency_key;
    bool has_if_match;
    uint64_t if_match_index; /* 0: must not exist; else of the term `first` */
};

static ProtobufCBinaryData data_of(const char *text)
{
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

/* The version of the first write of open_cold. */
static Norikv__V1__Version first;

static uint64_t send_write(struct hosting *hosting, const struct write *write)
{
    Norikv__V1__Version if_match = NORIKV__V1__VERSION__INIT;
    if (write->if_match_index != 0) {
        if_match.term = first.term;
        if_match.index = write->if_match_index;
    }
    char none[] = "";
    char *idempotency_key =
        write->idempotency_key != NULL ? (char *)(uintptr_t)write->idempotency_key : none;
    if (write->op == DELETE) {
        Norikv__V1__DeleteRequest message = NORIKV__V1__DELETE_REQUEST__INIT;
        message.key = data_of(write->key);
        message.idempotency_key = idempotency_key;
        message.if_match = write->has_if_match ? &if_match : NULL;
        return hosting_send_message(hosting, DELETE, &message.base);
    }
    Norikv__V1__PutRequest message = NORIKV__V1__PUT_REQUEST__INIT;
    message.key = data_of(write->key);
    message.value = data_of(write->value);
    message.idempotency_key = idempotency_key;
    message.if_match = write->has_if_match ? &if_match : NULL;
    return hosting_send_message(hosting, PUT, &message.base);
}

static Norikv__V1__Version version_of(struct hosting *hosting, uint64_t put)
{
    cr_assert_eq(hosting_err(hosting, put), NK_OK);
    const Norikv__Internal__V1__ShardReply *reply = hosting_reply(hosting, put);
    const Norikv__V1__PutResponse *response = (const Norikv__V1__PutResponse *)nk_unpack(
        &norikv__v1__put_response__descriptor,
        nk_bytes_of(reply->response.data, reply->response.len), &hosting->stage.unpacked);
    cr_assert_not_null(response);
    return *response->version;
}

static const struct write once = {PUT, "cold", "1", .idempotency_key = "once"};
static const struct write removal = {DELETE, "cold", .idempotency_key = NULL};

static void open_counted(struct hosting *hosting)
{
    hosting_open(hosting);
    memset(&disk, 0, sizeof disk);
    disk.stage = &hosting->stage;
    disk.inner = hosting->stage.env.fs.ops;
    disk.ops = *disk.inner;
    disk.ops.open = counting_open;
    disk.ops.pread = counting_pread;
    hosting->stage.env.fs.ops = &disk.ops;
}

/* Nothing of the tables is in memory then; the shard leads and has applied its log. */
static void restart_cold(struct hosting *hosting)
{
    hosting_restart(hosting);
    (void)hosting_send_get(hosting, "none", "");
    hosting_settle(hosting);
    disk.by_loop = 0;
    disk.by_workers = 0;
}

/* A shard that has "cold", and the session of its put, in tables only. */
static void open_cold(struct hosting *hosting)
{
    open_counted(hosting);
    hosting->stage.config.limits.idempotency_max_per_shard = 2;
    uint64_t put = send_write(hosting, &once);
    hosting_settle(hosting);
    first = version_of(hosting, put);
    cr_assert_eq(hosting_put_many(hosting, 8), 8);
    restart_cold(hosting);
}

static void expect_cold(struct hosting *hosting, const char *value)
{
    uint64_t get = hosting_send_get(hosting, "cold", "");
    hosting_settle(hosting);
    cr_expect_str_eq(hosting_value(hosting, get), value);
}

Test(shardhost_fetch, the_loop_reads_no_table_for_a_write)
{
    static const struct {
        struct write write;
        enum nk_err err;
        const char *value; /* afterwards */
    } cases[] = {
        {{PUT, "cold", "2", .has_if_match = true, .if_match_index = 1}, NK_CONFLICT, "1"},
        {{PUT, "cold", "2", .has_if_match = true}, NK_EXISTS, "1"},
        {{DELETE, "cold", .idempotency_key = NULL}, NK_OK, ""},
        {{DELETE, "cold", .has_if_match = true, .if_match_index = 1}, NK_CONFLICT, "1"},
        {{PUT, "cold", "1", .idempotency_key = "once"}, NK_OK, "1"},
        {{PUT, "cold", "2", .idempotency_key = "once"}, NK_INVALID, "1"},
        {{DELETE, "cold", .idempotency_key = "twice"}, NK_OK, ""},
        {{PUT, "cold", "2", .idempotency_key = "twice"}, NK_OK, "2"}, /* the queue's head */
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct hosting hosting;
        open_cold(&hosting);
        cr_assert_gt(first.index, 1);
        uint64_t write = send_write(&hosting, &cases[i].write);
        hosting_settle(&hosting);
        cr_expect_eq(hosting_err(&hosting, write), cases[i].err, "case %zu", i);
        cr_expect_eq(disk.by_loop, 0, "case %zu: %zu", i, disk.by_loop);
        cr_expect_gt(disk.by_workers, 0, "case %zu", i);
        expect_cold(&hosting, cases[i].value);
        hosting_close(&hosting);
    }
}

/* Both ask for the disk, and the session decides when they are applied. */
Test(shardhost_fetch, a_retry_beside_the_first_attempt_is_applied_once)
{
    struct hosting hosting;
    open_cold(&hosting);
    struct write swap = {PUT, "cold", "2", "swap", true, first.index};
    uint64_t attempts[2] = {send_write(&hosting, &swap), send_write(&hosting, &swap)};
    hosting_settle(&hosting);
    Norikv__V1__Version versions[2] = {version_of(&hosting, attempts[0]),
                                       version_of(&hosting, attempts[1])};
    cr_expect_eq(versions[0].index, versions[1].index);
    uint64_t late = send_write(&hosting, &once);
    hosting_settle(&hosting);
    cr_expect_eq(version_of(&hosting, late).index, first.index);
    cr_expect_eq(disk.by_loop, 0);
    expect_cold(&hosting, "2");
    hosting_close(&hosting);
}

Test(shardhost_fetch, nothing_that_is_in_memory_is_fetched)
{
    struct hosting hosting;
    open_cold(&hosting);
    expect_cold(&hosting, "1");
    uint64_t write = send_write(&hosting, &removal);
    (void)hosting_send_put(&hosting, "k0", "2"); /* cold, and a put does not ask what is there */
    cr_expect(nk_list_empty(&hosting.stage.jobs));
    hosting_settle(&hosting);
    cr_expect_eq(hosting_err(&hosting, write), NK_OK);
    cr_expect_eq(disk.by_loop, 0);
    expect_cold(&hosting, "");
    hosting_close(&hosting);
}

Test(shardhost_fetch, a_write_whose_caller_has_gone_is_dropped)
{
    enum { CANCELLED, SWEPT, LATE, COUNT };
    for (size_t i = 0; i < COUNT; i++) {
        struct hosting hosting;
        open_cold(&hosting);
        uint64_t write = send_write(&hosting, &removal);
        if (i == CANCELLED) {
            hosting_cancel(&hosting, &write, 1);
        } else {
            stage_advance(&hosting.stage, 1000);
        }
        if (i == SWEPT) {
            hosting_tick(&hosting);
        }
        (void)stage_run_jobs(&hosting.stage);
        hosting_settle(&hosting);
        cr_expect_null(hosting_reply(&hosting, write), "case %zu", i);
        expect_cold(&hosting, "1");
        hosting_close(&hosting);
    }
}

Test(shardhost_fetch, a_read_that_fails_fences_the_shard)
{
    static const enum nk_err failures[] = {NK_IO, NK_CORRUPT};
    for (size_t i = 0; i < 2 * NK_COUNT_OF(failures); i++) {
        bool cancelled = i % 2 == 1;
        struct hosting hosting;
        open_cold(&hosting);
        disk.failure = failures[i / 2];
        uint64_t write = send_write(&hosting, &removal);
        uint64_t other = send_write(&hosting, &removal);
        if (cancelled) {
            hosting_cancel(&hosting, &write, 1);
        }
        hosting_settle(&hosting);
        cr_expect_eq(hosting_reply(&hosting, write) == NULL, cancelled, "case %zu", i);
        cr_expect(cancelled || hosting_err(&hosting, write) == NK_FENCED, "case %zu", i);
        cr_expect_eq(hosting_err(&hosting, other), NK_FENCED, "case %zu", i);
        cr_expect_eq(nk_health_status(hosting.stage.context.health), NK_DEGRADED);
        cr_expect_eq(disk.by_loop, 0, "case %zu", i);
        disk.failure = NK_OK;
        hosting_restart(&hosting);
        expect_cold(&hosting, "1"); /* refused is without effect */
        hosting_close(&hosting);
    }
}

Test(shardhost_fetch, a_stop_does_not_wait_for_the_read_of_a_write)
{
    for (size_t i = 0; i < 2; i++) {
        bool hangs = i == 1;
        struct hosting hosting;
        open_cold(&hosting);
        uint64_t write = send_write(&hosting, &removal);
        hosting_tick(&hosting);
        ops->stop(hosting.role);
        cr_expect(!ops->stopped(hosting.role));
        if (hangs) {
            /* Until housekeeping drops what has waited for more than its second. */
            stage_advance(&hosting.stage, 3000);
            hosting_tick(&hosting);
            cr_expect(ops->stopped(hosting.role));
        }
        hosting_settle(&hosting);
        cr_expect(ops->stopped(hosting.role));
        cr_expect_eq(hosting_reply(&hosting, write) == NULL, hangs);
        cr_expect(hangs || hosting_err(&hosting, write) == NK_UNAVAILABLE);
        char memory[256];
        struct nk_text reason;
        nk_text_init(&reason, memory, sizeof memory);
        cr_expect_eq(ops->fault(hosting.role, &reason), NK_OK, "%s", memory);
        hosting_restart(&hosting);
        expect_cold(&hosting, "1");
        hosting_close(&hosting);
    }
}

Test(shardhost_fetch, a_write_for_which_no_worker_has_room_is_refused)
{
    struct hosting hosting;
    open_cold(&hosting);
    stage_fail(&hosting.stage, STAGE_WORKER_SUBMIT, 1, NK_BUSY);
    uint64_t write = send_write(&hosting, &removal);
    hosting_settle(&hosting);
    cr_expect_eq(hosting_err(&hosting, write), NK_BUSY);
    cr_expect_eq(disk.by_loop, 0);
    expect_cold(&hosting, "1");
    hosting_close(&hosting);
}

static char *large_value(void)
{
    static char value[NK_VALUE_BYTES_MAX];
    memset(value, 'v', sizeof value - 1);
    return value;
}

/* Until it is back a write takes its bytes, as one that waits for anything else. */
Test(shardhost_fetch, what_waits_for_the_disk_counts)
{
    struct hosting hosting;
    open_cold(&hosting);
    const struct write large = {PUT, "cold", large_value(), .has_if_match = true};
    size_t most = NK_SHARDHOST_BYTES_MAX / (NK_VALUE_BYTES_MAX - 1) + 1;
    uint64_t write = 0;
    for (size_t i = 0; i <= most; i++) {
        write = send_write(&hosting, &large);
    }
    hosting_tick(&hosting);
    cr_expect_eq(hosting_err(&hosting, write), NK_BUSY);
    hosting_settle(&hosting);
    write = send_write(&hosting, &removal);
    hosting_settle(&hosting);
    cr_expect_eq(hosting_err(&hosting, write), NK_OK); /* all is given back */
    hosting_close(&hosting);
}

#define OTHERS 4 /* shards, after HOSTING_SHARD */

static void lead_others(struct hosting *hosting)
{
    for (uint32_t i = 0; i < OTHERS; i++) {
        hosting->shard = HOSTING_SHARD + 1 + i;
        (void)hosting_send_put(hosting, "a", "1");
    }
    hosting_settle(hosting);
    hosting->shard = HOSTING_SHARD;
}

/* Sends what fills a round, to the others. */
static void fill_round(struct hosting *hosting)
{
    for (size_t i = 0; i < NK_SHARDHOST_ROUND_BYTES_MAX / NK_MIB + 1; i++) {
        hosting->shard = HOSTING_SHARD + 1 + (uint32_t)i % OTHERS;
        (void)hosting_send_put(hosting, "large", large_value());
    }
    hosting->shard = HOSTING_SHARD;
}

/* A removal whose read has ended while the round is full. */
static uint64_t fetch_into_a_full_round(struct hosting *hosting)
{
    lead_others(hosting);
    uint64_t write = send_write(hosting, &removal);
    fill_round(hosting);
    cr_assert_eq(stage_run_jobs(&hosting->stage), 1);
    return write;
}

/* It is held then like any other, and not fetched for again. */
Test(shardhost_fetch, a_write_that_comes_back_to_a_full_round_is_held)
{
    for (size_t i = 0; i < 2; i++) {
        bool cancelled = i == 1;
        struct hosting hosting;
        open_cold(&hosting);
        uint64_t write = fetch_into_a_full_round(&hosting);
        size_t reads = disk.by_workers;
        if (cancelled) {
            hosting_cancel(&hosting, &write, 1);
        }
        uint64_t submitted = hosting.stage.calls[STAGE_WORKER_SUBMIT];
        hosting_tick(&hosting); /* the round begins */
        cr_expect_eq(hosting.stage.calls[STAGE_WORKER_SUBMIT], submitted + 1);
        cr_expect_eq(disk.by_workers, reads);
        hosting_settle(&hosting);
        cr_expect_eq(hosting_reply(&hosting, write) == NULL, cancelled);
        cr_expect_eq(disk.by_loop, 0);
        expect_cold(&hosting, cancelled ? "1" : "");
        hosting_close(&hosting);
    }
}

/* Held first, it is fetched for when its turn has come. */
Test(shardhost_fetch, a_write_that_was_held_is_fetched_for_afterwards)
{
    struct hosting hosting;
    open_cold(&hosting);
    lead_others(&hosting);
    fill_round(&hosting);
    uint64_t write = send_write(&hosting, &removal);
    cr_expect(nk_list_empty(&hosting.stage.jobs));
    hosting_settle(&hosting);
    cr_expect_eq(hosting_err(&hosting, write), NK_OK);
    cr_expect_eq(disk.by_loop, 0);
    expect_cold(&hosting, "");
    hosting_close(&hosting);
}

static uint64_t send_named(struct hosting *hosting, const char *name, size_t number)
{
    char key[24];
    (void)snprintf(key, sizeof key, "%s%zu", name, number);
    const struct write write = {PUT, key, "1", .idempotency_key = key};
    return send_write(hosting, &write);
}

/* Each of them makes an old session leave, and together they go through several blocks of those. */
Test(shardhost_fetch, a_burst_of_idempotency_keys_is_foreseen)
{
    struct hosting hosting;
    open_counted(&hosting);
    hosting.stage.config.limits.idempotency_max_per_shard = 1000;
    for (size_t i = 0; i < 1000; i++) {
        (void)send_named(&hosting, "old", i);
        if (i % 20 == 0) {
            hosting_settle(&hosting);
        }
    }
    for (size_t i = 0; i < 100; i++) {
        (void)hosting_send_put(&hosting, "k", hosting_long_value());
        hosting_settle(&hosting);
    }
    restart_cold(&hosting);
    for (size_t burst = 0; burst < 3; burst++) {
        uint64_t writes[300];
        for (size_t i = 0; i < NK_COUNT_OF(writes); i++) {
            writes[i] = send_named(&hosting, "new", burst * 1000 + i);
        }
        hosting_settle(&hosting);
        for (size_t i = 0; i < NK_COUNT_OF(writes); i++) {
            cr_expect_eq(hosting_err(&hosting, writes[i]), NK_OK);
        }
        cr_expect_eq(disk.by_loop, 0, "burst %zu: %zu", burst, disk.by_loop);
        cr_expect_gt(disk.by_workers, 0);
    }
    hosting_close(&hosting);
}

Test(shardhost_fetch, a_table_that_a_compaction_cannot_read_fences_its_shard)
{
    struct hosting hosting;
    open_counted(&hosting);
    disk.failure = NK_IO; /* nothing but a compaction reads here */
    enum nk_err err = NK_OK;
    for (size_t i = 0; i < 40 && err == NK_OK; i++) {
        uint64_t put = hosting_send_put(&hosting, "k", hosting_long_value());
        hosting_settle(&hosting);
        err = hosting_err(&hosting, put);
    }
    cr_expect_eq(err, NK_FENCED);
    char memory[256];
    struct nk_text reason;
    nk_text_init(&reason, memory, sizeof memory);
    cr_expect_eq(ops->fault(hosting.role, &reason), NK_OK, "%s", memory);
    hosting.shard = HOSTING_SHARD + 1;
    uint64_t put = hosting_send_put(&hosting, "k", hosting_long_value());
    hosting_settle(&hosting);
    cr_expect_eq(hosting_err(&hosting, put), NK_OK);
    hosting_close(&hosting);
}

/* What was fetched may be given up while the write is held; then its apply reads again. */
Test(shardhost_fetch, a_write_that_was_held_is_not_fetched_for_again)
{
    struct hosting hosting;
    open_cold(&hosting);
    hosting.stage.config.lsm.block_cache_bytes = 0;
    hosting.stage.config.lsm.memtable_bytes = 64 * NK_MIB; /* nothing is flushed or compacted */
    hosting.stage.config.raft.segment_bytes = 64 * NK_MIB;
    restart_cold(&hosting);
    uint64_t write = fetch_into_a_full_round(&hosting);
    size_t reads = disk.by_workers;
    cr_expect_gt(reads, 0);
    hosting_settle(&hosting);
    cr_expect_eq(hosting_err(&hosting, write), NK_OK);
    cr_expect_eq(disk.by_workers, reads);
    cr_expect_gt(disk.by_loop, 0);
    expect_cold(&hosting, "");
    hosting_close(&hosting);
}
