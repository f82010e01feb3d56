/* The two text formats.
 *
 * Prometheus text 0.0.4:               OpenMetrics 1.0.0 differs by
 *   # HELP kv_requests_total ...         # TYPE kv_requests counter   (the family has no _total)
 *   # TYPE kv_requests_total counter     le="1.0"                     (bounds always with a point)
 *   kv_requests_total{a="b"} 7           # EOF                        (last line)
 *
 * Numbers are counted in whole units and printed by integer arithmetic: 1234 us is 1.234 ms,
 * exactly, without the rounding of a double. */

#include "registry.h"

#include "common/base/assert.h"
#include "common/base/text.h"

struct printer {
    struct nk_buf *out;
    bool openmetrics;
};

static void print_family(const struct printer *printer, struct family *family);
static void print_head(const struct printer *printer, const struct family *family);
static void print_histogram(const struct printer *printer, const struct family *family,
                            struct nk_series *series);
static void begin_sample(const struct printer *printer, const struct family *family,
                         const char *suffix, const struct nk_series *series);
static void print_bucket(const struct printer *printer, const struct family *family,
                         const struct nk_series *series, const char *bound, uint64_t count);
static void end_sample(const struct printer *printer, int64_t value, enum nk_metric_scale scale);
static void add_scaled(struct nk_text *text, int64_t value, enum nk_metric_scale scale);

void nk_registry_render(struct nk_registry *registry, enum nk_metrics_format format,
                        struct nk_buf *out)
{
    struct printer printer = {out, format == NK_METRICS_OPENMETRICS};
    process_metrics_refresh(registry);
    struct family *family = atomic_load_explicit(&registry->first, memory_order_acquire);
    for (; family != NULL; family = atomic_load_explicit(&family->next, memory_order_acquire)) {
        print_family(&printer, family);
    }
    if (printer.openmetrics) {
        nk_buf_append_string(out, "# EOF\n");
    }
}

const char *nk_metrics_content_type(enum nk_metrics_format format)
{
    return format == NK_METRICS_OPENMETRICS
               ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
               : "text/plain; version=0.0.4; charset=utf-8";
}

static void print_family(const struct printer *printer, struct family *family)
{
    bool headed = false;
    struct nk_series *series = atomic_load_explicit(&family->first, memory_order_acquire);
    for (; series != NULL; series = atomic_load_explicit(&series->next, memory_order_acquire)) {
        if (!atomic_load_explicit(&series->shown, memory_order_relaxed)) {
            continue;
        }
        if (!headed) {
            print_head(printer, family);
            headed = true;
        }
        switch (family->type) {
        case METRIC_COUNTER:
            begin_sample(printer, family, "", series);
            end_sample(printer, (int64_t)nk_counter_get(series->counter), family->scale);
            break;
        case METRIC_GAUGE:
            begin_sample(printer, family, "", series);
            end_sample(printer, nk_gauge_get(series->gauge), family->scale);
            break;
        case METRIC_HISTOGRAM:
            print_histogram(printer, family, series);
            break;
        }
    }
}

static void print_head(const struct printer *printer, const struct family *family)
{
    static const char *const types[] = {
        [METRIC_COUNTER] = "counter", [METRIC_GAUGE] = "gauge", [METRIC_HISTOGRAM] = "histogram"};
    struct nk_bytes name = nk_bytes_of_string(family->name);
    if (printer->openmetrics && family->type == METRIC_COUNTER) {
        NK_ASSERT(name.size > strlen("_total"));
        name.size -= strlen("_total");
    }
    nk_buf_append_string(printer->out, "# HELP ");
    nk_buf_append(printer->out, name);
    nk_buf_append_u8(printer->out, ' ');
    nk_buf_append_string(printer->out, family->help);
    nk_buf_append_string(printer->out, "\n# TYPE ");
    nk_buf_append(printer->out, name);
    nk_buf_append_u8(printer->out, ' ');
    nk_buf_append_string(printer->out, types[family->type]);
    nk_buf_append_u8(printer->out, '\n');
}

/* Each bucket is read once and the count is their sum: were there a counter of its own, an event
 * between two reads would make the count differ from the last bucket. */
static void print_histogram(const struct printer *printer, const struct family *family,
                            struct nk_series *series)
{
    struct nk_histogram *histogram = series->histogram;
    uint64_t sum = atomic_load_explicit(&histogram->sum, memory_order_relaxed);
    uint64_t count = 0;
    for (size_t i = 0; i < histogram->bound_count; i++) {
        count += atomic_load_explicit(&histogram->buckets[i], memory_order_relaxed);
        char bound[32];
        struct nk_text text;
        nk_text_init(&text, bound, sizeof bound);
        add_scaled(&text, (int64_t)histogram->bounds[i], family->scale);
        if (printer->openmetrics && strchr(bound, '.') == NULL) {
            nk_text_add(&text, ".0");
        }
        print_bucket(printer, family, series, bound, count);
    }
    count +=
        atomic_load_explicit(&histogram->buckets[histogram->bound_count], memory_order_relaxed);
    print_bucket(printer, family, series, "+Inf", count);
    begin_sample(printer, family, "_sum", series);
    end_sample(printer, (int64_t)sum, family->scale);
    begin_sample(printer, family, "_count", series);
    end_sample(printer, (int64_t)count, NK_SCALE_ONE);
}

static void begin_sample(const struct printer *printer, const struct family *family,
                         const char *suffix, const struct nk_series *series)
{
    nk_buf_append_string(printer->out, family->name);
    nk_buf_append_string(printer->out, suffix);
    if (series->labels[0] != '\0') {
        nk_buf_append_u8(printer->out, '{');
        nk_buf_append_string(printer->out, series->labels);
        nk_buf_append_u8(printer->out, '}');
    }
    nk_buf_append_u8(printer->out, ' ');
}

static void print_bucket(const struct printer *printer, const struct family *family,
                         const struct nk_series *series, const char *bound, uint64_t count)
{
    nk_buf_append_string(printer->out, family->name);
    nk_buf_append_string(printer->out, "_bucket{");
    if (series->labels[0] != '\0') {
        nk_buf_append_string(printer->out, series->labels);
        nk_buf_append_u8(printer->out, ',');
    }
    nk_buf_append_string(printer->out, "le=\"");
    nk_buf_append_string(printer->out, bound);
    nk_buf_append_string(printer->out, "\"} ");
    end_sample(printer, (int64_t)count, NK_SCALE_ONE);
}

static void end_sample(const struct printer *printer, int64_t value, enum nk_metric_scale scale)
{
    char digits[32];
    struct nk_text text;
    nk_text_init(&text, digits, sizeof digits);
    add_scaled(&text, value, scale);
    nk_text_add(&text, "\n");
    NK_ASSERT(!text.truncated);
    nk_buf_append_string(printer->out, digits);
}

/* `value` in the printed unit, as many decimals as it has. */
static void add_scaled(struct nk_text *text, int64_t value, enum nk_metric_scale scale)
{
    uint64_t unit = 1;
    switch (scale) {
    case NK_SCALE_ONE:
        break;
    case NK_SCALE_US_AS_MS:
        unit = 1000;
        break;
    case NK_SCALE_US_AS_SECONDS:
        unit = 1000000;
        break;
    }
    uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    if (value < 0) {
        nk_text_add(text, "-");
    }
    nk_text_add_u64(text, magnitude / unit);
    uint64_t rest = magnitude % unit;
    if (rest > 0) {
        nk_text_add(text, ".");
    }
    while (rest > 0) {
        unit /= 10;
        nk_text_add_u64(text, rest / unit);
        rest %= unit;
    }
}
