/* tests/golden/raftlog/v<n>: a log that version n of the format wrote.  It must be read for ever,
 * and what the present version writes must have the same bytes. */

#include <criterion/criterion.h>
#include <stdio.h>

#include "common/base/buf.h"
#include "common/base/units.h"
#include "services/shardhost/raftlog/layout.h"
#include "services/shardhost/raftlog/raftlog.h"
#include "tests/sim/fs.h"

TestSuite(raftlog_golden, .timeout = 20);

static const struct raftlog_options options = {.segment_bytes = 2048, .recycled_max = 0};
static const char *const names[] = {"0000000000000002.log", "0000000000000003.log",
                                    "0000000000000004.log", "0000000000000004.top"};
#define SEGMENTS 3 /* of the names; version 1 had no more */

/* What the files hold: segment 1 is gone, its states were carried over. */
static const char *const expected_1 =
    "state 7 1.0 0 ''\n"
    "entry 7 1.1 1 ''\n"
    "entry 7 1.2 2 'a command'\n"
    "state 4294967295 1311768467463790320.18446744073709551615 0 ''\n"
    "state 9 3.4 0 ''\n"
    "entry 8 2.7 2 (1200)\n"
    "forget 8 0.0 0 ''\n"
    "entry 7 2.2 2 'another'\n";

static const char *const expected_2 =
    "state 7 1.0 0 ''\n"
    "entry 7 1.1 1 ''\n"
    "entry 7 1.2 2 'a command'\n"
    "state 4294967295 1311768467463790320.18446744073709551615 0 ''\n"
    "state 9 3.4 0 ''\n"
    "state 8 2.1 0 '' released 6\n"
    "entry 8 2.7 2 (1200)\n"
    "forget 8 0.0 0 ''\n"
    "entry 7 2.2 2 'another'\n";

struct transcript {
    char text[4096];
    size_t size;
};

static void visit(void *visitor, const struct raftlog_record *record)
{
    struct transcript *transcript = visitor;
    static const char *const kinds[] = {"", "entry", "state", "forget"};
    char payload[64];
    int size = record->payload.size < 32
                   ? snprintf(payload, sizeof payload, "'%.*s'", (int)record->payload.size,
                              (const char *)record->payload.data)
                   : snprintf(payload, sizeof payload, "(%zu)", record->payload.size);
    cr_assert_gt(size, 0);
    size = snprintf(transcript->text + transcript->size, sizeof transcript->text - transcript->size,
                    "%s %lu %llu.%llu %u %s\n", kinds[record->kind], (unsigned long)record->shard,
                    (unsigned long long)record->term, (unsigned long long)record->index,
                    record->entry_kind, payload);
    cr_assert_gt(size, 0);
    transcript->size += (size_t)size;
    if (record->released > 0) {
        transcript->size--; /* the end of the line */
        size = snprintf(transcript->text + transcript->size,
                        sizeof transcript->text - transcript->size, " released %llu\n",
                        (unsigned long long)record->released);
        cr_assert_gt(size, 0);
        transcript->size += (size_t)size;
    }
    cr_assert_lt(transcript->size, sizeof transcript->text);
}

static void write_round(struct raftlog *log)
{
    cr_assert(raftlog_begin(log));
    cr_assert_eq(raftlog_write(log), NK_OK);
    raftlog_end(log);
}

static void stage(struct raftlog *log, enum raftlog_kind kind, uint32_t shard, uint64_t term,
                  uint64_t index, uint8_t entry_kind, struct nk_bytes payload)
{
    struct raftlog_record record = {kind, shard, term, index, entry_kind, payload, 0};
    raftlog_stage(log, &record);
}

static void write_log(struct sim_fs *sim)
{
    struct nk_fs fs = sim_fs_handle(sim);
    static struct transcript ignored;
    struct raftlog *log = NULL;
    cr_assert_eq(raftlog_open(&fs, "raft", &options, visit, &ignored, &log, NULL), NK_OK);
    static uint8_t bulk_bytes[1200];
    memset(bulk_bytes, 'b', sizeof bulk_bytes);
    struct nk_bytes bulk = nk_bytes_of(bulk_bytes, sizeof bulk_bytes);
    struct nk_bytes none = {NULL, 0};
    stage(log, RAFTLOG_STATE, 9, 3, 4, 0, none);
    stage(log, RAFTLOG_STATE, 8, 2, 1, 0, none);
    stage(log, RAFTLOG_ENTRY, 8, 2, 6, 2, bulk);
    write_round(log);
    raftlog_release(log, 8, 6);
    stage(log, RAFTLOG_STATE, 7, 1, 0, 0, none);
    stage(log, RAFTLOG_ENTRY, 7, 1, 1, 1, none);
    stage(log, RAFTLOG_ENTRY, 7, 1, 2, 2, nk_bytes_of_string("a command"));
    stage(log, RAFTLOG_STATE, 0xFFFFFFFF, UINT64_C(0x123456789ABCDEF0), UINT64_MAX, 0, none);
    write_round(log);
    stage(log, RAFTLOG_ENTRY, 8, 2, 7, 2, bulk);
    raftlog_forget(log, 8);
    write_round(log);
    stage(log, RAFTLOG_ENTRY, 7, 2, 2, 2, nk_bytes_of_string("another"));
    write_round(log);
    raftlog_close(&log);
}

