#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>

#include "common/base/alloc.h"
#include "common/base/codec.h"
#include "common/base/crc32c.h"
#include "common/base/units.h"
#include "services/shardhost/raftlog/layout.h"
#include "services/shardhost/raftlog/raftlog.h"
#include "tests/sim/fs.h"

TestSuite(raftlog, .timeout = 60);

static const struct raftlog_options options = {.segment_bytes = 4096, .recycled_max = 1};

/* What an open visited, one line a record. */
struct transcript {
    char text[65536];
    size_t size;
    size_t count;
};

static void visit(void *visitor, const struct raftlog_record *record)
{
    struct transcript *transcript = visitor;
    static const char *const kinds[] = {"", "entry", "state", "forget"};
    int size =
        snprintf(transcript->text + transcript->size, sizeof transcript->text - transcript->size,
                 "%s %u %u.%u %u %zu:%.*s\n", kinds[record->kind], (unsigned)record->shard,
                 (unsigned)record->term, (unsigned)record->index, record->entry_kind,
                 record->payload.size, (int)(record->payload.size < 8 ? record->payload.size : 8),
                 (const char *)record->payload.data);
    cr_assert_gt(size, 0);
    transcript->size += (size_t)size;
    if (record->released > 0) {
        size = snprintf(transcript->text + transcript->size - 1,
                        sizeof transcript->text - transcript->size, " released %u\n",
                        (unsigned)record->released);
        cr_assert_gt(size, 0);
        transcript->size += (size_t)size - 1;
    }
    cr_assert_lt(transcript->size, sizeof transcript->text);
    transcript->count++;
}

static struct raftlog *must_open(struct sim_fs *sim, struct transcript *out_transcript)
{
    static struct transcript ignored;
    struct transcript *transcript = out_transcript != NULL ? out_transcript : &ignored;
    memset(transcript, 0, sizeof *transcript);
    struct nk_fs fs = sim_fs_handle(sim);
    struct raftlog *log = NULL;
    struct raftlog_fault fault = {0};
    enum nk_err err = raftlog_open(&fs, "raft", &options, visit, transcript, &log, &fault);
    cr_assert_eq(err, NK_OK, "%s %s: %s", nk_err_name(err), fault.file, fault.what);
    return log;
}

static enum nk_err try_open(struct sim_fs *sim, struct transcript *transcript,
                            struct raftlog_fault *out_fault)
{
    memset(transcript, 0, sizeof *transcript);
    struct nk_fs fs = sim_fs_handle(sim);
    struct raftlog *log = NULL;
    enum nk_err err = raftlog_open(&fs, "raft", &options, visit, transcript, &log, out_fault);
    raftlog_close(&log);
    return err;
}

static void stage_entry(struct raftlog *log, uint32_t shard, uint64_t index, const char *payload)
{
    struct raftlog_record record = {.kind = RAFTLOG_ENTRY,
                                    .shard = shard,
                                    .term = 1,
                                    .index = index,
                                    .entry_kind = 2,
                                    .payload = nk_bytes_of_string(payload)};
    raftlog_stage(log, &record);
}

static void stage_bulk(struct raftlog *log, uint32_t shard, uint64_t index, size_t size)
{
    uint8_t *payload = nk_alloc(size);
    memset(payload, 'x', size);
    struct raftlog_record record = {.kind = RAFTLOG_ENTRY,
                                    .shard = shard,
                                    .term = 1,
                                    .index = index,
                                    .payload = nk_bytes_of(payload, size)};
    raftlog_stage(log, &record);
    nk_free(payload);
}

static void stage_state(struct raftlog *log, uint32_t shard, uint64_t term, uint64_t vote)
{
    struct raftlog_record record = {
        .kind = RAFTLOG_STATE, .shard = shard, .term = term, .index = vote};
    raftlog_stage(log, &record);
}

static void write_round(struct raftlog *log)
{
    cr_assert(raftlog_begin(log));
    cr_assert_eq(raftlog_write(log), NK_OK);
    raftlog_end(log);
}

static void expect_files(const struct sim_fs *sim, const char *expected)
{
    struct nk_buf names = {0};
    sim_fs_list(sim, "raft", &names);
    nk_buf_append_u8(&names, 0);
    cr_expect_str_eq((const char *)names.data, expected);
    nk_buf_deinit(&names);
}

Test(raftlog, records_come_back_in_the_order_in_which_they_were_staged)
{
    struct sim_fs *sim = sim_fs_new(1);
    struct raftlog *log = must_open(sim, NULL);
    cr_expect_not(raftlog_begin(log), "nothing is staged");
    stage_state(log, 7, 1, 3);
    stage_entry(log, 7, 1, "one");
    stage_entry(log, 9, 5, "");
    cr_expect_gt(raftlog_staged_bytes(log), 0);
    write_round(log);
    cr_expect_eq(raftlog_staged_bytes(log), 0);
    stage_entry(log, 7, 2, "two");
    write_round(log);
    raftlog_close(&log);
    cr_expect_null(log);
    raftlog_close(&log);

    static struct transcript transcript;
    log = must_open(sim, &transcript);
    cr_expect_str_eq(transcript.text, "state 7 1.3 0 0:\nentry 7 1.1 2 3:one\nentry 9 1.5 2 0:\n"
                                      "entry 7 1.2 2 3:two\n");
    raftlog_close(&log);
    sim_fs_free(&sim);
}

