#include <criterion/criterion.h>
#include <stdio.h>

#include "common/base/units.h"
#include "services/gateway/front_http/query.h"

TestSuite(front_http_query, .timeout = 5);

struct query_case {
    const char *query;
    const char *read; /* "name=value;" for each parameter */
};

Test(front_http_query, parameters_come_in_order_as_they_are)
{
    static const struct query_case cases[] = {
        {"", ""},
        {"a=b", "a=b;"},
        {"a", "a=;"},
        {"a=", "a=;"},
        {"=b", "=b;"},
        {"=", "=;"},
        {"a=b=c", "a=b=c;"},
        {"a=1&b=2&a=3", "a=1;b=2;a=3;"},
        {"&&a=1&&", "a=1;"},
        {"&", ""},
        {"a%3Db=%26+;?", "a%3Db=%26+;?;"},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        char read[256] = "";
        size_t size = 0;
        struct nk_bytes query = nk_bytes_of_string(cases[i].query);
        struct http_parameter parameter;
        while (http_query_next(&query, &parameter)) {
            size += (size_t)snprintf(read + size, sizeof read - size, "%.*s=%.*s;",
                                     (int)parameter.name.size, (const char *)parameter.name.data,
                                     (int)parameter.value.size, (const char *)parameter.value.data);
        }
        cr_expect_str_eq(read, cases[i].read, "case %zu", i);
        cr_expect_not(http_query_next(&query, &parameter), "case %zu: the end stays", i);
    }
}

Test(front_http_query, no_bytes_at_all_are_an_empty_query)
{
    struct nk_bytes query = {NULL, 0};
    struct http_parameter parameter;
    cr_expect_not(http_query_next(&query, &parameter));
}
