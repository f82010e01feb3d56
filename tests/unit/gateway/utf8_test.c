#include <criterion/criterion.h>

#include "common/base/units.h"
#include "services/gateway/utf8.h"

TestSuite(gateway_utf8, .timeout = 10);

/* RFC 3629, section 3, without its exceptions. */
static size_t encode(uint32_t c, uint8_t *out)
{
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    size_t size = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t leads[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = size - 1; i > 0; i--) {
        out[i] = (uint8_t)(0x80 | (c & 0x3F));
        c >>= 6;
    }
    out[0] = (uint8_t)(leads[size] | c);
    return size;
}

Test(gateway_utf8, exactly_the_characters_of_unicode_are_valid)
{
    for (uint32_t c = 0; c <= 0x13FFFF; c++) {
        uint8_t bytes[4];
        size_t size = encode(c, bytes);
        bool valid = c <= 0x10FFFF && !(c >= 0xD800 && c <= 0xDFFF);
        struct nk_bytes text = nk_bytes_of(bytes, size);
        cr_assert_eq(gateway_utf8_character(text), valid ? size : 0, "U+%X", c);
        cr_assert_eq(gateway_utf8_valid(text), valid, "U+%X", c);
    }
}

Test(gateway_utf8, what_is_no_whole_character_is_invalid)
{
    static const struct {
        const char *bytes;
        size_t size;
        bool valid;
    } cases[] = {
        {"", 0, true},
        {"a\0b", 3, true},
        {"\x80", 1, false},     /* begins in the middle */
        {"\xC0\x80", 2, false}, /* overlong */
        {"\xC1\xBF", 2, false},
        {"\xE0\x9F\xBF", 3, false},
        {"\xF0\x8F\xBF\xBF", 4, false},
        {"\xC3", 1, false}, /* cut */
        {"\xE2\x82", 2, false},
        {"\xF0\x9F\x98", 3, false},
        {"\xC3\x41", 2, false}, /* not continued */
        {"\xE2\x82\x41", 3, false},
        {"\xF0\x9F\x98\x41", 4, false},
        {"\xF5\x80\x80\x80", 4, false}, /* beyond the last */
        {"\xFF", 1, false},
        {"ok\xC3\xB6\xE2\x82\xAC\xF0\x9F\x98\x80", 11, true},
        {"ok\xC3\xB6\xE2\x82", 6, false},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        cr_expect_eq(gateway_utf8_valid(nk_bytes_of(cases[i].bytes, cases[i].size)), cases[i].valid,
                     "case %zu", i);
    }
    cr_expect_eq(gateway_utf8_character(nk_bytes_of("", 0)), 0);
}

Test(gateway_utf8, a_sanitized_text_is_valid_and_keeps_what_was)
{
    static const struct {
        const char *text;
        const char *clean;
    } cases[] = {
        {"", ""},
        {"plain \xC3\xB6 text", "plain \xC3\xB6 text"},
        {"a\nb\tc\x7F", "a?b?c?"},
        {"\xFFx\xC3", "?x?"},
        {"cut \xE2\x82", "cut ??"},
        {"\xED\xA0\x80", "???"},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        char text[64];
        memcpy(text, cases[i].text, strlen(cases[i].text) + 1);
        gateway_utf8_sanitize(text);
        cr_expect_str_eq(text, cases[i].clean, "case %zu", i);
        cr_expect(gateway_utf8_valid(nk_bytes_of_string(text)), "case %zu", i);
    }
}
