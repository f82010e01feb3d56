#include <criterion/criterion.h>

#include "common/base/units.h"
#include "common/observe/observe.h"

TestSuite(observe_accept, .timeout = 5);

struct accept_case {
    const char *accept;
    enum nk_metrics_format format;
};

Test(observe_accept, openmetrics_is_for_those_who_ask)
{
    static const struct accept_case cases[] = {
        {NULL, NK_METRICS_TEXT},
        {"", NK_METRICS_TEXT},
        {"*/*", NK_METRICS_TEXT},
        {"text/plain", NK_METRICS_TEXT},
        {"application/openmetrics-text", NK_METRICS_OPENMETRICS},
        {"application/openmetrics-text2", NK_METRICS_TEXT},
        {"application/openmetrics", NK_METRICS_TEXT},
        {"Application/OpenMetrics-Text ; version=1.0.0", NK_METRICS_OPENMETRICS},
        /* as Prometheus 2.42 asks */
        {"application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;"
         "q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
         NK_METRICS_OPENMETRICS},
        {"application/openmetrics-text;q=0", NK_METRICS_TEXT},
        {"application/openmetrics-text;q=0.000", NK_METRICS_TEXT},
        {"application/openmetrics-text;q=0.001", NK_METRICS_OPENMETRICS},
        {"application/openmetrics-text;q=0.3, text/plain;q=0.31", NK_METRICS_TEXT},
        {"application/openmetrics-text; q=0.31, text/plain; Q=0.3", NK_METRICS_OPENMETRICS},
        {"text/plain;q=0.5,application/openmetrics-text;q=0.5", NK_METRICS_OPENMETRICS},
        {",,;q=1,;,application/openmetrics-text", NK_METRICS_OPENMETRICS},
        {"application/openmetrics-text;q", NK_METRICS_OPENMETRICS},
        {"application/openmetrics-text;q=", NK_METRICS_TEXT},
        {"application/openmetrics-text;q=x", NK_METRICS_TEXT},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        cr_expect_eq(nk_metrics_format_of_accept(cases[i].accept), cases[i].format, "case %zu", i);
    }
}

Test(observe_accept, each_format_has_its_content_type)
{
    cr_expect_str_eq(nk_metrics_content_type(NK_METRICS_TEXT),
                     "text/plain; version=0.0.4; charset=utf-8");
    cr_expect_str_eq(nk_metrics_content_type(NK_METRICS_OPENMETRICS),
                     "application/openmetrics-text; version=1.0.0; charset=utf-8");
}
