/* Adding families and series.  Label values are escaped here, once, so that rendering is copying.
 */

#include "registry.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"

const uint64_t nk_latency_bounds_us[NK_LATENCY_BOUND_COUNT] = {
    125, 250, 500, 1000, 2000, 4000, 8000, 16000, 32000, 64000, 128000, 256000, 512000,
};

static_assert(NK_LATENCY_BOUND_COUNT <= NK_HISTOGRAM_BUCKETS_MAX, "a histogram holds the bounds");

static struct nk_series *add_series(struct nk_registry *registry, const struct nk_metric *metric,
                                    enum metric_type type, void *counted);
static struct family *family_of(struct nk_registry *registry, const struct nk_metric *metric,
                                enum metric_type type);
static char *print_labels(const struct nk_metric *metric);
static void add_escaped(struct nk_buf *out, const char *text);
static bool is_name(const char *name, bool colon_allowed);
static bool ends_with(const char *text, const char *ending);

void nk_registry_open(struct nk_registry **out_registry)
{
    *out_registry = nk_alloc_zero(1, sizeof(struct nk_registry));
}

void nk_registry_close(struct nk_registry **registry)
{
    if (registry == NULL || *registry == NULL) {
        return;
    }
    struct family *family = (*registry)->first;
    while (family != NULL) {
        struct nk_series *series = family->first;
        while (series != NULL) {
            struct nk_series *next = series->next;
            nk_free(series->labels);
            nk_free(series);
            series = next;
        }
        struct family *next = family->next;
        nk_map_deinit(&family->known);
        nk_free(family->name);
        nk_free(family->help);
        nk_free(family);
        family = next;
    }
    nk_free((*registry)->process);
    nk_free(*registry);
    *registry = NULL;
}

struct nk_series *nk_registry_add_counter(struct nk_registry *registry,
                                          const struct nk_metric *metric,
                                          struct nk_counter *counter)
{
    NK_ASSERT(ends_with(metric->name, "_total"));
    return add_series(registry, metric, METRIC_COUNTER, counter);
}

struct nk_series *nk_registry_add_gauge(struct nk_registry *registry,
                                        const struct nk_metric *metric, struct nk_gauge *gauge)
{
    return add_series(registry, metric, METRIC_GAUGE, gauge);
}

struct nk_series *nk_registry_add_histogram(struct nk_registry *registry,
                                            const struct nk_metric *metric,
                                            struct nk_histogram *histogram)
{
    NK_ASSERT(histogram->bound_count <= NK_HISTOGRAM_BUCKETS_MAX);
    for (size_t i = 1; i < histogram->bound_count; i++) {
        NK_ASSERT(histogram->bounds[i - 1] < histogram->bounds[i]);
    }
    return add_series(registry, metric, METRIC_HISTOGRAM, histogram);
}

void nk_registry_counter(struct nk_registry *registry, const char *name, const char *help,
                         struct nk_counter *counter)
{
    struct nk_metric metric = {.name = name, .help = help};
    (void)nk_registry_add_counter(registry, &metric, counter);
}

void nk_registry_gauge(struct nk_registry *registry, const char *name, const char *help,
                       struct nk_gauge *gauge)
{
    struct nk_metric metric = {.name = name, .help = help};
    (void)nk_registry_add_gauge(registry, &metric, gauge);
}

void nk_registry_latency(struct nk_registry *registry, const char *name, const char *help,
                         struct nk_histogram *latency)
{
    struct nk_metric metric = {.name = name, .help = help, .scale = NK_SCALE_US_AS_MS};
    nk_histogram_init(latency, nk_latency_bounds_us, NK_LATENCY_BOUND_COUNT);
    (void)nk_registry_add_histogram(registry, &metric, latency);
}

void nk_series_show(struct nk_series *series, bool shown)
{
    atomic_store_explicit(&series->shown, shown, memory_order_relaxed);
}

static struct nk_series *add_series(struct nk_registry *registry, const struct nk_metric *metric,
                                    enum metric_type type, void *counted)
{
    NK_ASSERT(counted != NULL);
    struct family *family = family_of(registry, metric, type);
    struct nk_series *series = nk_alloc_zero(1, sizeof *series);
    series->shown = true;
    series->labels = print_labels(metric);
    NK_INVARIANT(nk_map_put(&family->known, nk_bytes_of_string(series->labels), series) == NULL);
    switch (type) {
    case METRIC_COUNTER:
        series->counter = counted;
        break;
    case METRIC_GAUGE:
        series->gauge = counted;
        break;
    case METRIC_HISTOGRAM:
        series->histogram = counted;
        break;
    }
    _Atomic(struct nk_series *) *end = family->last != NULL ? &family->last->next : &family->first;
    family->last = series;
    atomic_store_explicit(end, series, memory_order_release);
    return series;
}

/* The family of that name, made where there is none yet. */
static struct family *family_of(struct nk_registry *registry, const struct nk_metric *metric,
                                enum metric_type type)
{
    for (struct family *family = registry->first; family != NULL; family = family->next) {
        if (strcmp(family->name, metric->name) == 0) {
            NK_ASSERT(family->type == type);
            NK_ASSERT(family->scale == metric->scale);
            return family;
        }
    }
    NK_ASSERT(is_name(metric->name, true));
    NK_ASSERT(strpbrk(metric->help, "\"\\\n") ==
              NULL); /* the two formats quote these differently */
    struct family *family = nk_alloc_zero(1, sizeof *family);
    family->name = nk_strdup(metric->name);
    family->help = nk_strdup(metric->help);
    family->type = type;
    family->scale = metric->scale;
    _Atomic(struct family *) *end =
        registry->last != NULL ? &registry->last->next : &registry->first;
    registry->last = family;
    atomic_store_explicit(end, family, memory_order_release);
    return family;
}

static char *print_labels(const struct nk_metric *metric)
{
    struct nk_buf text = {0};
    for (size_t i = 0; i < NK_METRIC_LABELS_MAX && metric->labels[i].name != NULL; i++) {
        NK_ASSERT(is_name(metric->labels[i].name, false));
        NK_ASSERT(strcmp(metric->labels[i].name, "le") != 0);
        if (i > 0) {
            nk_buf_append_u8(&text, ',');
        }
        nk_buf_append_string(&text, metric->labels[i].name);
        nk_buf_append_string(&text, "=\"");
        add_escaped(&text, metric->labels[i].value);
        nk_buf_append_u8(&text, '"');
    }
    nk_buf_append_u8(&text, '\0');
    return (char *)text.data; /* of nk_alloc: the series frees it */
}

static void add_escaped(struct nk_buf *out, const char *text)
{
    for (const char *at = text; *at != '\0'; at++) {
        if (*at == '\n') {
            nk_buf_append_string(out, "\\n");
            continue;
        }
        if (*at == '\\' || *at == '"') {
            nk_buf_append_u8(out, '\\');
        }
        nk_buf_append_u8(out, (uint8_t)*at);
    }
}

static bool is_name(const char *name, bool colon_allowed)
{
    for (const char *at = name; *at != '\0'; at++) {
        bool letter = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') || *at == '_' ||
                      (*at == ':' && colon_allowed);
        bool digit = *at >= '0' && *at <= '9';
        if (!letter && !(digit && at > name)) {
            return false;
        }
    }
    return *name != '\0';
}

static bool ends_with(const char *text, const char *ending)
{
    size_t size = strlen(text);
    size_t ending_size = strlen(ending);
    return size > ending_size && strcmp(text + size - ending_size, ending) == 0;
}