Test(raftlog, the_loop_stages_the_next_round_while_one_runs)
{
    struct sim_fs *sim = sim_fs_new(1);
    struct raftlog *log = must_open(sim, NULL);
    stage_entry(log, 1, 1, "first");
    cr_assert(raftlog_begin(log));
    stage_entry(log, 1, 2, "second");
    cr_assert_eq(raftlog_write(log), NK_OK);
    stage_entry(log, 1, 3, "third");
    raftlog_end(log);
    write_round(log);
    raftlog_close(&log);

    static struct transcript transcript;
    log = must_open(sim, &transcript);
    cr_expect_str_eq(transcript.text,
                     "entry 1 1.1 2 5:first\nentry 1 1.2 2 6:second\nentry 1 1.3 2 5:third\n");
    raftlog_close(&log);
    sim_fs_free(&sim);
}

Test(raftlog, a_round_is_one_write_and_one_sync)
{
    struct sim_fs *sim = sim_fs_new(1);
    struct raftlog *log = must_open(sim, NULL);
    for (uint64_t i = 1; i <= 3; i++) {
        stage_entry(log, (uint32_t)i, i, "payload");
    }
    uint64_t before = sim_fs_operations(sim);
    write_round(log);
    cr_expect_eq(sim_fs_operations(sim) - before, 2);
    raftlog_close(&log);
    sim_fs_free(&sim);
}

Test(raftlog, a_round_larger_than_a_segment_goes_on_in_the_next)
{
    struct sim_fs *sim = sim_fs_new(1);
    struct raftlog *log = must_open(sim, NULL);
    for (uint64_t i = 1; i <= 10; i++) {
        stage_bulk(log, 1, i, 1000);
    }
    write_round(log);
    raftlog_close(&log);
    expect_files(sim, "0000000000000001.log\n0000000000000002.log\n0000000000000003.log\n"
                      "0000000000000004.log\n0000000000000004.top\n");
    static struct transcript transcript;
    log = must_open(sim, &transcript);
    cr_expect_eq(transcript.count, 10);
    raftlog_close(&log);
    sim_fs_free(&sim);
}

Test(raftlog, a_record_larger_than_a_segment_has_one_for_itself)
{
    struct sim_fs *sim = sim_fs_new(1);
    struct raftlog *log = must_open(sim, NULL);
    stage_entry(log, 1, 1, "small");
    stage_bulk(log, 1, 2, 3 * 1024 * 1024);
    stage_entry(log, 1, 3, "small");
    write_round(log);
    raftlog_close(&log);
    expect_files(
        sim,
        "0000000000000001.log\n0000000000000002.log\n0000000000000003.log\n0000000000000003.top\n");
    static struct transcript transcript;
    log = must_open(sim, &transcript);
    cr_expect_str_eq(transcript.text, "entry 1 1.1 2 5:small\nentry 1 1.2 0 3145728:xxxxxxxx\n"
                                      "entry 1 1.3 2 5:small\n");
    raftlog_close(&log);
    sim_fs_free(&sim);
}

Test(raftlog, a_batch_is_closed_at_its_limit)
{
    static const struct raftlog_options large = {.segment_bytes = 8 << 20, .recycled_max = 0};
    struct sim_fs *sim = sim_fs_new(1);
    struct nk_fs fs = sim_fs_handle(sim);
    static struct transcript transcript;
    struct raftlog *log = NULL;
    cr_assert_eq(raftlog_open(&fs, "raft", &large, visit, &transcript, &log, NULL), NK_OK);
    for (uint64_t i = 1; i <= 5; i++) {
        stage_bulk(log, 1, i, 400000);
    }
    write_round(log);
    raftlog_close(&log);
    struct nk_buf bytes = {0};
    sim_fs_read(sim, "raft/0000000000000001.log", &bytes);
    uint64_t offset = RAFTLOG_SECTOR_BYTES;
    size_t records = 0;
    size_t batches = 0;
    while (offset < bytes.size) {
        struct raftlog_batch_head head;
        cr_assert(raftlog_batch_head_decode(bytes.data + offset, 1, offset, bytes.size, &head));
        cr_expect_eq(head.round_start, RAFTLOG_SECTOR_BYTES);
        cr_expect_leq(head.length, RAFTLOG_BATCH_BYTES_MAX);
        records += head.record_count;
        batches++;
        offset += raftlog_sectors(head.length);
    }
    cr_expect_eq(records, 5);
    cr_expect_eq(batches, 3);
    nk_buf_deinit(&bytes);
    sim_fs_free(&sim);
}

Test(raftlog, released_segments_are_recycled_and_the_rest_removed)
{
    struct sim_fs *sim = sim_fs_new(1);
    struct raftlog *log = must_open(sim, NULL);
    for (uint64_t i = 1; i <= 7; i++) {
        stage_bulk(log, 1, i, 2500);
        write_round(log);
    }
    cr_expect_eq(nk_gauge_get(&raftlog_stats(log)->segments), 7);
    raftlog_release(log, 1, 5);
    stage_entry(log, 2, 1, "still fits");
    write_round(log);
    cr_expect_eq(nk_gauge_get(&raftlog_stats(log)->segments), 2);
    expect_files(
        sim,
        "0000000000000001.old\n0000000000000006.log\n0000000000000007.log\n0000000000000007.top\n");
    stage_bulk(log, 1, 8, 2500);
    write_round(log);
    expect_files(
        sim,
        "0000000000000006.log\n0000000000000007.log\n0000000000000008.log\n0000000000000008.top\n");
    raftlog_close(&log);
    static struct transcript transcript;
    log = must_open(sim, &transcript);
    cr_expect_str_eq(transcript.text, "entry 1 1.6 0 2500:xxxxxxxx\nentry 1 1.7 0 2500:xxxxxxxx\n"
                                      "entry 2 1.1 2 10:still fi\nentry 1 1.8 0 2500:xxxxxxxx\n");
    raftlog_close(&log);
    sim_fs_free(&sim);
}

