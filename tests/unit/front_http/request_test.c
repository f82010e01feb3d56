#include <criterion/criterion.h>

#include "common/base/units.h"
#include "services/gateway/front_http/request.h"

TestSuite(front_http_request, .timeout = 5);

static char reason_text[256];

static enum nk_err read_parts(const struct http_parts *parts, size_t key_bytes_max,
                              struct http_request *out_request)
{
    struct nk_text reason;
    nk_text_init(&reason, reason_text, sizeof reason_text);
    enum nk_err err = http_request_read(parts, key_bytes_max, out_request, &reason);
    cr_expect_eq(err == NK_OK, reason_text[0] == '\0', "a reason if and only if refused: %s",
                 reason_text);
    return err;
}

static struct nk_bytes text(const char *string)
{
    return nk_bytes_of_string(string);
}

static struct http_header one(const char *value)
{
    return (struct http_header){nk_bytes_of_string(value), 1};
}

static struct http_parts parts_of(enum gateway_op op)
{
    return (struct http_parts){.op = op, .key = text("k"), .query = text("")};
}

Test(front_http_request, a_plain_request_has_a_key_and_nothing_else)
{
    static const enum gateway_op ops[] = {GATEWAY_OP_PUT, GATEWAY_OP_GET, GATEWAY_OP_DELETE};
    for (size_t i = 0; i < NK_COUNT_OF(ops); i++) {
        struct http_parts parts = parts_of(ops[i]);
        struct http_request request;
        parts.key = text("a%2F/%00%c3\xa4");
        cr_assert_eq(read_parts(&parts, 1024, &request), NK_OK);
        cr_expect_eq(request.op, ops[i]);
        cr_expect_eq(request.key_size, 6);
        cr_expect_eq(memcmp(request.key, "a//\0\xc3\xa4", 6), 0);
        cr_expect_eq(request.ttl_ms, 0);
        cr_expect_not(request.is_conditional);
        cr_expect_str_eq(request.idempotency_key, "");
        cr_expect_str_eq(request.consistency, "");
    }
}

Test(front_http_request, a_key_is_measured_decoded)
{
    static char long_key[3 * NK_KEY_BYTES_MAX + 4];
    for (size_t i = 0; i + 3 < sizeof long_key; i += 3) {
        memcpy(long_key + i, "%e4", 3);
    }
    struct http_parts parts = parts_of(GATEWAY_OP_PUT);
    struct http_request request;
    parts.key = nk_bytes_of(long_key, 3 * NK_KEY_BYTES_MAX);
    cr_expect_eq(read_parts(&parts, NK_KEY_BYTES_MAX, &request), NK_OK);
    cr_expect_eq(request.key_size, NK_KEY_BYTES_MAX);
    parts.key.size += 3;
    cr_expect_eq(read_parts(&parts, NK_KEY_BYTES_MAX, &request), NK_TOO_LARGE);
    cr_expect_str_eq(reason_text, "key has 1025 bytes; the limit is 1024");
    parts.key = text("%61bc");
    cr_expect_eq(read_parts(&parts, 3, &request), NK_OK);
    cr_expect_eq(read_parts(&parts, 2, &request), NK_TOO_LARGE);
    parts.key = text("");
    cr_expect_eq(read_parts(&parts, 3, &request), NK_OK, "the gateway's to refuse");
    parts.key = text("%6");
    cr_expect_eq(read_parts(&parts, 3, &request), NK_INVALID);
    cr_expect_not_null(strstr(reason_text, "percent"), "%s", reason_text);
}

struct query_case {
    enum gateway_op op;
    const char *query;
    const char *reason; /* NULL: fine */
};

