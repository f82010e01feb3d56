/* The start: whose the data is, what is gone, what is damaged. */

#include <criterion/criterion.h>
#include <stdio.h>

#include "common/base/codec.h"
#include "common/base/crc32c.h"
#include "services/shardhost/raft/raft.h"
#include "services/shardhost/raftlog/raftlog.h"
#include "services/shardhost/shardhost.h"

#include "hosting.h"

TestSuite(shardhost_recovery, .timeout = 60);

static const struct nk_role_ops *const ops = &shardhost_role_ops;

static enum nk_err try_start(struct hosting *hosting, char *memory, size_t size)
{
    struct nk_text reason;
    nk_text_init(&reason, memory, size);
    stage_restart(&hosting->stage);
    return ops->init(&hosting->stage.context, &hosting->role, &reason);
}

static void kill_role(struct hosting *hosting)
{
    (void)stage_run_jobs(&hosting->stage);
    ops->deinit(&hosting->role);
    sim_fs_kill(hosting->stage.fs);
}

static void put_many(struct hosting *hosting, size_t count)
{
    cr_assert_eq(hosting_put_many(hosting, count), count);
}

static void open_with_data(struct hosting *hosting)
{
    hosting_open(hosting);
    put_many(hosting, 12);
    kill_role(hosting);
}

/* The first name in `directory` that contains `part`, with the directory before it. */
static bool find_file(const struct hosting *hosting, const char *directory, const char *part,
                      char *out_name, size_t size)
{
    struct nk_buf names = {0};
    sim_fs_list(hosting->stage.fs, directory, &names);
    nk_buf_append_u8(&names, '\0');
    bool found = false;
    for (char *at = strtok((char *)names.data, "\n"); at != NULL && !found;
         at = strtok(NULL, "\n")) {
        found = strstr(at, part) != NULL;
        if (found) {
            (void)snprintf(out_name, size, "%s/%s", directory, at);
        }
    }
    nk_buf_deinit(&names);
    return found;
}

static void remove_log(struct hosting *hosting)
{
    char name[128];
    while (find_file(hosting, "raft", ".", name, sizeof name)) {
        cr_assert_eq(nk_fs_remove(&hosting->stage.env.fs, name), NK_OK);
    }
}

static void set_identity(struct hosting *hosting, struct nk_bytes image)
{
    const struct nk_meta *meta = &hosting->stage.env.meta;
    cr_assert_eq(meta->ops->put(meta->ctx, nk_bytes_of_string("identity"), image), NK_OK);
}

static void get_identity(struct hosting *hosting, struct nk_buf *image)
{
    const struct nk_meta *meta = &hosting->stage.env.meta;
    cr_assert_eq(meta->ops->get(meta->ctx, nk_bytes_of_string("identity"), image), NK_OK);
}

static void expect_refused(struct hosting *hosting, enum nk_err expected, const char *words)
{
    char memory[256];
    enum nk_err err = try_start(hosting, memory, sizeof memory);
    cr_assert_eq(err, expected, "%s: %s", nk_err_name(err), memory);
    cr_expect_null(hosting->role);
    cr_expect_not_null(strstr(memory, words), "%s", memory);
}

static void expect_served(struct hosting *hosting, uint32_t shard)
{
    hosting->shard = shard;
    uint64_t put = hosting_send_put(hosting, "new", "1");
    hosting_settle(hosting);
    cr_expect_eq(hosting_err(hosting, put), NK_OK);
}

static void expect_fenced(struct hosting *hosting, uint32_t shard)
{
    hosting->shard = shard;
    uint64_t get = hosting_send_get(hosting, "k0", "");
    uint64_t put = hosting_send_put(hosting, "k0", "new");
    hosting_settle(hosting);
    cr_expect_neq(hosting_err(hosting, get), NK_OK);
    cr_expect_neq(hosting_err(hosting, put), NK_OK);
    cr_expect_not_null(strstr(hosting_reply(hosting, get)->message, "damaged"));
    cr_expect_not_null(strstr(hosting_reply(hosting, put)->message, "damaged"));
}