Test(raftlog, states_of_a_dropped_segment_are_carried_over)
{
    struct sim_fs *sim = sim_fs_new(1);
    struct raftlog *log = must_open(sim, NULL);
    stage_state(log, 1, 4, 2);
    stage_state(log, 2, 5, 0);
    stage_state(log, 3, 6, 1);
    stage_bulk(log, 1, 1, 2500);
    write_round(log);
    stage_bulk(log, 1, 2, 2500);
    stage_state(log, 2, 7, 3);
    write_round(log);
    raftlog_forget(log, 3);
    raftlog_release(log, 1, 1);
    write_round(log);
    expect_files(sim, "0000000000000001.old\n0000000000000002.log\n0000000000000002.top\n");
    raftlog_close(&log);
    static struct transcript transcript;
    log = must_open(sim, &transcript);
    cr_expect_str_eq(transcript.text, "entry 1 1.2 0 2500:xxxxxxxx\nstate 2 7.3 0 0:\n"
                                      "forget 3 0.0 0 0:\nstate 1 4.2 0 0: released 1\n");
    raftlog_close(&log);
    sim_fs_free(&sim);
}

/* The STATE is in a segment that stays, and was written before the release. */
Test(raftlog, what_was_released_is_told_before_it_goes)
{
    struct sim_fs *sim = sim_fs_new(1);
    struct raftlog *log = must_open(sim, NULL);
    stage_bulk(log, 1, 1, 2500);
    write_round(log);
    stage_bulk(log, 1, 2, 2500);
    write_round(log);
    stage_state(log, 1, 4, 2);
    stage_bulk(log, 1, 3, 2500);
    write_round(log);
    raftlog_release(log, 1, 1);
    write_round(log);
    raftlog_close(&log);
    expect_files(sim, "0000000000000001.old\n0000000000000002.log\n0000000000000003.log\n"
                      "0000000000000003.top\n");
    static struct transcript transcript;
    log = must_open(sim, &transcript);
    cr_expect_str_eq(transcript.text, "entry 1 1.2 0 2500:xxxxxxxx\nstate 1 4.2 0 0:\n"
                                      "entry 1 1.3 0 2500:xxxxxxxx\nstate 1 4.2 0 0: released 1\n");
    raftlog_close(&log);
    sim_fs_free(&sim);
}

/* Neither a new state nor a process that has released nothing yet tells of less. */
Test(raftlog, what_was_told_stays_told_until_the_shard_is_forgotten)
{
    struct sim_fs *sim = sim_fs_new(1);
    struct raftlog *log = must_open(sim, NULL);
    stage_state(log, 1, 4, 2);
    stage_bulk(log, 1, 1, 3000);
    stage_bulk(log, 1, 2, 3000);
    write_round(log);
    raftlog_release(log, 1, 2);
    write_round(log);
    stage_state(log, 1, 5, 2);
    write_round(log);
    raftlog_close(&log);
    log = must_open(sim, NULL);
    stage_state(log, 1, 6, 3);
    write_round(log);
    raftlog_forget(log, 1);
    stage_state(log, 1, 1, 0);
    write_round(log);
    raftlog_close(&log);
    static struct transcript transcript;
    log = must_open(sim, &transcript);
    cr_expect_str_eq(transcript.text, "state 1 5.2 0 0: released 2\n"
                                      "state 1 6.3 0 0: released 2\n"
                                      "forget 1 0.0 0 0:\nstate 1 1.0 0 0:\n");
    raftlog_close(&log);
    sim_fs_free(&sim);
}

/* More states than a segment can take: carried over, they fill the segments that follow. */
Test(raftlog, many_states_in_small_segments_do_not_chase_themselves)
{
    static const struct raftlog_options tiny = {.segment_bytes = 1024, .recycled_max = 1};
    struct sim_fs *sim = sim_fs_new(1);
    struct nk_fs fs = sim_fs_handle(sim);
    static struct transcript transcript;
    struct raftlog *log = NULL;
    cr_assert_eq(raftlog_open(&fs, "raft", &tiny, visit, &transcript, &log, NULL), NK_OK);
    for (uint32_t i = 0; i < 100; i++) {
        stage_state(log, i, 1, i);
    }
    write_round(log);
    for (uint64_t i = 1; i <= 20; i++) {
        stage_state(log, 0, i, 0);
        write_round(log);
    }
    raftlog_close(&log);
    memset(&transcript, 0, sizeof transcript);
    cr_assert_eq(raftlog_open(&fs, "raft", &tiny, visit, &transcript, &log, NULL), NK_OK);
    raftlog_close(&log);
    cr_expect(transcript.count >= 100 && transcript.count < 250);
    sim_fs_free(&sim);
}

