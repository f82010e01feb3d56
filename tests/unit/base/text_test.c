/* Bounded text: what does not fit is cut, never written. */

#include <signal.h>

#include <criterion/criterion.h>

#include "common/base/text.h"
#include "common/base/units.h"

TestSuite(base_text, .timeout = 5);

Test(base_text, pieces_are_appended)
{
    char memory[128];
    struct nk_text text;
    nk_text_init(&text, memory, sizeof memory);
    cr_expect_str_eq(text.data, "");
    nk_text_add(&text, "n=");
    nk_text_add_u64(&text, 0);
    nk_text_add(&text, " ");
    nk_text_add_u64(&text, UINT64_MAX);
    nk_text_add(&text, " ");
    nk_text_add_hex(&text, 0xBEEF, 8);
    nk_text_add(&text, " ");
    nk_text_add_hex(&text, 0xBEEF, 2);
    nk_text_add_bytes(&text, nk_bytes_of(NULL, 0));
    cr_expect_str_eq(text.data, "n=0 18446744073709551615 0000beef ef");
    cr_expect_eq(text.size, strlen(text.data));
    cr_expect_not(text.truncated);
}

Test(base_text, escapes_what_is_not_plain)
{
    char memory[64];
    struct nk_text text;
    nk_text_init(&text, memory, sizeof memory);
    nk_text_add_escaped(&text, nk_bytes_of("a \\~\0\n\x7f\xff", 8));
    cr_expect_str_eq(text.data, "a \\x5c~\\x00\\x0a\\x7f\\xff");
}

Test(base_text, what_does_not_fit_is_cut_and_said)
{
    char memory[8];
    memset(memory, '#', sizeof memory);
    struct nk_text text;
    nk_text_init(&text, memory, 6);
    nk_text_add(&text, "12345");
    cr_expect_not(text.truncated);
    nk_text_add(&text, "6");
    cr_expect(text.truncated);
    cr_expect_str_eq(text.data, "12345");
    cr_expect_eq(memory[6], '#', "nothing behind the capacity");
    nk_text_add(&text, "");
    cr_expect_eq(text.size, 5);
}

Test(base_text, one_byte_holds_the_end_only)
{
    char memory[1];
    struct nk_text text;
    nk_text_init(&text, memory, sizeof memory);
    nk_text_add_u64(&text, 7);
    cr_expect_eq(text.size, 0);
    cr_expect(text.truncated);
    cr_expect_eq(memory[0], '\0');
}

struct number_case {
    const char *digits;
    bool right;
    uint64_t number;
};

Test(base_text, numbers_are_digits_that_fit)
{
    static const struct number_case cases[] = {
        {"0", true, 0},
        {"007", true, 7},
        {"18446744073709551615", true, UINT64_MAX},
        {"18446744073709551616", false, 0},
        {"99999999999999999999999", false, 0},
        {"", false, 0},
        {"-1", false, 0},
        {"+1", false, 0},
        {" 1", false, 0},
        {"1 ", false, 0},
        {"0x10", false, 0},
        {"1.0", false, 0},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        uint64_t number = 4711;
        bool right = nk_text_parse_u64(nk_bytes_of_string(cases[i].digits), &number);
        cr_expect_eq(right, cases[i].right, "\"%s\"", cases[i].digits);
        cr_expect_eq(number, cases[i].right ? cases[i].number : 4711, "\"%s\"", cases[i].digits);
    }
}

Test(base_text, no_room_at_all_is_a_programmer_error, .signal = SIGABRT)
{
    char memory[1];
    struct nk_text text;
    nk_text_init(&text, memory, 0);
}

Test(base_text, seventeen_hex_digits_are_a_programmer_error, .signal = SIGABRT)
{
    char memory[32];
    struct nk_text text;
    nk_text_init(&text, memory, sizeof memory);
    nk_text_add_hex(&text, 1, 17);
}
