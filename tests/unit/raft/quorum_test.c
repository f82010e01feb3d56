#include <criterion/criterion.h>

#include "common/base/units.h"
#include "services/shardhost/raft/quorum.h"

TestSuite(raft_quorum, .timeout = 5);

Test(raft_quorum, the_value_is_the_largest_that_a_majority_has_reached)
{
    static const struct {
        uint64_t values[7];
        size_t count;
        uint64_t expected;
    } cases[] = {
        {{5}, 1, 5},
        {{5, 3}, 2, 3},
        {{1, 2, 3}, 3, 2},
        {{3, 3, 0}, 3, 3},
        {{9, 0, 0}, 3, 0},
        {{1, 2, 3, 4}, 4, 2},
        {{4, 1, 5, 2, 3}, 5, 3},
        {{7, 7, 7, 1, 1, 1, 6}, 7, 6},
        {{UINT64_MAX, UINT64_MAX, 0}, 3, UINT64_MAX},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        cr_expect_eq(raft_quorum_value(cases[i].values, cases[i].count), cases[i].expected,
                     "case %zu", i);
    }
}

Test(raft_quorum, half_of_the_voters_is_no_majority)
{
    static const struct {
        uint32_t voters;
        size_t count;
        bool expected;
    } cases[] = {
        {0, 1, false},    {1, 1, true},    {1, 2, false},    {3, 2, true},
        {2, 3, false},    {6, 3, true},    {0x5, 4, false},  {0xd, 4, true},
        {0x11, 5, false}, {0x15, 5, true}, {0x70, 7, false}, {0x71, 7, true},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        cr_expect_eq(raft_quorum_reached(cases[i].voters, cases[i].count), cases[i].expected,
                     "case %zu", i);
    }
}