Test(raftlog, a_file_that_was_a_larger_segment_is_cut_to_size)
{
    struct sim_fs *sim = sim_fs_new(1);
    struct raftlog *log = must_open(sim, NULL);
    stage_bulk(log, 1, 1, 50000);
    stage_bulk(log, 1, 2, 1000);
    write_round(log);
    raftlog_release(log, 1, 1);
    stage_bulk(log, 1, 3, 1000);
    write_round(log);
    expect_files(sim, "0000000000000001.old\n0000000000000002.log\n0000000000000002.top\n");
    stage_bulk(log, 1, 4, 2000);
    write_round(log);
    expect_files(sim, "0000000000000002.log\n0000000000000003.log\n0000000000000003.top\n");
    struct nk_buf bytes = {0};
    sim_fs_read(sim, "raft/0000000000000003.log", &bytes);
    cr_expect_eq(bytes.size, 4096);
    nk_buf_deinit(&bytes);
    raftlog_close(&log);
    sim_fs_free(&sim);
}

Test(raftlog, the_oldest_holder_is_named_until_it_lets_go)
{
    struct sim_fs *sim = sim_fs_new(1);
    struct raftlog *log = must_open(sim, NULL);
    uint32_t shard = 0;
    uint64_t index = 0;
    stage_entry(log, 4, 17, "cold");
    cr_expect_not(raftlog_oldest_holder(log, NULL, NULL, &shard, &index), "no segment is closed");
    stage_bulk(log, 1, 1, 3000);
    stage_bulk(log, 1, 2, 3000);
    write_round(log);
    raftlog_release(log, 1, 1);
    cr_expect(raftlog_oldest_holder(log, NULL, NULL, &shard, &index));
    cr_expect_eq(shard, 4);
    cr_expect_eq(index, 17);
    raftlog_release(log, 4, 17);
    cr_expect_not(raftlog_oldest_holder(log, NULL, NULL, &shard, &index));
    raftlog_close(&log);

    log = must_open(sim, NULL);
    cr_expect(raftlog_oldest_holder(log, NULL, NULL, &shard, &index),
              "releases are not remembered");
    raftlog_close(&log);
    sim_fs_free(&sim);
}

static bool is_shard_4(void *ctx, uint32_t shard)
{
    (void)ctx;
    return shard == 4;
}

Test(raftlog, a_holder_that_is_skipped_hides_none_behind_it)
{
    struct sim_fs *sim = sim_fs_new(1);
    struct raftlog *log = must_open(sim, NULL);
    uint32_t shard = 0;
    uint64_t index = 0;
    stage_entry(log, 4, 17, "damaged");
    stage_entry(log, 5, 3, "cold");
    stage_bulk(log, 1, 1, 3000);
    stage_bulk(log, 1, 2, 3000);
    write_round(log);
    raftlog_release(log, 1, 2);
    cr_expect(raftlog_oldest_holder(log, is_shard_4, NULL, &shard, &index));
    cr_expect_eq(shard, 5);
    cr_expect_eq(index, 3);
    raftlog_release(log, 5, 3);
    cr_expect_not(raftlog_oldest_holder(log, is_shard_4, NULL, &shard, &index));
    cr_expect(raftlog_oldest_holder(log, NULL, NULL, &shard, &index), "its records are kept");
    cr_expect_eq(shard, 4);
    raftlog_close(&log);
    sim_fs_free(&sim);
}

Test(raftlog, forgetting_a_shard_that_the_log_does_not_know_writes_nothing)
{
    struct sim_fs *sim = sim_fs_new(1);
    struct raftlog *log = must_open(sim, NULL);
    raftlog_forget(log, 5);
    cr_expect_not(raftlog_begin(log));
    raftlog_close(&log);
    sim_fs_free(&sim);
}

Test(raftlog, a_full_disk_keeps_the_round_for_another_attempt)
{
    struct sim_fs *sim = sim_fs_new(1);
    struct raftlog *log = must_open(sim, NULL);
    stage_bulk(log, 1, 1, 3000);
    write_round(log);
    sim_fs_limit_space(sim, 5000);
    stage_bulk(log, 1, 2, 3000);
    stage_bulk(log, 1, 3, 3000);
    cr_assert(raftlog_begin(log));
    cr_expect_eq(raftlog_write(log), NK_NO_SPACE);
    cr_expect_eq(raftlog_last_fault(log)->err, NK_NO_SPACE);
    cr_expect_eq(raftlog_write(log), NK_NO_SPACE);
    sim_fs_limit_space(sim, UINT64_MAX);
    cr_expect_eq(raftlog_write(log), NK_OK);
    raftlog_end(log);
    raftlog_close(&log);
    static struct transcript transcript;
    log = must_open(sim, &transcript);
    cr_expect_eq(transcript.count, 3);
    raftlog_close(&log);
    sim_fs_free(&sim);
}

Test(raftlog, a_full_disk_costs_the_spares_first)
{
    struct sim_fs *sim = sim_fs_new(1);
    struct raftlog *log = must_open(sim, NULL);
    for (uint64_t i = 1; i <= 2; i++) {
        stage_bulk(log, 1, i, 2000);
        write_round(log);
    }
    raftlog_release(log, 1, 1);
    stage_entry(log, 1, 3, "");
    write_round(log);
    expect_files(sim, "0000000000000001.old\n0000000000000002.log\n0000000000000002.top\n");
    sim_fs_limit_space(sim, 6000);
    stage_bulk(log, 1, 4, 400);
    write_round(log);
    expect_files(sim, "0000000000000002.log\n0000000000000002.top\n");
    raftlog_close(&log);
    sim_fs_free(&sim);
}

