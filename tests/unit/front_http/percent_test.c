#include <criterion/criterion.h>
#include <stdio.h>

#include "common/base/units.h"
#include "services/gateway/front_http/percent.h"

TestSuite(front_http_percent, .timeout = 5);

static bool decode(const char *text, uint8_t *out, size_t capacity, size_t *out_size)
{
    return http_percent_decode(nk_bytes_of_string(text), out, capacity, out_size);
}

Test(front_http_percent, every_byte_has_its_escape_in_both_cases)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        static const char *const forms[] = {"%%%02x", "%%%02X"};
        for (size_t i = 0; i < NK_COUNT_OF(forms); i++) {
            char text[8];
            (void)snprintf(text, sizeof text, forms[i], byte);
            uint8_t out[2];
            size_t size = 0;
            cr_assert(decode(text, out, sizeof out, &size), "%s", text);
            cr_expect_eq(size, 1);
            cr_expect_eq(out[0], byte, "%s", text);
        }
    }
}

Test(front_http_percent, all_else_is_itself)
{
    static const char text[] = "aZ09-._~+/?#[]@!$&'()*,;=:\"<>\\^`{|}\x01 \x7f\x80\xff";
    uint8_t out[sizeof text];
    size_t size = 0;
    cr_assert(decode(text, out, sizeof out, &size));
    cr_expect_eq(size, sizeof text - 1);
    cr_expect_eq(memcmp(out, text, size), 0);
}

Test(front_http_percent, it_decodes_once)
{
    uint8_t out[8];
    size_t size = 0;
    cr_assert(decode("%252F%2", out, sizeof out, &size) == false);
    cr_assert(decode("%252F", out, sizeof out, &size));
    cr_expect_eq(size, 3);
    cr_expect_eq(memcmp(out, "%2F", 3), 0);
}

Test(front_http_percent, a_percent_sign_needs_two_hexadecimal_digits)
{
    static const char *const bad[] = {"%",   "a%",  "%1",  "%g0",  "%0g", "%%20",
                                      "%-1", "% 1", "%1 ", "%0x1", "%/0", "%:0",
                                      "%@0", "%G0", "%`0", "%+1",  "ab%2"};
    uint8_t out[16];
    size_t size;
    for (size_t i = 0; i < NK_COUNT_OF(bad); i++) {
        cr_expect_not(decode(bad[i], out, sizeof out, &size), "%s", bad[i]);
    }
}

Test(front_http_percent, what_does_not_fit_is_counted_and_not_written)
{
    uint8_t out[4] = {9, 9, 9, 9};
    size_t size = 0;
    cr_assert(decode("a%62cde", out, 2, &size));
    cr_expect_eq(size, 5);
    static const uint8_t wanted[] = {'a', 'b', 9, 9};
    cr_expect_eq(memcmp(out, wanted, sizeof wanted), 0);
    cr_assert(decode("", out, 0, &size));
    cr_expect_eq(size, 0);
}
