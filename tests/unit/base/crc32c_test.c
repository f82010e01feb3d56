/* Against the vectors of RFC 3720 and against the definition, bit by bit. */

#include <criterion/criterion.h>

#include "common/base/alloc.h"
#include "common/base/crc32c.h"
#include "common/base/prng.h"
#include "common/base/units.h"

TestSuite(base_crc32c, .timeout = 20);

static uint32_t crc_by_definition(struct nk_bytes bytes)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < bytes.size; i++) {
        crc ^= bytes.data[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc & 1) != 0 ? (crc >> 1) ^ UINT32_C(0x82F63B78) : crc >> 1;
        }
    }
    return ~crc;
}

Test(base_crc32c, gives_the_vectors_of_rfc_3720_appendix_b_4)
{
    uint8_t zeroes[32] = {0};
    uint8_t ones[32];
    uint8_t rising[32];
    uint8_t falling[32];
    for (size_t i = 0; i < 32; i++) {
        ones[i] = 0xFF;
        rising[i] = (uint8_t)i;
        falling[i] = (uint8_t)(31 - i);
    }
    static const uint8_t read_command[48] = {
        0x01, 0xc0, 0, 0,    0, 0, 0, 0,    0,    0, 0, 0, 0, 0, 0, 0, 0x14, 0, 0, 0, 0, 0, 4, 0,
        0,    0,    0, 0x14, 0, 0, 0, 0x18, 0x28, 0, 0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0, 0, 0, 0, 0,
    };
    cr_expect_eq(nk_crc32c(nk_bytes_of(zeroes, 32)), 0x8A9136AA);
    cr_expect_eq(nk_crc32c(nk_bytes_of(ones, 32)), 0x62A8AB43);
    cr_expect_eq(nk_crc32c(nk_bytes_of(rising, 32)), 0x46DD794E);
    cr_expect_eq(nk_crc32c(nk_bytes_of(falling, 32)), 0x113FDB5C);
    cr_expect_eq(nk_crc32c(nk_bytes_of(read_command, 48)), 0xD9963A56);
    cr_expect_eq(nk_crc32c(nk_bytes_of_string("123456789")), 0xE3069283);
    cr_expect_eq(nk_crc32c(nk_bytes_of(NULL, 0)), 0);
}

/* Lengths around the unit of eight bytes and around one, two and many rounds of three streams, at
 * every alignment. */
Test(base_crc32c, equals_the_definition_at_every_length_and_alignment)
{
    static const size_t lengths[] = {0,    1,    7,    8,    9,    63,   1023, 1024,  1025,
                                     3071, 3072, 3073, 6143, 6144, 6151, 9216, 65536, 100003};
    size_t size = 100003 + 8;
    uint8_t *data = nk_alloc(size);
    struct nk_prng prng;
    nk_prng_init(&prng, 1);
    for (size_t i = 0; i < size; i++) {
        data[i] = (uint8_t)nk_prng_next(&prng);
    }
    for (size_t i = 0; i < NK_COUNT_OF(lengths); i++) {
        for (size_t offset = 0; offset < 8; offset++) {
            struct nk_bytes bytes = nk_bytes_of(data + offset, lengths[i]);
            cr_expect_eq(nk_crc32c(bytes), crc_by_definition(bytes), "%zu bytes at %zu", lengths[i],
                         offset);
        }
    }
    nk_free(data);
}

Test(base_crc32c, extending_is_the_crc_of_the_concatenation)
{
    uint8_t data[8192];
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (uint8_t)(i * 31);
    }
    uint32_t whole = nk_crc32c(nk_bytes_of(data, sizeof data));
    for (size_t cut = 0; cut <= sizeof data; cut += 97) {
        uint32_t first = nk_crc32c(nk_bytes_of(data, cut));
        cr_expect_eq(nk_crc32c_extend(first, nk_bytes_of(data + cut, sizeof data - cut)), whole,
                     "cut at %zu", cut);
    }
}
