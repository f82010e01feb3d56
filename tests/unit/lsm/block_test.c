#include "services/shardhost/lsm/block.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/prng.h"
#include "services/shardhost/lsm/block_builder.h"

TestSuite(lsm_block, .timeout = 30);

#define COUNT 100

/* Even numbers as keys, the number as value. */
static struct nk_bytes key_of(unsigned number, char out[32])
{
    (void)snprintf(out, 32, "some/prefix/%06u", number);
    return nk_bytes_of_string(out);
}

static void build(struct nk_buf *out, uint32_t restart_interval, unsigned count)
{
    struct lsm_block_builder builder;
    lsm_block_builder_init(&builder, restart_interval);
    for (unsigned i = 0; i < count; i++) {
        char key[32];
        char value[16];
        (void)snprintf(value, sizeof value, "%u", 2 * i);
        lsm_block_builder_add(&builder, key_of(2 * i, key), nk_bytes_of("v=", 2),
                              nk_bytes_of_string(value));
    }
    size_t announced = lsm_block_builder_size(&builder);
    struct nk_bytes block = lsm_block_builder_finish(&builder);
    cr_expect_eq(block.size, announced);
    nk_buf_append(out, block);
    lsm_block_builder_deinit(&builder);
}

Test(lsm_block, all_entries_come_back_in_order)
{
    for (uint32_t interval = 1; interval <= 17; interval += 4) {
        struct nk_buf bytes = {0};
        build(&bytes, interval, COUNT);
        struct lsm_block_cursor cursor;
        cr_assert_eq(lsm_block_open(&cursor, nk_buf_bytes(&bytes)), NK_OK);
        for (unsigned i = 0; i < COUNT; i++) {
            char key[32];
            char value[16];
            (void)snprintf(value, sizeof value, "v=%u", 2 * i);
            cr_assert_eq(lsm_block_next(&cursor), NK_OK);
            cr_expect(nk_bytes_equal(lsm_block_key(&cursor), key_of(2 * i, key)));
            cr_expect(nk_bytes_equal(cursor.value, nk_bytes_of_string(value)));
        }
        cr_expect_eq(lsm_block_next(&cursor), NK_NOT_FOUND);
        cr_expect_eq(lsm_block_next(&cursor), NK_NOT_FOUND, "the end stays the end");
        nk_buf_deinit(&bytes);
    }
}

Test(lsm_block, a_seek_stands_on_the_first_key_at_or_after)
{
    for (uint32_t interval = 1; interval <= 17; interval += 4) {
        struct nk_buf bytes = {0};
        build(&bytes, interval, COUNT);
        struct lsm_block_cursor cursor;
        cr_assert_eq(lsm_block_open(&cursor, nk_buf_bytes(&bytes)), NK_OK);
        for (unsigned i = 0; i < 2 * COUNT; i++) {
            char key[32];
            char expected[32];
            enum nk_err err = lsm_block_seek(&cursor, key_of(i, key));
            if (i > 2 * (COUNT - 1)) {
                cr_expect_eq(err, NK_NOT_FOUND);
                continue;
            }
            cr_assert_eq(err, NK_OK, "interval %u, key %u", interval, i);
            cr_expect(nk_bytes_equal(lsm_block_key(&cursor), key_of(i + i % 2, expected)));
        }
        cr_assert_eq(lsm_block_seek(&cursor, nk_bytes_of_string("a")), NK_OK);
        cr_expect_eq(cursor.value.data[2], '0');
        nk_buf_deinit(&bytes);
    }
}

Test(lsm_block, the_way_back_meets_the_same_entries)
{
    for (uint32_t interval = 1; interval <= 17; interval += 4) {
        struct nk_buf bytes = {0};
        char key[32];
        build(&bytes, interval, COUNT);
        struct lsm_block_cursor cursor;
        cr_assert_eq(lsm_block_open(&cursor, nk_buf_bytes(&bytes)), NK_OK);
        cr_assert_eq(lsm_block_last(&cursor), NK_OK);
        for (unsigned i = COUNT; i-- > 0;) {
            cr_expect(nk_bytes_equal(lsm_block_key(&cursor), key_of(2 * i, key)));
            cr_expect_eq(lsm_block_prev(&cursor), i > 0 ? NK_OK : NK_NOT_FOUND);
        }
        for (unsigned i = 0; i < 2 * COUNT; i++) { /* odd numbers are not there */
            enum nk_err err = lsm_block_seek_back(&cursor, key_of(i, key), false);
            cr_assert_eq(err, i == 0 ? NK_NOT_FOUND : NK_OK);
            unsigned before = i % 2 == 1 ? i - 1 : i - 2;
            cr_expect(i == 0 || nk_bytes_equal(lsm_block_key(&cursor), key_of(before, key)));
            cr_assert_eq(lsm_block_seek_back(&cursor, key_of(i, key), true), NK_OK);
            cr_expect(nk_bytes_equal(lsm_block_key(&cursor), key_of(i - i % 2, key)));
        }
        nk_buf_deinit(&bytes);
    }
}

Test(lsm_block, common_beginnings_are_stored_once)
{
    struct nk_buf bytes = {0};
    build(&bytes, 16, COUNT);
    cr_expect_lt(bytes.size, COUNT * 12, "keys alone would be %d", COUNT * 18);
    nk_buf_deinit(&bytes);
}

