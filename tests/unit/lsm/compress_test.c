#include "services/shardhost/lsm/compress.h"

#include <criterion/criterion.h>

#include "common/base/prng.h"

TestSuite(lsm_compress, .timeout = 20);

static const enum lsm_compression ways[] = {LSM_COMPRESSION_NONE, LSM_COMPRESSION_LZ4,
                                            LSM_COMPRESSION_ZSTD};

Test(lsm_compress, what_was_compressed_comes_back)
{
    static uint8_t raw[4096];
    static uint8_t back[sizeof raw + 1];
    for (size_t i = 0; i < sizeof raw; i++) {
        raw[i] = (uint8_t)(i / 100);
    }
    for (size_t w = 0; w < 3; w++) {
        struct nk_buf out = {0};
        nk_buf_append_string(&out, "before");
        enum lsm_compression way = lsm_compress(ways[w], nk_bytes_of(raw, sizeof raw), &out);
        cr_assert_eq(way, ways[w]);
        struct nk_bytes stored = nk_bytes_of(out.data + 6, out.size - 6);
        if (way != LSM_COMPRESSION_NONE) {
            cr_expect_lt(stored.size, sizeof raw / 4);
        }
        cr_assert_eq(lsm_decompress((uint8_t)way, stored, back, sizeof raw), NK_OK);
        cr_expect_eq(memcmp(back, raw, sizeof raw), 0);
        cr_expect_eq(lsm_decompress((uint8_t)way, stored, back, sizeof raw - 1), NK_CORRUPT);
        cr_expect_eq(lsm_decompress((uint8_t)way, stored, back, sizeof raw + 1), NK_CORRUPT);
        cr_expect_eq(lsm_decompress((uint8_t)way, nk_bytes_of(stored.data, stored.size - 1), back,
                                    sizeof raw),
                     NK_CORRUPT);
        cr_expect_eq(memcmp(out.data, "before", 6), 0);
        nk_buf_deinit(&out);
    }
}

Test(lsm_compress, what_saves_less_than_an_eighth_is_stored_as_it_is)
{
    static uint8_t raw[4096];
    struct nk_prng prng;
    nk_prng_init(&prng, 3);
    for (size_t i = 0; i < sizeof raw; i++) {
        raw[i] = (uint8_t)nk_prng_next(&prng);
    }
    for (size_t w = 0; w < 3; w++) {
        struct nk_buf out = {0};
        cr_expect_eq(lsm_compress(ways[w], nk_bytes_of(raw, sizeof raw), &out),
                     LSM_COMPRESSION_NONE);
        cr_expect(nk_bytes_equal(nk_buf_bytes(&out), nk_bytes_of(raw, sizeof raw)));
        nk_buf_deinit(&out);
    }
}

Test(lsm_compress, an_unknown_way_is_corrupt)
{
    uint8_t out[4];
    cr_expect_eq(lsm_decompress(3, nk_bytes_of("abcd", 4), out, 4), NK_CORRUPT);
    cr_expect_eq(lsm_decompress(255, nk_bytes_of("abcd", 4), out, 4), NK_CORRUPT);
}
