#include <criterion/criterion.h>

#include "common/base/limits.h"

TestSuite(base_units, .timeout = 5);

Test(base_units, sizes_and_helpers_say_what_they_mean)
{
    cr_expect_eq(NK_GIB, UINT64_C(1073741824));
    cr_expect_eq(nk_min_u64(1, UINT64_MAX), 1);
    cr_expect_eq(nk_max_u64(1, UINT64_MAX), UINT64_MAX);
    cr_expect_eq(nk_min_size(2, 3), 2);
    cr_expect_eq(nk_max_size(2, 3), 3);
}

/* The limits that clients rely on, and those that must hold between the limits. */
Test(base_units, limits_are_the_promised_ones_and_fit_each_other)
{
    cr_expect_eq(NK_KEY_BYTES_MAX, 1024);
    cr_expect_eq(NK_VALUE_BYTES_MAX, 1048576);
    cr_expect_eq(NK_REQUEST_BYTES_MAX, 2097152);
    cr_expect_eq(NK_IDEMPOTENCY_KEY_BYTES_MAX, 128);
    cr_expect_lt(NK_KEY_BYTES_MAX + NK_VALUE_BYTES_MAX, NK_REQUEST_BYTES_MAX);
    cr_expect_lt(NK_FRAME_BYTES_SOFT + NK_REQUEST_BYTES_MAX, NK_FRAME_BYTES_MAX);
    cr_expect_lt(NK_SHARDS_MAX, NK_SHARD_SYSTEM);
}
