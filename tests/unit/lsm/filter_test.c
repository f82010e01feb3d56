#include "services/shardhost/lsm/filter.h"

#include <criterion/criterion.h>
#include <stdlib.h>

TestSuite(lsm_filter, .timeout = 20);

static uint64_t hash_of(uint64_t number)
{
    return lsm_filter_hash(nk_bytes_of(&number, sizeof number));
}

static void build(size_t count, uint32_t bits, struct nk_buf *out)
{
    uint64_t *hashes = malloc(count * sizeof *hashes);
    cr_assert_not_null(hashes);
    for (size_t i = 0; i < count; i++) {
        hashes[i] = hash_of(i);
    }
    lsm_filter_build(hashes, count, bits, out);
    free(hashes);
}

Test(lsm_filter, a_key_that_was_added_always_passes)
{
    static const size_t counts[] = {1, 2, 50, 51, 52, 1000, 100000};
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        for (uint32_t bits = 1; bits <= 30; bits += 9) {
            struct nk_buf filter = {0};
            build(counts[c], bits, &filter);
            for (size_t i = 0; i < counts[c]; i++) {
                cr_assert(lsm_filter_may_contain(nk_buf_bytes(&filter), hash_of(i)),
                          "%zu keys, %u bits: key %zu", counts[c], bits, i);
            }
            nk_buf_deinit(&filter);
        }
    }
}

Test(lsm_filter, ten_bits_let_about_one_other_key_in_a_hundred_pass)
{
    struct nk_buf filter = {0};
    build(100000, 10, &filter);
    cr_expect_leq(filter.size, 100000 * 10 / 8 + 65);
    size_t passed = 0;
    for (uint64_t i = 0; i < 100000; i++) {
        passed += lsm_filter_may_contain(nk_buf_bytes(&filter), hash_of(1000000 + i));
    }
    cr_expect_leq(passed, 1500, "%zu passed", passed);
    cr_expect_geq(passed, 100, "%zu passed: too good to be a filter", passed);
    nk_buf_deinit(&filter);
}

Test(lsm_filter, what_is_no_filter_lets_everything_pass)
{
    static const uint8_t bytes[130];
    cr_expect(lsm_filter_may_contain(nk_bytes_of(bytes, 0), 1));
    cr_expect(lsm_filter_may_contain(nk_bytes_of(bytes, 64), 1));
    cr_expect(lsm_filter_may_contain(nk_bytes_of(bytes, 66), 1));
    cr_expect(lsm_filter_may_contain(nk_bytes_of(bytes, 129), 1), "no probes");
    static uint8_t many[129];
    many[128] = LSM_FILTER_PROBES_MAX;
    cr_expect(!lsm_filter_may_contain(nk_bytes_of(many, 129), 1));
    many[128]++;
    cr_expect(lsm_filter_may_contain(nk_bytes_of(many, 129), 1), "too many probes");
}