/* On a full disk nobody writes, and nothing else would make room. */
Test(raftlog, segments_that_nobody_needs_go_without_a_record)
{
    struct sim_fs *sim = sim_fs_new(1);
    struct raftlog *log = must_open(sim, NULL);
    stage_state(log, 1, 1, 9);
    for (uint64_t i = 1; i <= 4; i++) {
        stage_bulk(log, 1, i, 3000);
        write_round(log);
    }
    cr_expect_not(raftlog_begin(log), "all are needed");
    raftlog_release(log, 1, 3);
    write_round(log);
    expect_files(sim, "0000000000000001.old\n0000000000000004.log\n0000000000000004.top\n");
    cr_expect_not(raftlog_begin(log), "nothing is left to do");
    raftlog_close(&log);
    static struct transcript transcript;
    log = must_open(sim, &transcript);
    cr_expect_eq(transcript.count, 2);
    raftlog_close(&log);
    sim_fs_free(&sim);
}

Test(raftlog, states_that_fill_the_segments_are_not_written_again_and_again)
{
    struct sim_fs *sim = sim_fs_new(1);
    struct raftlog *log = must_open(sim, NULL);
    for (uint32_t shard = 0; shard < 600; shard++) {
        stage_state(log, shard, 1, 9);
    }
    write_round(log);
    cr_expect_gt(nk_gauge_get(&raftlog_stats(log)->segments), 3);
    cr_expect_not(raftlog_begin(log));
    raftlog_close(&log);
    sim_fs_free(&sim);
}

Test(raftlog, after_a_failed_sync_the_log_is_dead)
{
    struct sim_fs *sim = sim_fs_new(1);
    struct raftlog *log = must_open(sim, NULL);
    stage_entry(log, 1, 1, "text");
    cr_assert(raftlog_begin(log));
    sim_fs_fail_at(sim, 2, NK_IO);
    cr_expect_eq(raftlog_write(log), NK_IO);
    const struct raftlog_fault *fault = raftlog_last_fault(log);
    cr_expect_eq(fault->err, NK_IO);
    cr_expect_str_eq(fault->file, "raft/0000000000000001.log");
    cr_expect_eq(fault->offset, 512);
    uint64_t operations = sim_fs_operations(sim);
    cr_expect_eq(raftlog_write(log), NK_IO);
    cr_expect_eq(sim_fs_operations(sim), operations, "it does not try");
    raftlog_close(&log);
    sim_fs_free(&sim);
}

Test(raftlog, what_was_visited_survives_although_its_sync_failed_before)
{
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct nk_prng prng;
        nk_prng_init(&prng, seed);
        struct sim_fs *sim = sim_fs_new(seed);
        struct raftlog *log = must_open(sim, NULL);
        stage_entry(log, 1, 1, "text");
        cr_assert(raftlog_begin(log));
        sim_fs_fail_at(sim, 2, NK_IO);
        cr_assert_eq(raftlog_write(log), NK_IO);
        raftlog_close(&log);
        sim_fs_kill(sim);
        static struct transcript before;
        static struct transcript after;
        log = must_open(sim, &before);
        raftlog_close(&log);
        cr_assert_eq(before.count, 1);
        sim_fs_crash(sim, &prng);
        log = must_open(sim, &after);
        raftlog_close(&log);
        cr_assert_str_eq(before.text, after.text, "seed %zu", (size_t)seed);
        sim_fs_free(&sim);
    }
}

/* Three segments; the last has three rounds. */
static struct sim_fs *three_segments(void)
{
    struct sim_fs *sim = sim_fs_new(1);
    struct raftlog *log = must_open(sim, NULL);
    for (uint64_t i = 1; i <= 5; i++) {
        stage_entry(log, 1, 2 * i, "abcdefgh");
        stage_bulk(log, 1, 2 * i + 1, i <= 2 ? 3000 : 200);
        write_round(log);
    }
    raftlog_close(&log);
    expect_files(
        sim,
        "0000000000000001.log\n0000000000000002.log\n0000000000000003.log\n0000000000000003.top\n");
    return sim;
}

Test(raftlog, a_missing_segment_is_corruption)
{
    static struct transcript transcript;
    struct raftlog_fault fault = {0};
    struct sim_fs *sim = three_segments();
    struct nk_fs fs = sim_fs_handle(sim);
    cr_assert_eq(nk_fs_remove(&fs, "raft/0000000000000002.log"), NK_OK);
    cr_expect_eq(try_open(sim, &transcript, &fault), NK_CORRUPT);
    cr_expect_str_eq(fault.file, "raft/0000000000000002.log");
    sim_fs_free(&sim);
}

Test(raftlog, a_missing_newest_segment_is_corruption)
{
    static struct transcript transcript;
    struct raftlog_fault fault = {0};
    for (uint64_t last = 3; last > 0; last--) { /* it alone, then with those before it */
        struct sim_fs *sim = three_segments();
        struct nk_fs fs = sim_fs_handle(sim);
        for (uint64_t i = last; i <= 3; i++) {
            char name[64];
            (void)snprintf(name, sizeof name, "raft/%016llx.log", (unsigned long long)i);
            cr_assert_eq(nk_fs_remove(&fs, name), NK_OK);
        }
        cr_expect_eq(try_open(sim, &transcript, &fault), NK_CORRUPT);
        cr_expect_str_eq(fault.file, "raft/0000000000000003.log");
        cr_expect_eq(transcript.count, 0);
        cr_expect(sim_fs_exists(sim, "raft/0000000000000003.top"), "nothing was changed");
        sim_fs_free(&sim);
    }
}

