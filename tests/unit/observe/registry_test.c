/* What may be registered. */

#include <criterion/criterion.h>

#include <signal.h>

#include "common/observe/observe.h"

TestSuite(observe_registry, .timeout = 5);

static struct nk_counter counter;
static struct nk_gauge gauge;

static void add_counter(const char *name)
{
    struct nk_registry *registry;
    nk_registry_open(&registry);
    const struct nk_metric metric = {.name = name, .help = "Help."};
    nk_registry_add_counter(registry, &metric, &counter);
    nk_registry_close(&registry);
}

static void add_gauge(const char *name, const char *help, const char *label)
{
    struct nk_registry *registry;
    nk_registry_open(&registry);
    const struct nk_metric metric = {.name = name, .help = help, .labels = {{label, "value"}}};
    nk_registry_add_gauge(registry, &metric, &gauge);
    nk_registry_close(&registry);
}

Test(observe_registry, names_of_every_allowed_letter_are_taken)
{
    add_counter("_aZ09:x_total");
    add_gauge("G", "Help.", "_aZ09");
}

Test(observe_registry, closing_nothing_is_allowed)
{
    struct nk_registry *registry = NULL;
    nk_registry_close(&registry);
    nk_registry_close(NULL);
}

Test(observe_registry, a_counter_ends_in_total, .signal = SIGABRT)
{
    add_counter("requests");
}

Test(observe_registry, a_counter_is_more_than_its_ending, .signal = SIGABRT)
{
    add_counter("_total");
}

Test(observe_registry, a_name_does_not_begin_with_a_digit, .signal = SIGABRT)
{
    add_gauge("9lives", "Help.", "label");
}

Test(observe_registry, a_name_has_no_dash, .signal = SIGABRT)
{
    add_gauge("a-b", "Help.", "label");
}

Test(observe_registry, a_label_has_no_colon, .signal = SIGABRT)
{
    add_gauge("g", "Help.", "a:b");
}

Test(observe_registry, le_is_for_histograms, .signal = SIGABRT)
{
    add_gauge("g", "Help.", "le");
}

Test(observe_registry, help_is_one_plain_line, .signal = SIGABRT)
{
    add_gauge("g", "A \"quoted\" word.", "label");
}

Test(observe_registry, a_family_has_one_type, .signal = SIGABRT)
{
    struct nk_registry *registry;
    nk_registry_open(&registry);
    const struct nk_metric metric = {.name = "x_total", .help = "Help."};
    nk_registry_add_counter(registry, &metric, &counter);
    nk_registry_add_gauge(registry, &metric, &gauge);
}

#ifdef NK_INVARIANTS
Test(observe_registry, a_series_is_added_once, .signal = SIGABRT)
{
    struct nk_registry *registry;
    nk_registry_open(&registry);
    const struct nk_metric metric = {.name = "g", .help = "Help.", .labels = {{"a", "b"}}};
    nk_registry_add_gauge(registry, &metric, &gauge);
    nk_registry_add_gauge(registry, &metric, &gauge);
}
#endif

/* ---- The process ---- */

static bool usage(void *ctx, struct nk_process_usage *out_usage)
{
    const bool *known = ctx;
    static uint64_t calls;
    calls++;
    *out_usage = (struct nk_process_usage){
        .cpu_us = 1500000 * calls,
        .resident_bytes = 4096,
        .virtual_bytes = 8192,
        .start_time_us = 1700000000250000,
        .open_files = 12,
        .open_files_max = 1024,
    };
    return *known;
}

static void render(struct nk_registry *registry, struct nk_buf *out)
{
    nk_buf_clear(out);
    nk_registry_render(registry, NK_METRICS_TEXT, out);
    nk_buf_append_u8(out, '\0');
}

static void expect_line(const struct nk_buf *out, const char *line)
{
    cr_expect_not_null(strstr((const char *)out->data, line), "no %s in %s", line, out->data);
}

Test(observe_registry, the_process_is_read_anew_for_each_rendering)
{
    struct nk_registry *registry;
    nk_registry_open(&registry);
    bool known = true;
    const struct nk_process process = {usage, &known};
    nk_registry_add_process(registry, &process);
    nk_registry_add_build_info(registry, "0.1.0", "gateway");
    struct nk_buf out = {0};
    render(registry, &out);
    expect_line(&out, "\nprocess_cpu_seconds_total 3\n"); /* one reading was for the registration */
    expect_line(&out, "\nprocess_resident_memory_bytes 4096\n");
    expect_line(&out, "\nprocess_virtual_memory_bytes 8192\n");
    expect_line(&out, "\nprocess_start_time_seconds 1700000000.25\n");
    expect_line(&out, "\nprocess_open_fds 12\n");
    expect_line(&out, "\nprocess_max_fds 1024\n");
    expect_line(&out, "\nnorikv_build_info{version=\"0.1.0\",role=\"gateway\"} 1\n");
    render(registry, &out);
    expect_line(&out, "\nprocess_cpu_seconds_total 4.5\n");

    known = false;
    render(registry, &out);
    expect_line(&out, "\nprocess_cpu_seconds_total 4.5\n"); /* the last that was known */
    nk_buf_deinit(&out);
    nk_registry_close(&registry);
}
