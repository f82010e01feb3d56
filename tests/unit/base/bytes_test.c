#include <criterion/criterion.h>

#include "common/base/bytes.h"
#include "common/base/units.h"

TestSuite(base_bytes, .timeout = 5);

/* Sorted: each is below all that follow. */
static const struct nk_bytes sorted[] = {
    {NULL, 0},
    {(const uint8_t *)"\0", 1},
    {(const uint8_t *)"\0\0", 2},
    {(const uint8_t *)"a", 1},
    {(const uint8_t *)"a\0", 2},
    {(const uint8_t *)"ab", 2},
    {(const uint8_t *)"b", 1},
    {(const uint8_t *)"\x80", 1},
    {(const uint8_t *)"\xff", 1},
};

Test(base_bytes, the_order_is_bytewise_and_a_prefix_comes_first)
{
    for (size_t i = 0; i < NK_COUNT_OF(sorted); i++) {
        for (size_t j = 0; j < NK_COUNT_OF(sorted); j++) {
            int order = nk_bytes_compare(sorted[i], sorted[j]);
            cr_expect_eq((order > 0) - (order < 0), (i > j) - (i < j), "%zu and %zu", i, j);
            cr_expect_eq(nk_bytes_equal(sorted[i], sorted[j]), i == j, "%zu and %zu", i, j);
        }
    }
}

Test(base_bytes, starts_with_looks_at_whole_prefixes)
{
    struct nk_bytes text = nk_bytes_of_string("prefix");
    cr_expect(nk_bytes_starts_with(text, nk_bytes_of(NULL, 0)));
    cr_expect(nk_bytes_starts_with(text, nk_bytes_of_string("pre")));
    cr_expect(nk_bytes_starts_with(text, text));
    cr_expect_not(nk_bytes_starts_with(text, nk_bytes_of_string("prefixes")));
    cr_expect_not(nk_bytes_starts_with(text, nk_bytes_of_string("re")));
    cr_expect_not(nk_bytes_starts_with(nk_bytes_of(NULL, 0), text));
}
