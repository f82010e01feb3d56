/* What is printed, to the byte. */

#include <criterion/criterion.h>

#include <stdio.h>

#include "common/base/units.h"
#include "common/observe/observe.h"

TestSuite(observe_render, .timeout = 5);

static const uint64_t bounds[] = {125, 1000, 512000};

/* A registry with one of everything. */
struct sample {
    struct nk_registry *registry;
    struct nk_counter puts;
    struct nk_counter gets;
    struct nk_gauge size;
    struct nk_histogram duration;
    struct nk_counter cpu;
    struct nk_series *size_series;
};

static void sample_open(struct sample *sample)
{
    memset(sample, 0, sizeof *sample);
    nk_registry_open(&sample->registry);
    const struct nk_metric puts = {.name = "kv_requests_total",
                                   .help = "Requests.",
                                   .labels = {{"operation", "put"}, {"status", "success"}}};
    const struct nk_metric size = {
        .name = "lsm_memtable_size_bytes", .help = "Bytes.", .labels = {{"shard_id", "7"}}};
    const struct nk_metric gets = {.name = "kv_requests_total",
                                   .help = "Requests.",
                                   .labels = {{"operation", "get"}, {"status", "success"}}};
    const struct nk_metric duration = {
        .name = "raft_commit_ms", .help = "Commit.", .scale = NK_SCALE_US_AS_MS};
    const struct nk_metric cpu = {
        .name = "process_cpu_seconds_total", .help = "Cpu.", .scale = NK_SCALE_US_AS_SECONDS};
    nk_registry_add_counter(sample->registry, &puts, &sample->puts);
    sample->size_series = nk_registry_add_gauge(sample->registry, &size, &sample->size);
    nk_registry_add_counter(sample->registry, &gets, &sample->gets);
    nk_histogram_init(&sample->duration, bounds, NK_COUNT_OF(bounds));
    nk_registry_add_histogram(sample->registry, &duration, &sample->duration);
    nk_registry_add_counter(sample->registry, &cpu, &sample->cpu);
}

static void expect_text(struct sample *sample, enum nk_metrics_format format, const char *expected)
{
    struct nk_buf out = {0};
    nk_registry_render(sample->registry, format, &out);
    nk_buf_append_u8(&out, '\0');
    cr_expect_str_eq((const char *)out.data, expected);
    nk_buf_deinit(&out);
}

static void count_things(struct sample *sample)
{
    nk_counter_add(&sample->puts, 3);
    nk_counter_add(&sample->gets, UINT32_MAX);
    nk_gauge_set(&sample->size, -5);
    nk_histogram_observe(&sample->duration, 125);
    nk_histogram_observe(&sample->duration, 126);
    nk_histogram_observe(&sample->duration, 512001);
    nk_counter_add(&sample->cpu, 1000001);
}

Test(observe_render, prometheus_text_groups_by_family_in_order_of_registration)
{
    struct sample sample;
    sample_open(&sample);
    count_things(&sample);
    expect_text(&sample, NK_METRICS_TEXT,
                "# HELP kv_requests_total Requests.\n"
                "# TYPE kv_requests_total counter\n"
                "kv_requests_total{operation=\"put\",status=\"success\"} 3\n"
                "kv_requests_total{operation=\"get\",status=\"success\"} 4294967295\n"
                "# HELP lsm_memtable_size_bytes Bytes.\n"
                "# TYPE lsm_memtable_size_bytes gauge\n"
                "lsm_memtable_size_bytes{shard_id=\"7\"} -5\n"
                "# HELP raft_commit_ms Commit.\n"
                "# TYPE raft_commit_ms histogram\n"
                "raft_commit_ms_bucket{le=\"0.125\"} 1\n"
                "raft_commit_ms_bucket{le=\"1\"} 2\n"
                "raft_commit_ms_bucket{le=\"512\"} 2\n"
                "raft_commit_ms_bucket{le=\"+Inf\"} 3\n"
                "raft_commit_ms_sum 512.252\n"
                "raft_commit_ms_count 3\n"
                "# HELP process_cpu_seconds_total Cpu.\n"
                "# TYPE process_cpu_seconds_total counter\n"
                "process_cpu_seconds_total 1.000001\n");
    nk_registry_close(&sample.registry);
}

