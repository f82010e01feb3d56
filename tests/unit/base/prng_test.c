/* The same seed, the same run on every machine. */

#include <signal.h>

#include <criterion/criterion.h>

#include "common/base/prng.h"
#include "common/base/units.h"

TestSuite(base_prng, .timeout = 10);

/* xoshiro256++ of the reference implementation after splitmix64 of the seed. */
Test(base_prng, gives_the_numbers_of_the_published_generator)
{
    struct nk_prng prng = {{1, 2, 3, 4}};
    static const uint64_t expected[] = {
        UINT64_C(41943041),
        UINT64_C(58720359),
        UINT64_C(3588806011781223),
        UINT64_C(3591011842654386),
        UINT64_C(9228616714210784205),
        UINT64_C(9973669472204895162),
        UINT64_C(14011001112246962877),
        UINT64_C(12406186145184390807),
    };
    for (size_t i = 0; i < NK_COUNT_OF(expected); i++) {
        cr_expect_eq(nk_prng_next(&prng), expected[i], "number %zu", i);
    }
    nk_prng_init(&prng, 0);
    cr_expect_eq(prng.state[0], UINT64_C(0xE220A8397B1DCDAF), "splitmix64 of 0");
    cr_expect_eq(prng.state[1], UINT64_C(0x6E789E6AA1B965F4));
}

Test(base_prng, seeds_differ_and_repeat)
{
    struct nk_prng a;
    struct nk_prng b;
    struct nk_prng c;
    nk_prng_init(&a, 1);
    nk_prng_init(&b, 1);
    nk_prng_init(&c, 2);
    cr_expect_neq(nk_prng_next(&a), nk_prng_next(&c));
    (void)nk_prng_next(&b);
    for (int i = 0; i < 1000; i++) {
        cr_assert_eq(nk_prng_next(&a), nk_prng_next(&b));
    }
}

Test(base_prng, below_reaches_every_number_under_the_limit_and_no_other)
{
    struct nk_prng prng;
    nk_prng_init(&prng, 9);
    uint32_t hits[10] = {0};
    for (int i = 0; i < 100000; i++) {
        uint64_t number = nk_prng_below(&prng, NK_COUNT_OF(hits));
        cr_assert_lt(number, NK_COUNT_OF(hits));
        hits[number]++;
    }
    for (size_t i = 0; i < NK_COUNT_OF(hits); i++) {
        cr_expect_gt(hits[i], 9500);
        cr_expect_lt(hits[i], 10500);
    }
    cr_expect_eq(nk_prng_below(&prng, 1), 0);
}

Test(base_prng, between_includes_both_ends)
{
    struct nk_prng prng;
    nk_prng_init(&prng, 10);
    bool first = false;
    bool last = false;
    for (int i = 0; i < 1000; i++) {
        uint64_t number = nk_prng_between(&prng, 5, 7);
        cr_assert_geq(number, 5);
        cr_assert_leq(number, 7);
        first = first || number == 5;
        last = last || number == 7;
    }
    cr_expect(first);
    cr_expect(last);
    cr_expect_eq(nk_prng_between(&prng, UINT64_MAX, UINT64_MAX), UINT64_MAX);
}

Test(base_prng, between_may_span_all_numbers)
{
    struct nk_prng prng;
    nk_prng_init(&prng, 11);
    uint64_t all = 0;
    for (int i = 0; i < 100; i++) {
        all |= nk_prng_between(&prng, 0, UINT64_MAX);
    }
    cr_expect_eq(all, UINT64_MAX);
}

Test(base_prng, a_chance_is_never_at_zero_and_always_at_a_million)
{
    struct nk_prng prng;
    nk_prng_init(&prng, 12);
    for (int i = 0; i < 10000; i++) {
        cr_assert_not(nk_prng_chance(&prng, 0));
        cr_assert(nk_prng_chance(&prng, 1000000));
    }
}

Test(base_prng, below_zero_is_a_programmer_error, .signal = SIGABRT)
{
    struct nk_prng prng;
    nk_prng_init(&prng, 1);
    (void)nk_prng_below(&prng, 0);
}

Test(base_prng, a_reversed_range_is_a_programmer_error, .signal = SIGABRT)
{
    struct nk_prng prng;
    nk_prng_init(&prng, 1);
    (void)nk_prng_between(&prng, 2, 1);
}
