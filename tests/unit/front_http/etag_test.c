#include <criterion/criterion.h>

#include "common/base/units.h"
#include "services/gateway/front_http/etag.h"

TestSuite(front_http_etag, .timeout = 5);

struct etag_case {
    struct http_version version;
    const char *text;
};

Test(front_http_etag, a_version_is_read_as_it_was_written)
{
    static const struct etag_case cases[] = {
        {{0, 0}, "\"0.0\""},
        {{3, 14}, "\"3.14\""},
        {{UINT64_MAX, UINT64_MAX}, "\"18446744073709551615.18446744073709551615\""},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        char text[HTTP_ETAG_BYTES];
        http_etag_write(&cases[i].version, text);
        cr_expect_str_eq(text, cases[i].text);
        struct http_version read = {7, 7};
        cr_assert(http_etag_read(nk_bytes_of_string(text), &read), "case %zu", i);
        cr_expect_eq(read.term, cases[i].version.term);
        cr_expect_eq(read.index, cases[i].version.index);
    }
}

Test(front_http_etag, every_other_text_is_none_of_ours)
{
    static const char *const bad[] = {
        "",
        "\"",
        "\"\"",
        "*",
        "1.2",
        "\"1.2",
        "1.2\"",
        "'1.2'",
        "\"1\"",
        "\"1.\"",
        "\".2\"",
        "\".\"",
        "\"1.2.3\"",
        "\"1..2\"",
        "\"01.2\"",
        "\"1.02\"",
        "\"00.0\"",
        "\"+1.2\"",
        "\"-1.2\"",
        "\"1.2 \"",
        "\" 1.2\"",
        "\"1.2\" ",
        " \"1.2\"",
        "W/\"1.2\"",
        "\"1.2\", \"3.4\"",
        "\"1,2\"",
        "\"a.b\"",
        "\"0x1.2\"",
        "\"1e3.2\"",
        "\"18446744073709551616.1\"",
        "\"1.18446744073709551616\"",
    };
    struct http_version version = {7, 7};
    for (size_t i = 0; i < NK_COUNT_OF(bad); i++) {
        cr_expect_not(http_etag_read(nk_bytes_of_string(bad[i]), &version), "%s", bad[i]);
    }
    cr_expect_not(http_etag_read(nk_bytes_of("\"1.2\0\"", 6), &version));
    cr_expect_not(http_etag_read(nk_bytes_of(NULL, 0), &version));
    cr_expect_eq(version.term, 7, "untouched");
}