/* It is a second witness: the segments alone are a log, too. */
Test(raftlog, a_mark_that_is_missing_is_made_again)
{
    struct sim_fs *sim = three_segments();
    struct nk_fs fs = sim_fs_handle(sim);
    cr_assert_eq(nk_fs_remove(&fs, "raft/0000000000000003.top"), NK_OK);
    static struct transcript transcript;
    struct raftlog *log = must_open(sim, &transcript);
    cr_expect_eq(transcript.count, 10);
    raftlog_close(&log);
    expect_files(sim, "0000000000000001.log\n0000000000000002.log\n0000000000000003.log\n"
                      "0000000000000003.top\n");
    sim_fs_free(&sim);
}

Test(raftlog, spares_without_any_segment_are_corruption)
{
    static struct transcript transcript;
    struct sim_fs *sim = three_segments();
    struct nk_fs fs = sim_fs_handle(sim);
    cr_assert_eq(nk_fs_rename(&fs, "raft/0000000000000001.log", "raft/0000000000000001.old"),
                 NK_OK);
    cr_assert_eq(nk_fs_remove(&fs, "raft/0000000000000002.log"), NK_OK);
    cr_assert_eq(nk_fs_remove(&fs, "raft/0000000000000003.log"), NK_OK);
    cr_expect_eq(try_open(sim, &transcript, NULL), NK_CORRUPT);
    sim_fs_free(&sim);
}

Test(raftlog, a_later_format_is_refused_and_left_alone)
{
    static struct transcript transcript;
    struct raftlog_fault fault = {0};
    struct sim_fs *sim = three_segments();
    struct nk_buf before = {0};
    sim_fs_read(sim, "raft/0000000000000003.log", &before);
    before.data[8] = (uint8_t)(RAFTLOG_FORMAT_VERSION + 1);
    memset(before.data + 12, 0, 4);
    uint32_t crc = nk_crc32c(nk_bytes_of(before.data, 512));
    nk_put_u32(before.data + 12, crc);
    struct nk_fs fs = sim_fs_handle(sim);
    cr_assert_eq(nk_fs_remove(&fs, "raft/0000000000000003.log"), NK_OK);
    sim_fs_put(sim, "raft/0000000000000003.log", nk_buf_bytes(&before));
    cr_expect_eq(try_open(sim, &transcript, &fault), NK_FORMAT_TOO_NEW);
    cr_expect_eq(fault.err, NK_FORMAT_TOO_NEW);
    cr_expect_eq(transcript.count, 0);
    struct nk_buf after = {0};
    sim_fs_read(sim, "raft/0000000000000003.log", &after);
    cr_expect(nk_bytes_equal(nk_buf_bytes(&before), nk_buf_bytes(&after)));
    nk_buf_deinit(&before);
    nk_buf_deinit(&after);
    sim_fs_free(&sim);
}

Test(raftlog, foreign_files_are_left_alone)
{
    struct sim_fs *sim = sim_fs_new(1);
    sim_fs_put(sim, "raft/LOCK", nk_bytes_of_string("x"));
    sim_fs_put(sim, "raft/00000000000000zz.log", nk_bytes_of_string("x"));
    sim_fs_put(sim, "raft/0000000000000000.log", nk_bytes_of_string("x"));
    struct raftlog *log = must_open(sim, NULL);
    raftlog_close(&log);
    expect_files(sim, "0000000000000000.log\n0000000000000001.log\n0000000000000001."
                      "top\n00000000000000zz.log\nLOCK\n");
    sim_fs_free(&sim);
}

/* Each byte of each file, flipped on its own. */
Test(raftlog, a_flipped_byte_never_makes_a_wrong_record)
{
    struct sim_fs *master = three_segments();
    static struct transcript whole;
    static struct transcript transcript;
    cr_assert_eq(try_open(master, &whole, NULL), NK_OK);
    cr_assert_eq(whole.count, 10);
    struct nk_buf files[3] = {{0}};
    static char names[3][32];
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(names[i], sizeof names[i], "raft/%016zx.log", i + 1);
        sim_fs_read(master, names[i], &files[i]);
    }
    size_t corrupt = 0;
    size_t cut = 0;
    size_t harmless = 0;
    for (size_t i = 0; i < 3; i++) {
        for (size_t offset = 0; offset < files[i].size; offset++) {
            struct sim_fs *sim = sim_fs_new(1);
            for (size_t j = 0; j < 3; j++) {
                sim_fs_put(sim, names[j], nk_buf_bytes(&files[j]));
            }
            sim_fs_flip(sim, names[i], offset, (uint8_t)(1 << offset % 8));
            struct raftlog_fault fault = {0};
            enum nk_err err = try_open(sim, &transcript, &fault);
            cr_assert_eq(memcmp(whole.text, transcript.text, transcript.size), 0);
            if (err == NK_CORRUPT) {
                cr_assert_str_eq(fault.file, names[i], "%zu %s", offset, fault.what);
                corrupt++;
            } else {
                cr_assert_eq(err, NK_OK);
                cr_assert(transcript.count == 10 || transcript.count == 8, "%s %zu", names[i],
                          offset);
                cr_assert(transcript.count == 10 || i == 2, "only the last round can be cut");
                *(transcript.count == 10 ? &harmless : &cut) += 1;
            }
            sim_fs_free(&sim);
        }
    }
    for (size_t i = 0; i < 3; i++) {
        nk_buf_deinit(&files[i]);
    }
    cr_expect_gt(corrupt, 3 * 512 + 2 * 3000);
    cr_expect_eq(cut, 32 + 2 * 28 + 8 + 200, "the last round, without its padding");
    cr_expect_gt(harmless, 0);
    sim_fs_free(&master);
}

