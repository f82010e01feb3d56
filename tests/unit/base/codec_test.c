/* Fixed numbers, varints and the reader that never leaves its input. */

#include <criterion/criterion.h>

#include "common/base/codec.h"
#include "common/base/prng.h"
#include "common/base/units.h"

TestSuite(base_codec, .timeout = 10);

Test(base_codec, fixed_numbers_are_little_endian)
{
    uint8_t out[8];
    nk_put_u16(out, 0x0102);
    cr_expect_arr_eq(out, ((uint8_t[]){2, 1}), 2);
    cr_expect_eq(nk_get_u16(out), 0x0102);
    nk_put_u32(out, UINT32_C(0xFF020304));
    cr_expect_arr_eq(out, ((uint8_t[]){4, 3, 2, 0xFF}), 4);
    cr_expect_eq(nk_get_u32(out), UINT32_C(0xFF020304));
    nk_put_u64(out, UINT64_C(0xF102030405060708));
    cr_expect_arr_eq(out, ((uint8_t[]){8, 7, 6, 5, 4, 3, 2, 0xF1}), 8);
    cr_expect_eq(nk_get_u64(out), UINT64_C(0xF102030405060708));
}

struct varint_case {
    uint64_t value;
    size_t size;
};

Test(base_codec, a_varint_grows_by_one_byte_every_seven_bits)
{
    static const struct varint_case cases[] = {
        {0, 1},
        {1, 1},
        {127, 1},
        {128, 2},
        {16383, 2},
        {16384, 3},
        {UINT32_MAX, 5},
        {(UINT64_C(1) << 63) - 1, 9},
        {UINT64_C(1) << 63, 10},
        {UINT64_MAX, 10},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        uint8_t out[NK_VARINT_BYTES_MAX];
        cr_expect_eq(nk_put_varint(out, cases[i].value), cases[i].size, "case %zu", i);
        struct nk_reader reader = nk_reader_of(nk_bytes_of(out, cases[i].size));
        cr_expect_eq(nk_read_varint(&reader), cases[i].value, "case %zu", i);
        cr_expect_not(reader.failed, "case %zu", i);
        cr_expect_eq(nk_reader_left(&reader), 0, "case %zu", i);
    }
}

Test(base_codec, random_varints_read_back)
{
    struct nk_prng prng;
    nk_prng_init(&prng, 7);
    for (int i = 0; i < 100000; i++) {
        uint64_t value = nk_prng_next(&prng) >> nk_prng_below(&prng, 64);
        uint8_t out[NK_VARINT_BYTES_MAX];
        size_t size = nk_put_varint(out, value);
        cr_assert_leq(size, NK_VARINT_BYTES_MAX);
        struct nk_reader reader = nk_reader_of(nk_bytes_of(out, size));
        cr_assert_eq(nk_read_varint(&reader), value);
        cr_assert_not(reader.failed);
    }
}

struct bad_varint {
    const char *what;
    uint8_t bytes[12];
    size_t size;
};

Test(base_codec, over_long_overflowing_and_cut_varints_fail)
{
    static const struct bad_varint cases[] = {
        {"nothing", {0}, 0},
        {"cut after a continuation", {0x80}, 1},
        {"zero in two bytes", {0x80, 0x00}, 2},
        {"127 in two bytes", {0xFF, 0x00}, 2},
        {"65 bits", {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x02}, 10},
        {"eleven bytes", {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x81, 0x01}, 11},
        {"cut after nine", {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, 9},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct nk_reader reader = nk_reader_of(nk_bytes_of(cases[i].bytes, cases[i].size));
        cr_expect_eq(nk_read_varint(&reader), 0, "%s", cases[i].what);
        cr_expect(reader.failed, "%s", cases[i].what);
    }
}

Test(base_codec, a_reader_gives_the_fields_in_order)
{
    uint8_t out[32];
    out[0] = 9;
    nk_put_u16(out + 1, 0x1234);
    nk_put_u32(out + 3, 0x12345678);
    nk_put_u64(out + 7, UINT64_C(0x123456789ABCDEF0));
    memcpy(out + 15, "tail", 4);
    struct nk_reader reader = nk_reader_of(nk_bytes_of(out, 19));
    cr_expect_eq(nk_read_u8(&reader), 9);
    cr_expect_eq(nk_read_u16(&reader), 0x1234);
    cr_expect_eq(nk_read_u32(&reader), 0x12345678);
    cr_expect_eq(nk_read_u64(&reader), UINT64_C(0x123456789ABCDEF0));
    struct nk_bytes tail = nk_read_bytes(&reader, 4);
    cr_expect(nk_bytes_equal(tail, nk_bytes_of_string("tail")));
    cr_expect_eq(tail.data, out + 15, "borrowed from the input");
    cr_expect_eq(nk_reader_left(&reader), 0);
    cr_expect_not(reader.failed);
}

Test(base_codec, the_first_failure_stays_and_consumes_nothing)
{
    static const uint8_t in[] = {1, 2, 3};
    struct nk_reader reader = nk_reader_of(nk_bytes_of(in, sizeof in));
    cr_expect_eq(nk_read_u8(&reader), 1);
    cr_expect_eq(nk_read_u32(&reader), 0, "two bytes are not four");
    cr_expect(reader.failed);
    cr_expect_eq(nk_reader_left(&reader), 2);
    cr_expect_eq(nk_read_u8(&reader), 0);
    cr_expect_eq(nk_read_u16(&reader), 0);
    cr_expect_eq(nk_read_u64(&reader), 0);
    cr_expect_eq(nk_read_varint(&reader), 0);
    cr_expect_eq(nk_read_bytes(&reader, 0).size, 0);
    cr_expect_eq(nk_reader_left(&reader), 2);
}

Test(base_codec, a_length_beyond_the_input_fails_however_large)
{
    static const uint64_t sizes[] = {4, 1000, UINT32_MAX, UINT64_MAX};
    static const uint8_t in[3] = {0};
    for (size_t i = 0; i < NK_COUNT_OF(sizes); i++) {
        struct nk_reader reader = nk_reader_of(nk_bytes_of(in, sizeof in));
        cr_expect_eq(nk_read_bytes(&reader, sizes[i]).size, 0);
        cr_expect(reader.failed, "case %zu", i);
    }
}

Test(base_codec, an_empty_input_may_be_null)
{
    struct nk_reader reader = nk_reader_of(nk_bytes_of(NULL, 0));
    cr_expect_eq(nk_reader_left(&reader), 0);
    cr_expect_eq(nk_read_bytes(&reader, 0).size, 0);
    cr_expect_not(reader.failed);
    cr_expect_eq(nk_read_u8(&reader), 0);
    cr_expect(reader.failed);
}