Test(observe_render, openmetrics_names_counters_without_total_and_ends_with_eof)
{
    struct sample sample;
    sample_open(&sample);
    count_things(&sample);
    expect_text(&sample, NK_METRICS_OPENMETRICS,
                "# HELP kv_requests Requests.\n"
                "# TYPE kv_requests counter\n"
                "kv_requests_total{operation=\"put\",status=\"success\"} 3\n"
                "kv_requests_total{operation=\"get\",status=\"success\"} 4294967295\n"
                "# HELP lsm_memtable_size_bytes Bytes.\n"
                "# TYPE lsm_memtable_size_bytes gauge\n"
                "lsm_memtable_size_bytes{shard_id=\"7\"} -5\n"
                "# HELP raft_commit_ms Commit.\n"
                "# TYPE raft_commit_ms histogram\n"
                "raft_commit_ms_bucket{le=\"0.125\"} 1\n"
                "raft_commit_ms_bucket{le=\"1.0\"} 2\n"
                "raft_commit_ms_bucket{le=\"512.0\"} 2\n"
                "raft_commit_ms_bucket{le=\"+Inf\"} 3\n"
                "raft_commit_ms_sum 512.252\n"
                "raft_commit_ms_count 3\n"
                "# HELP process_cpu_seconds Cpu.\n"
                "# TYPE process_cpu_seconds counter\n"
                "process_cpu_seconds_total 1.000001\n"
                "# EOF\n");
    nk_registry_close(&sample.registry);
}

Test(observe_render, labels_of_a_histogram_stand_before_its_bounds)
{
    struct nk_registry *registry;
    struct nk_histogram histogram = {0};
    nk_histogram_init(&histogram, bounds, 1);
    nk_registry_open(&registry);
    const struct nk_metric metric = {.name = "h", .help = "H.", .labels = {{"a", "b"}, {"c", "d"}}};
    nk_registry_add_histogram(registry, &metric, &histogram);
    struct sample sample = {.registry = registry};
    expect_text(&sample, NK_METRICS_TEXT,
                "# HELP h H.\n# TYPE h histogram\n"
                "h_bucket{a=\"b\",c=\"d\",le=\"125\"} 0\n"
                "h_bucket{a=\"b\",c=\"d\",le=\"+Inf\"} 0\n"
                "h_sum{a=\"b\",c=\"d\"} 0\nh_count{a=\"b\",c=\"d\"} 0\n");
    nk_registry_close(&registry);
}

Test(observe_render, a_hidden_series_is_not_printed_nor_is_a_family_without_others)
{
    struct nk_registry *registry;
    nk_registry_open(&registry);
    struct nk_gauge one = {1};
    struct nk_gauge two = {2};
    struct nk_metric metric = {.name = "g", .help = "G.", .labels = {{"n", "1"}}};
    struct nk_series *first = nk_registry_add_gauge(registry, &metric, &one);
    metric.labels[0].value = "2";
    struct nk_series *second = nk_registry_add_gauge(registry, &metric, &two);
    struct sample sample = {.registry = registry};

    nk_series_show(first, false);
    expect_text(&sample, NK_METRICS_TEXT, "# HELP g G.\n# TYPE g gauge\ng{n=\"2\"} 2\n");
    nk_series_show(second, false);
    expect_text(&sample, NK_METRICS_TEXT, "");
    nk_series_show(first, true);
    expect_text(&sample, NK_METRICS_TEXT, "# HELP g G.\n# TYPE g gauge\ng{n=\"1\"} 1\n");
    nk_registry_close(&registry);
}

Test(observe_render, label_values_are_escaped)
{
    struct nk_registry *registry;
    nk_registry_open(&registry);
    struct nk_gauge gauge = {0};
    const struct nk_metric metric = {
        .name = "g", .help = "G.", .labels = {{"v", "a\"b\\c\nd\xc3\xa9"}}};
    nk_registry_add_gauge(registry, &metric, &gauge);
    struct sample sample = {.registry = registry};
    expect_text(&sample, NK_METRICS_TEXT,
                "# HELP g G.\n# TYPE g gauge\ng{v=\"a\\\"b\\\\c\\nd\xc3\xa9\"} 0\n");
    nk_registry_close(&registry);
}