static int is_fenced(struct hosting *hosting, uint32_t shard)
{
    hosting->shard = shard;
    uint64_t get = hosting_send_get(hosting, "k0", "");
    hosting_settle(hosting);
    if (hosting_err(hosting, get) == NK_OK || hosting_err(hosting, get) == NK_NOT_FOUND) {
        return 0;
    }
    cr_expect_not_null(strstr(hosting_reply(hosting, get)->message, "damaged"));
    return 1;
}

static void must_start(struct hosting *hosting)
{
    char memory[256];
    cr_assert_eq(try_start(hosting, memory, sizeof memory), NK_OK, "%s", memory);
    hosting_meet(hosting);
}

Test(shardhost_recovery, data_whose_log_is_gone_is_refused)
{
    struct hosting hosting;
    open_with_data(&hosting);
    remove_log(&hosting);
    expect_refused(&hosting, NK_INVALID, "raft log");
    char name[128];
    cr_expect(!find_file(&hosting, "raft", ".", name, sizeof name), "no new log was made");
    expect_refused(&hosting, NK_INVALID, "raft log"); /* the next start too */
    stage_close(&hosting.stage);
}

Test(shardhost_recovery, a_log_that_never_held_a_shard_may_not_be_gone_either)
{
    struct hosting hosting;
    hosting_open(&hosting);
    kill_role(&hosting);
    remove_log(&hosting);
    expect_refused(&hosting, NK_INVALID, "raft log");
    stage_close(&hosting.stage);
}

Test(shardhost_recovery, data_without_its_identity_is_refused)
{
    struct hosting hosting;
    open_with_data(&hosting);
    const struct nk_meta *meta = &hosting.stage.env.meta;
    cr_assert_eq(meta->ops->remove(meta->ctx, nk_bytes_of_string("identity")), NK_OK);
    expect_refused(&hosting, NK_INVALID, "identity");
    remove_log(&hosting); /* tables alone are data, too */
    expect_refused(&hosting, NK_INVALID, "identity");
    stage_close(&hosting.stage);
}

Test(shardhost_recovery, data_of_another_node_is_refused_with_both_names)
{
    struct hosting hosting;
    open_with_data(&hosting);
    hosting.stage.config.node_id = "n2";
    expect_refused(&hosting, NK_INVALID, "the data belongs to node n1, the configuration says n2");
    hosting.stage.config.node_id = "n1";
    must_start(&hosting);
    hosting_close(&hosting);
}

Test(shardhost_recovery, an_identity_with_a_flipped_byte_or_of_a_wrong_size_is_corrupt)
{
    struct hosting hosting;
    open_with_data(&hosting);
    struct nk_buf image = {0};
    get_identity(&hosting, &image);
    for (size_t i = 0; i < image.size; i++) {
        image.data[i] ^= 1;
        set_identity(&hosting, nk_buf_bytes(&image));
        expect_refused(&hosting, NK_CORRUPT, "identity");
        image.data[i] ^= 1;
        if (i != 20) {
            set_identity(&hosting, nk_bytes_of(image.data, i));
            expect_refused(&hosting, NK_CORRUPT, "identity");
        }
    }
    nk_buf_deinit(&image);
    stage_close(&hosting.stage);
}

/* Version 1: cluster id and total_shards. */
Test(shardhost_recovery, an_identity_of_version_1_is_taken_over)
{
    struct hosting hosting;
    open_with_data(&hosting);
    struct nk_buf image = {0};
    get_identity(&hosting, &image);
    set_identity(&hosting, nk_bytes_of(image.data + 4, 20));
    must_start(&hosting);
    expect_served(&hosting, HOSTING_SHARD);
    struct nk_buf now = {0};
    get_identity(&hosting, &now);
    cr_expect(nk_bytes_equal(nk_buf_bytes(&image), nk_buf_bytes(&now)));
    kill_role(&hosting);
    set_identity(&hosting, nk_bytes_of(image.data + 4, 20));
    remove_log(&hosting); /* it cannot say that there was a log, but the tables can */
    expect_refused(&hosting, NK_INVALID, "raft log");
    nk_buf_deinit(&image);
    nk_buf_deinit(&now);
    stage_close(&hosting.stage);
}

/* A damaged manifest or a missing table is one shard's: the others are served, and when the file is
 * whole again nothing is lost, since the log has kept what it had. */
