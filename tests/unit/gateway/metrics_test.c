/* What a gateway counts. */

#include <criterion/criterion.h>
#include <stdio.h>

#include "services/gateway/metrics.h"
#include "tests/unit/stage/stage.h"

TestSuite(gateway_metrics, .timeout = 10);

Test(gateway_metrics, every_outcome_has_its_word)
{
    static const struct {
        enum nk_err err;
        const char *series;
    } cases[] = {
        {NK_OK, "success"},
        {NK_INVALID, "invalid"},
        {NK_TOO_LARGE, "invalid"},
        {NK_CONFLICT, "conflict"},
        {NK_EXISTS, "conflict"},
        {NK_NOT_LEADER, "not_leader"},
        {NK_UNAVAILABLE, "not_leader"},
        {NK_NO_QUORUM, "unavailable"},
        {NK_TIMEOUT, "timeout"},
        {NK_EXPIRED, "timeout"},
        {NK_BUSY, "overloaded"},
        {NK_NO_SPACE, "disk_full"},
        {NK_FENCED, "unavailable"},
        {NK_CANCELLED, "cancelled"},
        {NK_IO, "error"},
        {NK_CORRUPT, "error"},
        {(enum nk_err)77, "error"},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct stage stage;
        stage_open(&stage);
        struct gateway_metrics metrics;
        gateway_metrics_init(&metrics, stage.context.metrics);
        struct gateway_request request = {.op = GATEWAY_OP_DELETE, .err = cases[i].err};
        gateway_metrics_count(&metrics, &request, 1000);
        char series[128];
        (void)snprintf(series, sizeof series,
                       "kv_requests_total{operation=\"delete\",status=\"%s\"}", cases[i].series);
        cr_expect_eq(stage_metric(&stage, series), 1, "case %zu", i);
        stage_close(&stage);
    }
}

Test(gateway_metrics, durations_tell_apart_what_was_found)
{
    static const struct {
        enum gateway_op op;
        enum nk_err err;
        const char *response;
        const char *labels;
    } cases[] = {
        {GATEWAY_OP_PUT, NK_OK, "", "operation=\"put\",status=\"success\",result=\"stored\""},
        {GATEWAY_OP_GET, NK_OK, "\x12",
         "operation=\"get\",status=\"success\",result=\"not_found\""},
        {GATEWAY_OP_GET, NK_OK, "\x10\x01",
         "operation=\"get\",status=\"success\",result=\"found\""},
        {GATEWAY_OP_DELETE, NK_OK, "\x08\x01",
         "operation=\"delete\",status=\"success\",result=\"found\""},
        {GATEWAY_OP_GET, NK_BUSY, "", "operation=\"get\",status=\"error\",result=\"none\""},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct stage stage;
        stage_open(&stage);
        struct gateway_metrics metrics;
        gateway_metrics_init(&metrics, stage.context.metrics);
        struct gateway_request request = {.op = cases[i].op, .err = cases[i].err};
        request.response = nk_bytes_of_string(cases[i].response);
        gateway_metrics_count(&metrics, &request, 3000);
        char series[160];
        (void)snprintf(series, sizeof series, "kv_request_duration_ms_count{%s}", cases[i].labels);
        cr_expect_eq(stage_metric(&stage, series), 1, "case %zu", i);
        (void)snprintf(series, sizeof series, "kv_request_duration_ms_bucket{%s,le=\"2\"}",
                       cases[i].labels);
        cr_expect_eq(stage_metric(&stage, series), 0, "case %zu", i);
        (void)snprintf(series, sizeof series, "kv_request_duration_ms_bucket{%s,le=\"4\"}",
                       cases[i].labels);
        cr_expect_eq(stage_metric(&stage, series), 1, "case %zu", i);
        stage_close(&stage);
    }
}