Test(front_http_request, each_method_has_its_parameter)
{
    static const struct query_case cases[] = {
        {GATEWAY_OP_PUT, "ttl_ms=0", NULL},
        {GATEWAY_OP_PUT, "ttl_ms=18446744073709551615", NULL},
        {GATEWAY_OP_PUT, "&ttl_ms=1&", NULL},
        {GATEWAY_OP_PUT, "ttl_ms=%31", NULL},
        {GATEWAY_OP_PUT, "ttl_ms", "ttl_ms \"\" is not a number of milliseconds"},
        {GATEWAY_OP_PUT, "ttl_ms=", "ttl_ms \"\" is not"},
        {GATEWAY_OP_PUT, "ttl_ms=1.5", "ttl_ms \"1.5\" is not"},
        {GATEWAY_OP_PUT, "ttl_ms=-1", "ttl_ms \"-1\" is not"},
        {GATEWAY_OP_PUT, "ttl_ms=+1", "ttl_ms \"+1\" is not"},
        {GATEWAY_OP_PUT, "ttl_ms= 1", "ttl_ms \" 1\" is not"},
        {GATEWAY_OP_PUT, "ttl_ms=1%00", "ttl_ms \"1%00\" is not"},
        {GATEWAY_OP_PUT, "ttl_ms=%3", "ttl_ms \"%3\" is not"},
        {GATEWAY_OP_PUT, "ttl_ms=18446744073709551616", "ttl_ms"},
        {GATEWAY_OP_PUT, "ttl_ms=000000000000000000000000000000000000001", "ttl_ms"},
        {GATEWAY_OP_PUT, "ttl_ms=1&ttl_ms=1", "query parameter \"ttl_ms\" is given twice"},
        {GATEWAY_OP_PUT, "TTL_MS=1", "query parameter \"TTL_MS\" is unknown for this method"},
        {GATEWAY_OP_PUT, "ttl_ms2=1", "query parameter \"ttl_ms2\" is unknown"},
        {GATEWAY_OP_PUT, "ttl=1", "query parameter \"ttl\" is unknown"},
        {GATEWAY_OP_PUT, "consistency=lease", "query parameter \"consistency\" is unknown"},
        {GATEWAY_OP_PUT, "=1", "query parameter \"\" is unknown"},
        {GATEWAY_OP_GET, "consistency=", NULL},
        {GATEWAY_OP_GET, "consistency=bounded%5fstaleness", NULL},
        {GATEWAY_OP_GET, "consistency=whatever-the-gateway-says-to", NULL},
        {GATEWAY_OP_GET, "consistency=lease%00x", "consistency \"lease%00x\" is unknown"},
        {GATEWAY_OP_GET, "consistency=0123456789012345678901234567890123456789",
         "consistency \"01234567890123456789012345678901\" is unknown"},
        {GATEWAY_OP_GET, "consistency=lease&consistency=lease", "query parameter \"consistency\""},
        {GATEWAY_OP_GET, "ttl_ms=1", "query parameter \"ttl_ms\" is unknown"},
        {GATEWAY_OP_GET, "\"\x01=1", "query parameter \"\"\\x01\" is unknown"},
        {GATEWAY_OP_DELETE, "&", NULL},
        {GATEWAY_OP_DELETE, "ttl_ms=1", "query parameter \"ttl_ms\" is unknown"},
        {GATEWAY_OP_DELETE, "consistency=lease", "query parameter \"consistency\" is unknown"},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct http_parts parts = parts_of(cases[i].op);
        struct http_request request;
        parts.query = text(cases[i].query);
        enum nk_err err = read_parts(&parts, 1024, &request);
        if (cases[i].reason == NULL) {
            cr_expect_eq(err, NK_OK, "case %zu: %s", i, reason_text);
        } else {
            cr_expect_eq(err, NK_INVALID, "case %zu", i);
            cr_expect_eq(strstr(reason_text, cases[i].reason), reason_text, "case %zu: %s", i,
                         reason_text);
        }
    }
}

Test(front_http_request, parameters_are_decoded)
{
    struct http_parts parts = parts_of(GATEWAY_OP_PUT);
    struct http_request request;
    parts.query = text("ttl_ms=%31%30");
    cr_assert_eq(read_parts(&parts, 1024, &request), NK_OK);
    cr_expect_eq(request.ttl_ms, 10);
    parts = parts_of(GATEWAY_OP_GET);
    parts.query = text("consistency=stale%5Fok");
    cr_assert_eq(read_parts(&parts, 1024, &request), NK_OK);
    cr_expect_str_eq(request.consistency, "stale_ok");
}

struct condition_case {
    enum gateway_op op;
    const char *if_match;      /* NULL: none */
    const char *if_none_match; /* NULL: none */
    bool fine;
    bool is_conditional;
    struct http_version version;
};