static void load_golden(struct sim_fs *sim, unsigned version)
{
    for (size_t i = 0; i < (version == 1 ? SEGMENTS : NK_COUNT_OF(names)); i++) {
        char path[512];
        (void)snprintf(path, sizeof path, "%s/v%u/%s", GOLDEN_DIRECTORY, version, names[i]);
        FILE *file = fopen(path, "rb");
        cr_assert_not_null(file, "%s", path);
        static uint8_t bytes[65536];
        size_t size = fread(bytes, 1, sizeof bytes, file);
        (void)fclose(file);
        char name[64];
        (void)snprintf(name, sizeof name, "raft/%s", names[i]);
        sim_fs_put(sim, name, nk_bytes_of(bytes, size));
    }
}

static struct raftlog *open_golden(struct sim_fs *sim, struct transcript *transcript)
{
    struct nk_fs fs = sim_fs_handle(sim);
    memset(transcript, 0, sizeof *transcript);
    struct raftlog *log = NULL;
    cr_assert_eq(raftlog_open(&fs, "raft", &options, visit, transcript, &log, NULL), NK_OK);
    return log;
}

Test(raftlog_golden, every_version_is_read)
{
    static const char *const expected[] = {expected_1, expected_2};
    cr_assert_eq(RAFTLOG_FORMAT_VERSION, NK_COUNT_OF(expected));
    for (unsigned version = 1; version <= NK_COUNT_OF(expected); version++) {
        struct sim_fs *sim = sim_fs_new(1);
        load_golden(sim, version);
        static struct transcript transcript;
        struct raftlog *log = open_golden(sim, &transcript);
        cr_expect_str_eq(transcript.text, expected[version - 1]);
        raftlog_close(&log);
        sim_fs_free(&sim);
    }
}

/* A reader of version 1 that finds the log later must be told by a head that it cannot read it: so
 * what we add goes to a segment of ours. */
Test(raftlog_golden, a_log_of_version_1_goes_on_in_a_new_segment)
{
    struct sim_fs *sim = sim_fs_new(1);
    load_golden(sim, 1);
    struct nk_buf before = {0};
    sim_fs_read(sim, "raft/0000000000000004.log", &before);
    static struct transcript transcript;
    struct raftlog *log = open_golden(sim, &transcript);
    stage(log, RAFTLOG_ENTRY, 7, 2, 3, 2, nk_bytes_of_string("new"));
    write_round(log);
    raftlog_close(&log);
    struct nk_buf after = {0};
    sim_fs_read(sim, "raft/0000000000000004.log", &after);
    cr_expect(nk_bytes_equal(nk_buf_bytes(&before), nk_buf_bytes(&after)));
    sim_fs_read(sim, "raft/0000000000000005.log", &after);
    struct raftlog_segment_head head = {0};
    cr_assert_eq(raftlog_segment_head_decode(after.data, &head), NK_OK);
    cr_expect_eq(head.version, RAFTLOG_FORMAT_VERSION);
    cr_expect(sim_fs_exists(sim, "raft/0000000000000005.top"));
    log = open_golden(sim, &transcript);
    cr_expect_str_eq(transcript.text + transcript.size - strlen("entry 7 2.3 2 'new'\n"),
                     "entry 7 2.3 2 'new'\n");
    raftlog_close(&log);
    nk_buf_deinit(&before);
    nk_buf_deinit(&after);
    sim_fs_free(&sim);
}

Test(raftlog_golden, the_present_version_is_what_we_write)
{
    struct sim_fs *golden = sim_fs_new(1);
    struct sim_fs *sim = sim_fs_new(1);
    write_log(sim);
    load_golden(golden, RAFTLOG_FORMAT_VERSION);
    struct nk_buf left = {0};
    struct nk_buf right = {0};
    sim_fs_list(golden, "raft", &left);
    sim_fs_list(sim, "raft", &right);
    cr_expect(nk_bytes_equal(nk_buf_bytes(&left), nk_buf_bytes(&right)), "other files");
    for (size_t i = 0; i < NK_COUNT_OF(names); i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "raft/%s", names[i]);
        sim_fs_read(golden, name, &left);
        sim_fs_read(sim, name, &right);
        cr_expect(nk_bytes_equal(nk_buf_bytes(&left), nk_buf_bytes(&right)), "%s", names[i]);
    }
    nk_buf_deinit(&left);
    nk_buf_deinit(&right);
    sim_fs_free(&golden);
    sim_fs_free(&sim);
}
