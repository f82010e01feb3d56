#include <criterion/criterion.h>
#include <signal.h>

#include "common/base/codec.h"
#include "common/base/crc32c.h"
#include "common/base/units.h"
#include "services/shardhost/raftlog/layout.h"

TestSuite(raftlog_layout, .timeout = 20);

Test(raftlog_layout, a_head_comes_back)
{
    static const struct raftlog_segment_head cases[] = {
        {.sequence = 1, .previous_length = 0},
        {.sequence = 2, .previous_length = 512},
        {.sequence = UINT64_C(0x123456789), .previous_length = UINT64_C(0x2000) * 512}};
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        uint8_t sector[RAFTLOG_SECTOR_BYTES];
        raftlog_segment_head_encode(&cases[i], sector);
        struct raftlog_segment_head head = {0};
        cr_expect_eq(raftlog_segment_head_decode(sector, &head), NK_OK, "case %zu", i);
        cr_expect_eq(head.sequence, cases[i].sequence, "case %zu", i);
        cr_expect_eq(head.previous_length, cases[i].previous_length, "case %zu", i);
        cr_expect_eq(head.version, RAFTLOG_FORMAT_VERSION, "case %zu", i);
    }
}

Test(raftlog_layout, every_flipped_bit_of_a_head_is_corruption)
{
    struct raftlog_segment_head head = {.sequence = 7, .previous_length = 1024};
    uint8_t sector[RAFTLOG_SECTOR_BYTES];
    raftlog_segment_head_encode(&head, sector);
    for (size_t bit = 0; bit < 8 * sizeof sector; bit++) {
        sector[bit / 8] ^= (uint8_t)(1 << bit % 8);
        cr_assert_eq(raftlog_segment_head_decode(sector, &head), NK_CORRUPT, "bit %zu", bit);
        sector[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

/* The checksum lies and counts where it does in every version to come. */
static void seal_head(uint8_t sector[RAFTLOG_SECTOR_BYTES])
{
    nk_put_u32(sector + 12, 0);
    nk_put_u32(sector + 12, nk_crc32c(nk_bytes_of(sector, RAFTLOG_SECTOR_BYTES)));
}

Test(raftlog_layout, a_head_of_another_version_is_told_apart)
{
    struct raftlog_segment_head head = {.sequence = 7, .previous_length = 1024};
    uint8_t sector[RAFTLOG_SECTOR_BYTES];
    raftlog_segment_head_encode(&head, sector);
    nk_put_u32(sector + 8, RAFTLOG_FORMAT_VERSION + 1);
    seal_head(sector);
    cr_expect_eq(raftlog_segment_head_decode(sector, &head), NK_FORMAT_TOO_NEW);
    nk_put_u32(sector + 8, 0);
    seal_head(sector);
    cr_expect_eq(raftlog_segment_head_decode(sector, &head), NK_CORRUPT);
}

Test(raftlog_layout, a_head_with_a_right_checksum_must_make_sense)
{
    static const struct {
        uint64_t sequence;
        uint64_t previous_length;
    } cases[] = {{0, 0}, {1, 512}, {2, 0}, {2, 511}, {2, 513}};
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct raftlog_segment_head head = {.sequence = 7, .previous_length = 1024};
        uint8_t sector[RAFTLOG_SECTOR_BYTES];
        raftlog_segment_head_encode(&head, sector);
        nk_put_u64(sector + 16, cases[i].sequence);
        nk_put_u64(sector + 24, cases[i].previous_length);
        seal_head(sector);
        cr_expect_eq(raftlog_segment_head_decode(sector, &head), NK_CORRUPT, "case %zu", i);
    }
}

Test(raftlog_layout, a_batch_head_is_refused_in_any_other_place)
{
    struct raftlog_batch_head head = {
        .length = 100, .sequence = 5, .record_count = 2, .offset = 1024, .round_start = 512};
    uint8_t bytes[RAFTLOG_BATCH_HEAD_BYTES];
    raftlog_batch_head_encode(&head, bytes);
    struct raftlog_batch_head got = {0};
    cr_expect(raftlog_batch_head_decode(bytes, 5, 1024, 1124, &got));
    cr_expect_eq(got.length, 100);
    cr_expect_eq(got.record_count, 2);
    cr_expect_eq(got.round_start, 512);
    cr_expect_not(raftlog_batch_head_decode(bytes, 5, 1024, 1123, &got), "it would be cut off");
    cr_expect_not(raftlog_batch_head_decode(bytes, 6, 1024, 4096, &got), "another segment");
    cr_expect_not(raftlog_batch_head_decode(bytes, 5, 512, 4096, &got), "another place");
    cr_expect(raftlog_batch_head_decode(bytes, (UINT64_C(9) << 32) + 5, 1024, 4096, &got),
              "the low 32 bits of the sequence count");
}

Test(raftlog_layout, records_come_back_in_order)
{
    static const struct raftlog_record records[] = {
        {RAFTLOG_ENTRY, 3, 7, 9, 200, {(const uint8_t *)"payload", 7}, 0},
        {RAFTLOG_STATE, 0xFFFFFFFF, UINT64_MAX, 0, 0, {NULL, 0}, 0},
        {RAFTLOG_STATE, 7, 3, 9, 0, {NULL, 0}, UINT64_MAX},
        {RAFTLOG_ENTRY, 0, 0, UINT64_MAX, 0, {NULL, 0}, 0},
        {RAFTLOG_FORGET, 65535, 0, 0, 0, {NULL, 0}, 0},
    };
    struct nk_buf buf = {0};
    for (size_t i = 0; i < NK_COUNT_OF(records); i++) {
        size_t before = buf.size;
        raftlog_record_encode(&records[i], &buf);
        cr_expect_eq(buf.size - before, raftlog_record_size(&records[i]));
    }
    struct nk_bytes left = nk_buf_bytes(&buf);
    for (size_t i = 0; i < NK_COUNT_OF(records); i++) {
        struct raftlog_record got = {0};
        cr_assert(raftlog_record_decode(&left, &got), "record %zu", i);
        cr_expect_eq(got.kind, records[i].kind);
        cr_expect_eq(got.shard, records[i].shard);
        cr_expect_eq(got.term, records[i].term);
        cr_expect_eq(got.index, records[i].index);
        cr_expect_eq(got.entry_kind, records[i].entry_kind);
        cr_expect(nk_bytes_equal(got.payload, records[i].payload));
        cr_expect_eq(got.released, records[i].released);
    }
    cr_expect_eq(left.size, 0);
    nk_buf_deinit(&buf);
}

Test(raftlog_layout, records_that_make_no_sense_are_refused)
{
    static const struct {
        const char *what;
        size_t offset;
        uint8_t value;
    } cases[] = {
        {"payload longer than what is left", 0, 5},
        {"unknown kind", 4, 4},
        {"kind zero", 4, 0},
        {"a state with a payload", 4, 2},
        {"a forget with a payload", 4, 3},
        {"reserved byte", 6, 1},
        {"reserved byte", 7, 1},
        {"entry zero", 20, 0},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct raftlog_record record = {RAFTLOG_ENTRY, 1, 1, 1, 0, {(const uint8_t *)"data", 4}, 0};
        struct nk_buf buf = {0};
        raftlog_record_encode(&record, &buf);
        buf.data[cases[i].offset] = cases[i].value;
        struct nk_bytes left = nk_buf_bytes(&buf);
        cr_expect_not(raftlog_record_decode(&left, &record), "%s", cases[i].what);
        cr_expect_eq(left.size, buf.size, "%s", cases[i].what);
        nk_buf_deinit(&buf);
    }
}

Test(raftlog_layout, a_state_that_tells_of_nothing_released_is_refused)
{
    struct raftlog_record record = {.kind = RAFTLOG_STATE, .shard = 1, .term = 2, .released = 5};
    struct nk_buf buf = {0};
    raftlog_record_encode(&record, &buf);
    nk_put_u64(buf.data + RAFTLOG_RECORD_HEAD_BYTES, 0);
    struct nk_bytes left = nk_buf_bytes(&buf);
    cr_expect_not(raftlog_record_decode(&left, &record));
    nk_buf_deinit(&buf);
}

Test(raftlog_layout, an_entry_zero_is_a_programmer_error, .signal = SIGABRT)
{
    struct nk_buf buf = {0};
    struct raftlog_record record = {.kind = RAFTLOG_ENTRY, .shard = 1, .term = 1};
    raftlog_record_encode(&record, &buf);
}