Test(front_http_request, conditions_name_one_version_or_none)
{
    static const struct condition_case cases[] = {
        {GATEWAY_OP_PUT, "\"3.14\"", NULL, true, true, {3, 14}},
        {GATEWAY_OP_PUT, "\"0.1\"", NULL, true, true, {0, 1}},
        {GATEWAY_OP_PUT, "\"1.0\"", NULL, true, true, {1, 0}},
        {GATEWAY_OP_PUT, NULL, "*", true, true, {0, 0}},
        {GATEWAY_OP_DELETE, "\"3.14\"", NULL, true, true, {3, 14}},
        {GATEWAY_OP_PUT, "\"0.0\"", NULL, false, false, {0, 0}},
        {GATEWAY_OP_PUT, "*", NULL, false, false, {0, 0}},
        {GATEWAY_OP_PUT, "", NULL, false, false, {0, 0}},
        {GATEWAY_OP_PUT, "3.14", NULL, false, false, {0, 0}},
        {GATEWAY_OP_PUT, "\"3.14\", \"3.15\"", NULL, false, false, {0, 0}},
        {GATEWAY_OP_PUT, "W/\"3.14\"", NULL, false, false, {0, 0}},
        {GATEWAY_OP_PUT, NULL, "\"3.14\"", false, false, {0, 0}},
        {GATEWAY_OP_PUT, NULL, "", false, false, {0, 0}},
        {GATEWAY_OP_PUT, "\"3.14\"", "*", false, false, {0, 0}},
        {GATEWAY_OP_DELETE, NULL, "*", false, false, {0, 0}},
        {GATEWAY_OP_GET, "nonsense", "nonsense", true, false, {0, 0}},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct http_parts parts = parts_of(cases[i].op);
        struct http_request request;
        if (cases[i].if_match != NULL) {
            parts.if_match = one(cases[i].if_match);
        }
        if (cases[i].if_none_match != NULL) {
            parts.if_none_match = one(cases[i].if_none_match);
        }
        enum nk_err err = read_parts(&parts, 1024, &request);
        cr_expect_eq(err, cases[i].fine ? NK_OK : NK_INVALID, "case %zu: %s", i, reason_text);
        if (err == NK_OK) {
            cr_expect_eq(request.is_conditional, cases[i].is_conditional, "case %zu", i);
            cr_expect_eq(request.if_match.term, cases[i].version.term, "case %zu", i);
            cr_expect_eq(request.if_match.index, cases[i].version.index, "case %zu", i);
        }
    }
}

Test(front_http_request, a_header_that_comes_twice_is_refused)
{
    struct http_request request;
    struct http_parts parts = parts_of(GATEWAY_OP_PUT);
    parts.if_match = (struct http_header){text("\"3.14\""), 2};
    cr_expect_eq(read_parts(&parts, 1024, &request), NK_INVALID);
    parts = parts_of(GATEWAY_OP_PUT);
    parts.if_none_match = (struct http_header){text("*"), 2};
    cr_expect_eq(read_parts(&parts, 1024, &request), NK_INVALID);
    parts = parts_of(GATEWAY_OP_DELETE);
    parts.idempotency_key = (struct http_header){text("a"), 2};
    cr_expect_eq(read_parts(&parts, 1024, &request), NK_INVALID);
}

Test(front_http_request, an_idempotency_key_has_1_to_128_bytes)
{
    static const enum gateway_op ops[] = {GATEWAY_OP_PUT, GATEWAY_OP_DELETE};
    char key[NK_IDEMPOTENCY_KEY_BYTES_MAX + 2];
    memset(key, 'k', sizeof key);
    key[NK_IDEMPOTENCY_KEY_BYTES_MAX + 1] = '\0';
    for (size_t i = 0; i < NK_COUNT_OF(ops); i++) {
        struct http_request request;
        struct http_parts parts = parts_of(ops[i]);
        parts.idempotency_key = one(key);
        cr_expect_eq(read_parts(&parts, 1024, &request), NK_INVALID);
        cr_expect_eq(strstr(reason_text, "idempotency_key has 129 bytes"), reason_text, "%s",
                     reason_text);
        parts.idempotency_key.value.size--;
        cr_assert_eq(read_parts(&parts, 1024, &request), NK_OK);
        cr_expect_eq(strlen(request.idempotency_key), NK_IDEMPOTENCY_KEY_BYTES_MAX);
        parts.idempotency_key = one("\"a, b\"");
        cr_assert_eq(read_parts(&parts, 1024, &request), NK_OK);
        cr_expect_str_eq(request.idempotency_key, "\"a, b\"", "taken as it is");
        parts.idempotency_key = one("");
        cr_expect_eq(read_parts(&parts, 1024, &request), NK_INVALID);
        parts.idempotency_key = (struct http_header){nk_bytes_of("a\0b", 3), 1};
        cr_expect_eq(read_parts(&parts, 1024, &request), NK_INVALID);
    }
    struct http_request request;
    struct http_parts parts = parts_of(GATEWAY_OP_GET);
    parts.idempotency_key = one("");
    cr_expect_eq(read_parts(&parts, 1024, &request), NK_OK, "a read has no use for it");
    cr_expect_str_eq(request.idempotency_key, "");
}
