#include <signal.h>
#include <stdint.h>

#include <criterion/criterion.h>

#include "common/base/alloc.h"

TestSuite(base_alloc, .timeout = 5);

Test(base_alloc, nothing_is_a_block_too)
{
    void *block = nk_alloc(0);
    void *zeroes = nk_alloc_zero(0, 0);
    cr_expect_not_null(block);
    cr_expect_not_null(zeroes);
    nk_free(block);
    nk_free(zeroes);
    nk_free(NULL);
}

Test(base_alloc, zeroed_memory_is_zero_and_realloc_keeps_it)
{
    unsigned char *block = nk_alloc_zero(100, 10);
    block[999] = 7;
    block = nk_realloc(block, 100000);
    for (size_t i = 0; i < 999; i++) {
        cr_assert_eq(block[i], 0);
    }
    cr_expect_eq(block[999], 7);
    nk_free(block);
}

#ifndef __SANITIZE_ADDRESS__ /* which takes such a size for a mistake */
Test(base_alloc, what_is_tried_may_fail)
{
    void *block = nk_alloc_try(100);
    cr_expect_not_null(block);
    nk_free(block);
    volatile size_t too_much = SIZE_MAX / 4;
    cr_expect_null(nk_alloc_try(too_much));
}
#endif

Test(base_alloc, strdup_copies)
{
    char text[] = "text";
    char *copy = nk_strdup(text);
    text[0] = 'n';
    cr_expect_str_eq(copy, "text");
    nk_free(copy);
}

Test(base_alloc, a_product_that_overflows_is_a_programmer_error, .signal = SIGABRT)
{
    (void)nk_alloc_zero(SIZE_MAX / 2, 4);
}

Test(base_alloc, shrinking_to_nothing_is_a_programmer_error, .signal = SIGABRT)
{
    (void)nk_realloc(nk_alloc(1), 0);
}