struct scale_case {
    int64_t counted;
    enum nk_metric_scale scale;
    const char *printed;
};

Test(observe_render, numbers_are_scaled_exactly)
{
    static const struct scale_case cases[] = {
        {0, NK_SCALE_US_AS_MS, "0"},
        {1, NK_SCALE_US_AS_MS, "0.001"},
        {10, NK_SCALE_US_AS_MS, "0.01"},
        {1000, NK_SCALE_US_AS_MS, "1"},
        {1234567, NK_SCALE_US_AS_MS, "1234.567"},
        {1, NK_SCALE_US_AS_SECONDS, "0.000001"},
        {1700000000123456, NK_SCALE_US_AS_SECONDS, "1700000000.123456"},
        {-1500, NK_SCALE_US_AS_MS, "-1.5"},
        {INT64_MIN, NK_SCALE_ONE, "-9223372036854775808"},
        {INT64_MAX, NK_SCALE_ONE, "9223372036854775807"},
        {INT64_MIN, NK_SCALE_US_AS_SECONDS, "-9223372036854.775808"},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct nk_registry *registry;
        nk_registry_open(&registry);
        struct nk_gauge gauge = {cases[i].counted};
        const struct nk_metric metric = {.name = "g", .help = "", .scale = cases[i].scale};
        nk_registry_add_gauge(registry, &metric, &gauge);
        struct nk_buf out = {0};
        nk_registry_render(registry, NK_METRICS_TEXT, &out);
        nk_buf_append_u8(&out, '\0');
        const char *sample = strstr((const char *)out.data, "\ng ");
        cr_assert_not_null(sample, "case %zu", i);
        cr_expect_eq(strcspn(sample + 3, "\n"), strlen(cases[i].printed), "case %zu", i);
        cr_expect_eq(strncmp(sample + 3, cases[i].printed, strlen(cases[i].printed)), 0,
                     "case %zu: %s", i, sample);
        nk_buf_deinit(&out);
        nk_registry_close(&registry);
    }
}

Test(observe_render, a_rendering_is_appended)
{
    struct nk_registry *registry;
    nk_registry_open(&registry);
    struct nk_buf out = {0};
    nk_buf_append_string(&out, "before ");
    nk_registry_render(registry, NK_METRICS_OPENMETRICS, &out);
    nk_buf_append_u8(&out, '\0');
    cr_expect_str_eq((const char *)out.data, "before # EOF\n");
    nk_buf_deinit(&out);
    nk_registry_close(&registry);
}

Test(observe_render, latency_bounds_are_those_of_the_contract)
{
    static const char *const printed[] = {"0.125", "0.25", "0.5", "1",   "2",   "4",  "8",
                                          "16",    "32",   "64",  "128", "256", "512"};
    struct nk_registry *registry;
    nk_registry_open(&registry);
    struct nk_histogram histogram = {0};
    nk_histogram_init(&histogram, nk_latency_bounds_us, NK_LATENCY_BOUND_COUNT);
    const struct nk_metric metric = {.name = "h", .help = "", .scale = NK_SCALE_US_AS_MS};
    nk_registry_add_histogram(registry, &metric, &histogram);
    struct nk_buf out = {0};
    nk_registry_render(registry, NK_METRICS_TEXT, &out);
    nk_buf_append_u8(&out, '\0');
    const char *at = (const char *)out.data;
    for (size_t i = 0; i < NK_COUNT_OF(printed); i++) {
        char bucket[64];
        (void)snprintf(bucket, sizeof bucket, "h_bucket{le=\"%s\"} 0\n", printed[i]);
        at = strstr(at, bucket);
        cr_assert_not_null(at, "bound %s is missing or out of order", printed[i]);
    }
    nk_buf_deinit(&out);
    nk_registry_close(&registry);
}