/* A round of several batches: the first is torn, the others are whole.  They must never come back.
 */
Test(raftlog, whole_batches_behind_a_torn_one_are_cut_for_good)
{
    static const struct raftlog_options large = {.segment_bytes = 16 << 20, .recycled_max = 0};
    struct sim_fs *sim = sim_fs_new(1);
    struct nk_fs fs = sim_fs_handle(sim);
    static struct transcript transcript;
    struct raftlog *log = NULL;
    cr_assert_eq(raftlog_open(&fs, "raft", &large, visit, &transcript, &log, NULL), NK_OK);
    stage_entry(log, 1, 1, "kept");
    write_round(log);
    for (uint64_t i = 2; i <= 4; i++) {
        stage_bulk(log, 1, i, 900000);
    }
    write_round(log);
    raftlog_close(&log);
    sim_fs_flip(sim, "raft/0000000000000001.log", 1024 + 5000, 1);

    memset(&transcript, 0, sizeof transcript);
    cr_assert_eq(raftlog_open(&fs, "raft", &large, visit, &transcript, &log, NULL), NK_OK);
    cr_expect_str_eq(transcript.text, "entry 1 1.1 2 4:kept\n");
    const struct raftlog_cut *cut = raftlog_cut(log);
    cr_assert_not_null(cut);
    cr_expect_eq(cut->offset, 1024);
    cr_expect_gt(cut->size_bytes, 3 * 900000, "the whole batches behind it too");
    stage_bulk(log, 1, 2, 900000); /* the very bytes that were torn */
    write_round(log);
    raftlog_close(&log);

    memset(&transcript, 0, sizeof transcript);
    cr_assert_eq(raftlog_open(&fs, "raft", &large, visit, &transcript, &log, NULL), NK_OK);
    cr_expect_str_eq(transcript.text, "entry 1 1.1 2 4:kept\nentry 1 1.2 0 900000:xxxxxxxx\n");
    raftlog_close(&log);
    sim_fs_free(&sim);
}

/* A tail that is not whole is cut, since a crash leaves such ones, but not in silence: damage of a
 * round that was answered looks the same. */
Test(raftlog, a_cut_tail_is_told_with_file_offset_and_size)
{
    /* Where in the last round: head, first record, payload. */
    static const uint64_t places[] = {0, 5, 9, 17, 25, 40, 100, 700};
    for (size_t i = 0; i < NK_COUNT_OF(places); i++) {
        struct sim_fs *sim = sim_fs_new(1);
        struct raftlog *log = must_open(sim, NULL);
        stage_entry(log, 1, 1, "one");
        write_round(log);
        stage_bulk(log, 1, 2, 700);
        write_round(log);
        raftlog_close(&log);
        static struct transcript transcript;
        log = must_open(sim, &transcript);
        cr_expect_null(raftlog_cut(log), "nothing is wrong yet");
        cr_expect_eq(transcript.count, 2);
        raftlog_close(&log);

        sim_fs_flip(sim, "raft/0000000000000001.log", 1024 + places[i], 1);
        log = must_open(sim, &transcript);
        cr_expect_eq(transcript.count, 1);
        const struct raftlog_cut *cut = raftlog_cut(log);
        cr_assert_not_null(cut, "place %zu", i);
        cr_expect_str_eq(cut->file, "raft/0000000000000001.log");
        cr_expect_eq(cut->offset, 1024, "place %zu", i);
        cr_expect_eq(cut->size_bytes, 1024, "place %zu: %llu", i,
                     (unsigned long long)cut->size_bytes);
        raftlog_close(&log);
        sim_fs_free(&sim);
    }
}

/* What a former use left behind the end is no tail; what was written there since is one. */
Test(raftlog, in_a_recycled_segment_only_its_own_batches_are_a_tail)
{
    struct sim_fs *sim = sim_fs_new(1);
    struct raftlog *log = must_open(sim, NULL);
    uint64_t index = 1;
    for (; index <= 60; index++) {
        stage_bulk(log, 1, index, 700);
        raftlog_release(log, 1, index - 1);
        write_round(log);
        raftlog_close(&log);
        log = must_open(sim, NULL);
        cr_expect_null(raftlog_cut(log), "after %llu", (unsigned long long)index);
    }
    raftlog_close(&log);
    cr_assert(!sim_fs_exists(sim, "raft/0000000000000001.log"));
    struct nk_buf names = {0};
    sim_fs_list(sim, "raft", &names);
    nk_buf_append_u8(&names, '\0');
    char name[64] = "raft/";
    char *newest = NULL;
    for (char *at = strtok((char *)names.data, "\n"); at != NULL; at = strtok(NULL, "\n")) {
        if (strstr(at, ".log") != NULL && (newest == NULL || strcmp(at, newest) > 0)) {
            newest = at;
        }
    }
    cr_assert_not_null(newest);
    strncat(name, newest, sizeof name - 6);
    nk_buf_deinit(&names);
    sim_fs_flip(sim, name, 512 + 100, 1); /* each such segment has one round or more */
    static struct transcript transcript;
    struct raftlog_fault fault = {0};
    enum nk_err err = try_open(sim, &transcript, &fault);
    if (err == NK_OK) { /* it was the last round */
        log = must_open(sim, &transcript);
        cr_expect_not_null(raftlog_cut(log));
        raftlog_close(&log);
    } else {
        cr_expect_eq(err, NK_CORRUPT);
    }
    sim_fs_free(&sim);
}

