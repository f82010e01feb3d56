#include "services/shardhost/lsm/key.h"

#include <criterion/criterion.h>
#include <signal.h>

#include "common/base/prng.h"
#include "common/base/units.h"

TestSuite(lsm_key, .timeout = 10);

Test(lsm_key, a_separator_is_short_where_the_keys_leave_room)
{
    static const struct {
        const char *last;
        const char *next;
        const char *separator;
    } cases[] = {
        {"helloworld", "hellozoomer", "hellox"},
        {"abc1234", "abd", "abc1234"},
        {"abc1234", "abe", "abd"},
        {"a", "b", "a"},
        {"ab", "abc", "ab"},
        {"a\x01", "c", "b"},
    };
    struct nk_buf out = {0};
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        lsm_key_separator(nk_bytes_of_string(cases[i].last), nk_bytes_of_string(cases[i].next),
                          &out);
        cr_expect(nk_bytes_equal(nk_buf_bytes(&out), nk_bytes_of_string(cases[i].separator)),
                  "case %zu", i);
    }
    nk_buf_deinit(&out);
}

Test(lsm_key, a_separator_lies_between_the_keys)
{
    struct nk_prng prng;
    nk_prng_init(&prng, 1);
    struct nk_buf out = {0};
    for (size_t i = 0; i < 20000; i++) {
        uint8_t a[4];
        uint8_t b[4];
        struct nk_bytes last = nk_bytes_of(a, nk_prng_between(&prng, 1, 4));
        struct nk_bytes next = nk_bytes_of(b, nk_prng_between(&prng, 1, 4));
        for (size_t at = 0; at < 4; at++) {
            static const uint8_t bytes[] = {0, 1, 2, 0x7f, 0xfe, 0xff};
            a[at] = bytes[nk_prng_below(&prng, sizeof bytes)];
            b[at] = bytes[nk_prng_below(&prng, sizeof bytes)];
        }
        if (nk_bytes_compare(last, next) >= 0) {
            continue;
        }
        lsm_key_separator(last, next, &out);
        cr_assert_leq(nk_bytes_compare(last, nk_buf_bytes(&out)), 0, "round %zu", i);
        cr_assert_lt(nk_bytes_compare(nk_buf_bytes(&out), next), 0, "round %zu", i);
        cr_assert_leq(out.size, last.size, "round %zu", i);
    }
    nk_buf_deinit(&out);
}

Test(lsm_key, a_separator_of_keys_out_of_order_is_a_programmer_error, .signal = SIGABRT)
{
    struct nk_buf out = {0};
    lsm_key_separator(nk_bytes_of_string("b"), nk_bytes_of_string("a"), &out);
}

Test(lsm_key, an_entry_survives_encoding)
{
    static const struct lsm_entry entries[] = {
        {.version = {0, 0}},
        {.version = {1, 2}, .expire_at_ms = 3},
        {.version = {UINT64_MAX, UINT64_MAX}, .expire_at_ms = UINT64_MAX},
        {.version = {9, 300}, .tombstone = true},
    };
    for (size_t i = 0; i < NK_COUNT_OF(entries); i++) {
        uint8_t bytes[LSM_ENTRY_BYTES_MAX + 3];
        size_t size = lsm_entry_encode(&entries[i], bytes);
        cr_assert_leq(size, LSM_ENTRY_BYTES_MAX);
        size_t value_size = entries[i].tombstone ? 0 : 3;
        memcpy(bytes + size, "xyz", 3);
        struct lsm_entry entry;
        struct nk_bytes value;
        cr_assert_eq(lsm_entry_decode(nk_bytes_of(bytes, size + value_size), &entry, &value), NK_OK,
                     "entry %zu", i);
        cr_expect_eq(entry.version.term, entries[i].version.term);
        cr_expect_eq(entry.version.index, entries[i].version.index);
        cr_expect_eq(entry.expire_at_ms, entries[i].expire_at_ms);
        cr_expect_eq(entry.tombstone, entries[i].tombstone);
        cr_expect_eq(value.size, value_size);
    }
}

Test(lsm_key, what_is_no_entry_is_refused)
{
    static const struct {
        const char *bytes;
        size_t size;
    } cases[] = {
        {"", 0},                 /* nothing */
        {"\x00\x01", 2},         /* no index */
        {"\x02\x01\x01", 3},     /* no expiry */
        {"\x04\x01\x01", 3},     /* unknown bit */
        {"\x01\x01\x01value", 8} /* a tombstone with a value */
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct lsm_entry entry;
        struct nk_bytes value;
        cr_expect_eq(lsm_entry_decode(nk_bytes_of(cases[i].bytes, cases[i].size), &entry, &value),
                     NK_CORRUPT, "case %zu", i);
    }
}