Test(shardhost_recovery, damage_of_one_shards_files_fences_it_and_no_other)
{
    static const char *const files[] = {"manifest", ".sst"};
    for (size_t i = 0; i < NK_COUNT_OF(files); i++) {
        struct hosting hosting;
        hosting_open(&hosting);
        put_many(&hosting, 12);
        uint64_t put = hosting_send_put(&hosting, "last", "only in the log");
        hosting_settle(&hosting);
        cr_assert_eq(hosting_err(&hosting, put), NK_OK);
        expect_served(&hosting, 5);
        kill_role(&hosting);
        char name[128];
        cr_assert(find_file(&hosting, "lsm/shard-3", files[i], name, sizeof name));
        struct nk_buf whole = {0};
        sim_fs_read(hosting.stage.fs, name, &whole);
        if (i == 0) {
            for (size_t at = 0; at < whole.size; at++) { /* one byte alone may be of no account */
                sim_fs_flip(hosting.stage.fs, name, at, 1);
            }
        } else {
            cr_assert_eq(nk_fs_remove(&hosting.stage.env.fs, name), NK_OK);
        }
        uint64_t errors = hosting.stage.log_counts[NK_LOG_ERROR];
        must_start(&hosting);
        cr_expect_eq(hosting.stage.log_counts[NK_LOG_ERROR], errors + 1);
        expect_fenced(&hosting, 3);
        expect_served(&hosting, 5);
        hosting.shard = 7;
        put_many(&hosting, 1500); /* segments are filled and would be dropped */
        stage_advance(&hosting.stage, 1000);
        hosting_settle(&hosting); /* housekeeping passes it over */
        expect_fenced(&hosting, 3);
        kill_role(&hosting);
        sim_fs_put(hosting.stage.fs, name, nk_buf_bytes(&whole));
        nk_buf_deinit(&whole);
        must_start(&hosting);
        hosting.shard = 3;
        uint64_t get = hosting_send_get(&hosting, "last", "");
        hosting_settle(&hosting);
        cr_expect_str_eq(hosting_value(&hosting, get), "only in the log", "%s", files[i]);
        hosting_close(&hosting);
    }
}

static void remove_tree(struct hosting *hosting, const char *directory)
{
    char name[128];
    while (find_file(hosting, directory, "", name, sizeof name)) {
        cr_assert_eq(nk_fs_remove(&hosting->stage.env.fs, name), NK_OK);
    }
    cr_assert_eq(nk_fs_remove(&hosting->stage.env.fs, directory), NK_OK);
}

/* A tree that was flushed long ago: of its shard the log has nothing but term and vote, and that
 * there was more. */
static void open_with_cold_data(struct hosting *hosting)
{
    hosting_open(hosting);
    kill_role(hosting);
    hosting->stage.config.raft.segment_bytes = 64 * NK_KIB;
    must_start(hosting);
    put_many(hosting, 12);
    expect_served(hosting, 5);
    hosting->shard = 7;
    put_many(hosting, 100);
    for (size_t i = 0; i < 10; i++) { /* the log asks for cold shards to be flushed, one by one */
        stage_advance(&hosting->stage, 1000);
        hosting_settle(hosting);
        put_many(hosting, 20);
    }
    cr_assert(!sim_fs_exists(hosting->stage.fs, "raft/0000000000000001.log"));
    kill_role(hosting);
}

Test(shardhost_recovery, a_tree_that_is_gone_with_what_the_log_gave_up_fences_its_shard)
{
    struct hosting hosting;
    open_with_cold_data(&hosting);
    remove_tree(&hosting, "lsm/shard-3");
    for (size_t start = 0; start < 2; start++) { /* the first one leaves an empty tree */
        must_start(&hosting);
        cr_expect_str_eq(hosting.stage.log_message,
                         "the shard is fenced: its data cannot be trusted");
        expect_fenced(&hosting, 3);
        expect_served(&hosting, 5);
        expect_served(&hosting, 7);
        put_many(&hosting, 100); /* its records are carried over again */
        expect_fenced(&hosting, 3);
        kill_role(&hosting);
    }
    stage_close(&hosting.stage);
}

/* Nothing is gone as long as the log has it all. */
Test(shardhost_recovery, a_tree_that_is_gone_is_made_again_from_a_log_that_gave_up_nothing)
{
    struct hosting hosting;
    open_with_data(&hosting);
    remove_tree(&hosting, "lsm/shard-3");
    must_start(&hosting);
    uint64_t get = hosting_send_get(&hosting, "k0", "");
    hosting_settle(&hosting);
    cr_expect_eq(strlen(hosting_value(&hosting, get)), 3999);
    hosting_close(&hosting);
}

