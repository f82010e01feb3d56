#include <criterion/criterion.h>
#include <signal.h>

#include "common/base/units.h"
#include "common/service/json.h"

TestSuite(service_json, .timeout = 10);

static void expect_text(struct nk_buf *out, const char *text)
{
    cr_expect(nk_bytes_equal(nk_buf_bytes(out), nk_bytes_of_string(text)), "%.*s", (int)out->size,
              (const char *)out->data);
    nk_buf_deinit(out);
}

Test(service_json, commas_stand_between_values_and_nowhere_else)
{
    struct nk_buf out = {0};
    struct nk_json json;
    nk_json_init(&json, &out);
    nk_json_open(&json, '{');
    nk_json_name(&json, "empty");
    nk_json_open(&json, '[');
    nk_json_close(&json, ']');
    nk_json_name(&json, "list");
    nk_json_open(&json, '[');
    nk_json_number(&json, 0);
    nk_json_bool(&json, true);
    nk_json_open(&json, '{');
    nk_json_close(&json, '}');
    nk_json_text(&json, "x");
    nk_json_close(&json, ']');
    nk_json_name(&json, "last");
    nk_json_bool(&json, false);
    nk_json_close(&json, '}');
    expect_text(&out, "{\"empty\":[],\"list\":[0,true,{},\"x\"],\"last\":false}");
}

Test(service_json, texts_are_escaped_and_always_valid)
{
    static const struct {
        const char *text;
        const char *json;
    } cases[] = {
        {"", "\"\""},
        {"plain ~", "\"plain ~\""},
        {"a\"b\\c/", "\"a\\\"b\\\\c/\""},
        {"a\nb", "\"a\\ufffdb\""},
        {"\x01\x1f\x7f", "\"\\ufffd\\ufffd\\ufffd\""},
        {"\xc3\xb6\xff", "\"\\ufffd\\ufffd\\ufffd\""},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct nk_buf out = {0};
        struct nk_json json;
        nk_json_init(&json, &out);
        nk_json_text(&json, cases[i].text);
        expect_text(&out, cases[i].json);
    }
}

Test(service_json, numbers_are_whole_up_to_the_largest)
{
    static const struct {
        uint64_t number;
        const char *json;
    } cases[] = {{0, "0"}, {10, "10"}, {UINT64_MAX, "18446744073709551615"}};
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct nk_buf out = {0};
        struct nk_json json;
        nk_json_init(&json, &out);
        nk_json_number(&json, cases[i].number);
        expect_text(&out, cases[i].json);
    }
}

Test(service_json, it_appends)
{
    struct nk_buf out = {0};
    nk_buf_append_string(&out, "data: ");
    struct nk_json json;
    nk_json_init(&json, &out);
    nk_json_number(&json, 1);
    expect_text(&out, "data: 1");
}

Test(service_json, anything_but_a_bracket_is_a_programmer_error, .signal = SIGABRT)
{
    struct nk_buf out = {0};
    struct nk_json json;
    nk_json_init(&json, &out);
    nk_json_open(&json, '(');
}
