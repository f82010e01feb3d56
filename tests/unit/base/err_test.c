/* The numbers travel between versions: a change of one is a change of the protocol. */

#include <criterion/criterion.h>

#include "common/base/err.h"
#include "common/base/units.h"

TestSuite(base_err, .timeout = 5);

struct err_case {
    enum nk_err err;
    int number;
    const char *name;
};

static const struct err_case cases[] = {
    {NK_OK, 0, "ok"},
    {NK_NOT_FOUND, 1, "not_found"},
    {NK_NOT_LEADER, 2, "not_leader"},
    {NK_CONFLICT, 3, "conflict"},
    {NK_BUSY, 4, "busy"},
    {NK_TOO_LARGE, 5, "too_large"},
    {NK_EXISTS, 6, "exists"},
    {NK_INVALID, 7, "invalid"},
    {NK_TIMEOUT, 8, "timeout"},
    {NK_UNAVAILABLE, 9, "unavailable"},
    {NK_NO_SPACE, 10, "no_space"},
    {NK_CANCELLED, 11, "cancelled"},
    {NK_WOULD_BLOCK, 12, "would_block"},
    {NK_UNSUPPORTED, 13, "unsupported"},
    {NK_DENIED, 14, "denied"},
    {NK_UNAUTHENTICATED, 15, "unauthenticated"},
    {NK_NO_QUORUM, 16, "no_quorum"},
    {NK_EXPIRED, 17, "expired"},
    {NK_FENCED, 18, "fenced"},
    {NK_IO, 100, "io"},
    {NK_CORRUPT, 101, "corrupt"},
    {NK_FORMAT_TOO_NEW, 102, "format_too_new"},
};

Test(base_err, numbers_and_names_are_stable)
{
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        cr_expect_eq((int)cases[i].err, cases[i].number, "case %zu", i);
        cr_expect_str_eq(nk_err_name(cases[i].err), cases[i].name, "case %zu", i);
        cr_expect_eq(nk_err_is_fault(cases[i].err), cases[i].number >= 100, "case %zu", i);
    }
    cr_expect_str_eq(nk_err_name((enum nk_err)99), "unknown");
}

/* A new name must be in the table above, and a number is never used for another one. */
Test(base_err, every_named_number_is_in_the_table)
{
    for (int number = 0; number < 300; number++) {
        bool listed = false;
        for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
            listed = listed || cases[i].number == number;
        }
        cr_expect_eq(strcmp(nk_err_name((enum nk_err)number), "unknown") != 0, listed, "%d",
                     number);
    }
}