/* One call of the start fails, each in turn: what is the log's or everybody's ends it, what is the
 * shard's fences it, and the next start finds all as it was. */
Test(shardhost_recovery, a_tree_that_cannot_be_read_fences_its_shard_and_no_other)
{
    struct hosting hosting;
    open_with_data(&hosting);
    size_t fenced = 0;
    bool failed = true;
    for (uint64_t operation = 1; failed; operation++) {
        uint64_t errors = hosting.stage.log_counts[NK_LOG_ERROR];
        uint64_t faults = sim_fs_io_faults(hosting.stage.fs);
        sim_fs_fail_at(hosting.stage.fs, operation, NK_IO);
        char memory[256];
        enum nk_err err = try_start(&hosting, memory, sizeof memory);
        failed = sim_fs_io_faults(hosting.stage.fs) > faults;
        sim_fs_fail_at(hosting.stage.fs, UINT64_MAX, NK_IO);
        if (err != NK_OK) {
            cr_expect_null(strstr(memory, "shard-"), "%s", memory);
            continue;
        }
        size_t told = hosting.stage.log_counts[NK_LOG_ERROR] - errors;
        hosting_meet(&hosting);
        cr_expect_eq(is_fenced(&hosting, 3) + is_fenced(&hosting, 5), told);
        fenced += told;
        kill_role(&hosting);
    }
    cr_expect_gt(fenced, 3);
    must_start(&hosting);
    hosting.shard = 3;
    uint64_t get = hosting_send_get(&hosting, "k0", "");
    hosting_settle(&hosting);
    cr_expect_eq(strlen(hosting_value(&hosting, get)), 3999);
    hosting_close(&hosting);
}

/* A program of an earlier version must leave the data alone. */
Test(shardhost_recovery, a_tree_of_a_later_version_stops_the_node)
{
    struct hosting hosting;
    open_with_data(&hosting);
    struct nk_buf manifest = {0};
    sim_fs_read(hosting.stage.fs, "lsm/shard-3/manifest", &manifest);
    nk_put_u32(manifest.data + 8, 99); /* version and checksum of the first slot */
    uint32_t crc = nk_crc32c(nk_bytes_of(manifest.data, 12));
    nk_put_u32(manifest.data + 12, nk_crc32c_extend(crc, nk_bytes_of(manifest.data + 16, 16)));
    cr_assert_eq(nk_fs_remove(&hosting.stage.env.fs, "lsm/shard-3/manifest"), NK_OK);
    sim_fs_put(hosting.stage.fs, "lsm/shard-3/manifest", nk_buf_bytes(&manifest));
    nk_buf_deinit(&manifest);
    expect_refused(&hosting, NK_FORMAT_TOO_NEW, "shard 3 cannot be opened");
    expect_refused(&hosting, NK_FORMAT_TOO_NEW, "written by a newer version");
    stage_close(&hosting.stage);
}

Test(shardhost_recovery, a_log_whose_newest_segment_is_gone_is_refused)
{
    struct hosting hosting;
    hosting_open(&hosting);
    expect_served(&hosting, 5); /* its entries hold the oldest one */
    hosting.shard = 3;
    put_many(&hosting, 1500);
    kill_role(&hosting);
    char name[128];
    cr_assert(find_file(&hosting, "raft", ".top", name, sizeof name));
    (void)memcpy(strrchr(name, '.'), ".log", 4);
    cr_assert_eq(nk_fs_remove(&hosting.stage.env.fs, name), NK_OK);
    expect_refused(&hosting, NK_CORRUPT, "the newest segment is missing");
    expect_refused(&hosting, NK_CORRUPT, name);
    stage_close(&hosting.stage);
}

static void ignore(void *visitor, const struct raftlog_record *record)
{
    (void)visitor;
    (void)record;
}