Test(raftlog, whether_there_is_a_log_is_told_without_making_one)
{
    struct sim_fs *sim = sim_fs_new(1);
    struct nk_fs fs = sim_fs_handle(sim);
    bool exists = true;
    cr_assert_eq(raftlog_exists(&fs, "raft", &exists), NK_OK);
    cr_expect(!exists);
    cr_expect(!sim_fs_exists(sim, "raft"));
    struct raftlog *log = must_open(sim, NULL);
    raftlog_close(&log);
    cr_assert_eq(raftlog_exists(&fs, "raft", &exists), NK_OK);
    cr_expect(exists);
    cr_assert_eq(nk_fs_remove(&fs, "raft/0000000000000001.log"), NK_OK);
    cr_assert_eq(raftlog_exists(&fs, "raft", &exists), NK_OK);
    cr_expect(!exists, "an empty directory is no log");
    sim_fs_free(&sim);
}

/* Two rounds: the first is damaged, so the second proves that it had been synced. */
Test(raftlog, a_damaged_round_before_a_later_one_is_corruption)
{
    static struct transcript transcript;
    struct sim_fs *sim = sim_fs_new(1);
    struct raftlog *log = must_open(sim, NULL);
    stage_entry(log, 1, 1, "one");
    write_round(log);
    stage_entry(log, 1, 2, "two");
    write_round(log);
    raftlog_close(&log);
    sim_fs_flip(sim, "raft/0000000000000001.log", 512 + 40, 1);
    struct nk_buf before = {0};
    sim_fs_read(sim, "raft/0000000000000001.log", &before);
    struct raftlog_fault fault = {0};
    cr_expect_eq(try_open(sim, &transcript, &fault), NK_CORRUPT);
    cr_expect_eq(fault.offset, 512);
    struct nk_buf after = {0};
    sim_fs_read(sim, "raft/0000000000000001.log", &after);
    cr_expect(nk_bytes_equal(nk_buf_bytes(&before), nk_buf_bytes(&after)), "nothing was changed");
    nk_buf_deinit(&before);
    nk_buf_deinit(&after);
    sim_fs_free(&sim);
}

Test(raftlog, the_former_use_of_a_recycled_segment_never_shows)
{
    struct sim_fs *sim = sim_fs_new(1);
    struct raftlog *log = must_open(sim, NULL);
    for (uint64_t i = 1; i <= 60; i++) {
        stage_bulk(log, 1, i, 700);
        raftlog_release(log, 1, i - 1);
        write_round(log);
        if (i % 5 == 0) {
            raftlog_close(&log);
            static struct transcript transcript;
            log = must_open(sim, &transcript);
            cr_assert_leq(transcript.count, 8, "round %zu", (size_t)i);
        }
    }
    raftlog_close(&log);
    sim_fs_free(&sim);
}

Test(raftlog, it_counts_what_it_does)
{
    struct sim_fs *sim = sim_fs_new(1);
    struct raftlog *log = must_open(sim, NULL);
    stage_entry(log, 1, 1, "a");
    stage_entry(log, 1, 2, "b");
    write_round(log);
    struct raftlog_stats *stats = raftlog_stats(log);
    cr_expect_eq(nk_counter_get(&stats->records), 2);
    cr_expect_eq(nk_counter_get(&stats->bytes), 512);
    cr_expect_eq(nk_counter_get(&stats->syncs), 1);
    cr_expect_eq(nk_gauge_get(&stats->segments), 1);
    raftlog_close(&log);
    sim_fs_free(&sim);
}

Test(raftlog, it_describes_itself_on_one_line)
{
    struct sim_fs *sim = sim_fs_new(1);
    struct raftlog *log = must_open(sim, NULL);
    stage_bulk(log, 6, 9, 3000);
    stage_bulk(log, 6, 10, 3000);
    cr_assert(raftlog_begin(log));
    stage_entry(log, 7, 1, "");
    char memory[200];
    struct nk_text text;
    nk_text_init(&text, memory, sizeof memory);
    raftlog_describe(log, &text);
    cr_expect_str_eq(memory,
                     "raftlog segments=2 shards=2 end=2.3584 staged=1 running=2 held_by=6@9");
    cr_assert_eq(raftlog_write(log), NK_OK);
    raftlog_end(log);
    raftlog_close(&log);
    sim_fs_free(&sim);
}

Test(raftlog, a_second_round_beside_a_running_one_is_a_programmer_error, .signal = SIGABRT)
{
    struct sim_fs *sim = sim_fs_new(1);
    struct raftlog *log = must_open(sim, NULL);
    stage_entry(log, 1, 1, "");
    (void)raftlog_begin(log);
    (void)raftlog_begin(log);
}

Test(raftlog, staging_a_forget_is_a_programmer_error, .signal = SIGABRT)
{
    struct sim_fs *sim = sim_fs_new(1);
    struct raftlog *log = must_open(sim, NULL);
    struct raftlog_record record = {.kind = RAFTLOG_FORGET, .shard = 1};
    raftlog_stage(log, &record);
}