Test(lsm_block, keys_and_values_of_every_size_fit)
{
    static uint8_t long_key[LSM_KEY_BYTES_MAX];
    static uint8_t long_value[100000];
    memset(long_key, 'k', sizeof long_key);
    struct lsm_block_builder builder;
    lsm_block_builder_init(&builder, 16);
    lsm_block_builder_add(&builder, nk_bytes_of("k", 1), nk_bytes_of("", 0), nk_bytes_of("", 0));
    lsm_block_builder_add(&builder, nk_bytes_of(long_key, sizeof long_key), nk_bytes_of("", 0),
                          nk_bytes_of(long_value, sizeof long_value));
    struct lsm_block_cursor cursor;
    cr_assert_eq(lsm_block_open(&cursor, lsm_block_builder_finish(&builder)), NK_OK);
    cr_assert_eq(lsm_block_next(&cursor), NK_OK);
    cr_expect_eq(cursor.value.size, 0);
    cr_assert_eq(lsm_block_next(&cursor), NK_OK);
    cr_expect_eq(cursor.key_size, sizeof long_key);
    cr_expect_eq(cursor.value.size, sizeof long_value);
    lsm_block_builder_deinit(&builder);
}

Test(lsm_block, a_builder_can_be_used_again)
{
    struct lsm_block_builder builder;
    lsm_block_builder_init(&builder, 2);
    for (unsigned round = 0; round < 3; round++) {
        lsm_block_builder_add(&builder, nk_bytes_of("a", 1), nk_bytes_of("1", 1),
                              nk_bytes_of("", 0));
        struct lsm_block_cursor cursor;
        cr_assert_eq(lsm_block_open(&cursor, lsm_block_builder_finish(&builder)), NK_OK);
        cr_assert_eq(lsm_block_next(&cursor), NK_OK);
        cr_assert_eq(lsm_block_next(&cursor), NK_NOT_FOUND);
        cr_expect_eq(lsm_block_builder_size(&builder), 0);
    }
    lsm_block_builder_deinit(&builder);
}

/* The checksum would catch these; the reader must not rely on it. */
Test(lsm_block, damaged_bytes_lead_to_no_read_outside)
{
    struct nk_buf bytes = {0};
    build(&bytes, 4, 20);
    size_t corrupt = 0;
    for (size_t at = 0; at < bytes.size; at++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            uint8_t *copy = malloc(bytes.size); /* exact, for the sanitizer */
            cr_assert_not_null(copy);
            memcpy(copy, bytes.data, bytes.size);
            copy[at] ^= (uint8_t)(1u << bit);
            struct lsm_block_cursor cursor;
            enum nk_err err = lsm_block_open(&cursor, nk_bytes_of(copy, bytes.size));
            for (unsigned steps = 0; err == NK_OK; steps++) {
                cr_assert_lt(steps, 1000);
                err = lsm_block_next(&cursor);
            }
            corrupt += err == NK_CORRUPT;
            if (lsm_block_open(&cursor, nk_bytes_of(copy, bytes.size)) == NK_OK) {
                char key[32];
                (void)!lsm_block_seek(&cursor, key_of(17, key));
                err = lsm_block_last(&cursor);
                for (unsigned steps = 0; err == NK_OK; steps++) {
                    cr_assert_lt(steps, 1000);
                    err = lsm_block_prev(&cursor);
                }
            }
            free(copy);
        }
    }
    cr_expect_gt(corrupt, 100);
    nk_buf_deinit(&bytes);
}

Test(lsm_block, short_or_senseless_blocks_are_corrupt)
{
    struct lsm_block_cursor cursor;
    static const uint8_t zeros[16];
    for (size_t size = 0; size <= sizeof zeros; size++) {
        cr_expect_eq(lsm_block_open(&cursor, nk_bytes_of(zeros, size)), NK_CORRUPT, "size %zu",
                     size);
    }
    static const uint8_t many[] = {0, 0, 0, 0, 255, 255, 255, 255};
    cr_expect_eq(lsm_block_open(&cursor, nk_bytes_of(many, sizeof many)), NK_CORRUPT);
}

Test(lsm_block, keys_out_of_order_are_a_programmer_error, .signal = SIGABRT)
{
    struct lsm_block_builder builder;
    lsm_block_builder_init(&builder, 16);
    lsm_block_builder_add(&builder, nk_bytes_of("b", 1), nk_bytes_of("", 0), nk_bytes_of("", 0));
    lsm_block_builder_add(&builder, nk_bytes_of("a", 1), nk_bytes_of("", 0), nk_bytes_of("", 0));
}

Test(lsm_block, an_equal_key_is_a_programmer_error, .signal = SIGABRT)
{
    struct lsm_block_builder builder;
    lsm_block_builder_init(&builder, 16);
    lsm_block_builder_add(&builder, nk_bytes_of("b", 1), nk_bytes_of("", 0), nk_bytes_of("", 0));
    lsm_block_builder_add(&builder, nk_bytes_of("b", 1), nk_bytes_of("", 0), nk_bytes_of("", 0));
}