/* Another log stands in the place of the one that belongs to the tables. */
static void replace_log(struct hosting *hosting, const struct raftlog_record *records, size_t count)
{
    remove_log(hosting);
    struct raftlog_options options = {.segment_bytes = 4 * NK_MIB, .recycled_max = 0};
    struct raftlog *log;
    cr_assert_eq(raftlog_open(&hosting->stage.env.fs, "raft", &options, ignore, NULL, &log, NULL),
                 NK_OK);
    for (size_t i = 0; i < count; i++) {
        raftlog_stage(log, &records[i]);
    }
    if (raftlog_begin(log)) {
        cr_assert_eq(raftlog_write(log), NK_OK);
        raftlog_end(log);
    }
    raftlog_close(&log);
}

Test(shardhost_recovery, a_log_that_contradicts_the_tables_fences_the_shard)
{
    const struct raftlog_record state_0 = {.kind = RAFTLOG_STATE, .shard = 3, .term = 0};
    const struct raftlog_record state = {.kind = RAFTLOG_STATE, .shard = 3, .term = 9};
#define ENTRY(t, i, k)                                                                             \
    {                                                                                              \
        .kind = RAFTLOG_ENTRY, .shard = 3, .term = (t), .index = (i), .entry_kind = (k)            \
    }
    const struct {
        struct raftlog_record records[3];
        size_t count;
    } cases[] = {
        {{{0}}, 0},                                    /* it knows nothing of the shard */
        {{state_0}, 1},                                /* a term behind that of the tables */
        {{state, ENTRY(1, 1, RAFT_ENTRY_NOOP)}, 2},    /* it ends before the tables do */
        {{state, ENTRY(9, 1000, RAFT_ENTRY_NOOP)}, 2}, /* a gap */
        {{ENTRY(1, 1, RAFT_ENTRY_NOOP)}, 1},           /* an entry without a term */
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct hosting hosting;
        open_with_data(&hosting);
        replace_log(&hosting, cases[i].records, cases[i].count);
        must_start(&hosting);
        expect_fenced(&hosting, 3);
        expect_served(&hosting, 5);
        hosting_close(&hosting);
    }
}

Test(shardhost_recovery, entries_that_raft_cannot_take_fence_the_shard)
{
    const struct raftlog_record state = {.kind = RAFTLOG_STATE, .shard = 3, .term = 4};
    const struct {
        struct raftlog_record records[3];
    } cases[] = {
        {{state, ENTRY(2, 1, RAFT_ENTRY_NOOP), ENTRY(1, 2, RAFT_ENTRY_NOOP)}},
        {{state, ENTRY(2, 1, RAFT_ENTRY_NOOP), ENTRY(5, 2, RAFT_ENTRY_NOOP)}},
        {{state, ENTRY(2, 1, RAFT_ENTRY_NOOP), ENTRY(2, 2, 77)}},
        {{state, ENTRY(2, 1, RAFT_ENTRY_NOOP), ENTRY(2, 3, RAFT_ENTRY_NOOP)}},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct hosting hosting;
        hosting_open(&hosting);
        kill_role(&hosting);
        replace_log(&hosting, cases[i].records, NK_COUNT_OF(cases[i].records));
        must_start(&hosting);
        expect_fenced(&hosting, 3);
        hosting_close(&hosting);
    }
}
#undef ENTRY

Test(shardhost_recovery, a_cut_end_of_the_log_is_told)
{
    struct hosting hosting;
    hosting_open(&hosting);
    uint64_t put = hosting_send_put(&hosting, "a", "1");
    hosting_settle(&hosting);
    cr_assert_eq(hosting_err(&hosting, put), NK_OK);
    kill_role(&hosting);
    uint64_t warnings = hosting.stage.log_counts[NK_LOG_WARN];
    must_start(&hosting);
    cr_expect_eq(hosting.stage.log_counts[NK_LOG_WARN], warnings, "the log is whole");
    kill_role(&hosting);
    struct nk_buf log = {0};
    sim_fs_read(hosting.stage.fs, "raft/0000000000000001.log", &log);
    size_t end = log.size;
    while (log.data[end - 1] == 0) {
        end--;
    }
    nk_buf_deinit(&log);
    sim_fs_flip(hosting.stage.fs, "raft/0000000000000001.log", end - 1, 1);
    warnings = hosting.stage.log_counts[NK_LOG_WARN];
    must_start(&hosting);
    cr_expect_eq(hosting.stage.log_counts[NK_LOG_WARN], warnings + 1);
    hosting_close(&hosting);
}
