/* A registry in use from all sides: one thread adds series and hides or shows them, some count,
 * some render.  Run under TSan.
 *
 * What must hold in every rendering: lines are whole; a histogram's buckets rise and end in its
 * count; a counter that one thread reads twice has not gone back; the last line is "# EOF". */

#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "common/base/assert.h"
#include "common/base/units.h"
#include "common/observe/observe.h"

#define SERIES          2000
#define SERIES_MINIMUM  10 /* there before the threads start */
#define COUNTERS        2
#define RENDERERS       2
#define RENDERINGS_EACH 300

struct stress {
    struct nk_registry *registry;
    struct nk_counter counter;
    struct nk_histogram histogram;
    struct nk_gauge gauges[SERIES];
    struct nk_series *series[SERIES];
    _Atomic bool stop;
};

static struct stress stress;

static void add_gauge(size_t number)
{
    char name[32];
    char shard[32];
    (void)snprintf(name, sizeof name, "family_%zu", number % 17);
    (void)snprintf(shard, sizeof shard, "%zu", number);
    const struct nk_metric metric = {
        .name = name, .help = "A gauge.", .labels = {{"shard_id", shard}}};
    stress.series[number] = nk_registry_add_gauge(stress.registry, &metric, &stress.gauges[number]);
}

static void *add_and_hide(void *argument)
{
    (void)argument;
    for (size_t i = SERIES_MINIMUM; i < SERIES; i++) {
        add_gauge(i);
        nk_series_show(stress.series[i / 2], i % 3 == 0);
        nk_gauge_set(&stress.gauges[i], (int64_t)i);
        (void)sched_yield(); /* so that renderings see many states */
    }
    for (size_t i = 0; !atomic_load_explicit(&stress.stop, memory_order_relaxed); i++) {
        nk_series_show(stress.series[i % SERIES], i % 3 == 0);
    }
    return NULL;
}

static void *count(void *argument)
{
    (void)argument;
    uint64_t value = 0;
    while (!atomic_load_explicit(&stress.stop, memory_order_relaxed)) {
        nk_counter_add(&stress.counter, 1);
        nk_histogram_observe(&stress.histogram, value);
        value = (value + 977) % 600000;
    }
    return NULL;
}

static uint64_t value_of(const char *text, const char *name)
{
    const char *line = strstr(text, name);
    NK_ASSERT(line != NULL);
    uint64_t value;
    int read = sscanf(line + strlen(name), " %" SCNu64 "\n", &value);
    NK_ASSERT(read == 1);
    return value;
}

static void check_histogram(const char *text)
{
    uint64_t last = 0;
    size_t buckets = 0;
    for (const char *at = strstr(text, "\nh_bucket{"); at != NULL;
         at = strstr(at + 1, "\nh_bucket{")) {
        uint64_t value;
        int read = sscanf(at, "\nh_bucket{le=\"%*[^\"]\"} %" SCNu64 "\n", &value);
        NK_ASSERT(read == 1);
        NK_ASSERT(value >= last);
        last = value;
        buckets++;
    }
    NK_ASSERT(buckets == NK_LATENCY_BOUND_COUNT + 1);
    NK_ASSERT(value_of(text, "\nh_count") == last);
}

static void *render(void *argument)
{
    (void)argument;
    struct nk_buf out = {0};
    uint64_t last = 0;
    for (size_t i = 0; i < RENDERINGS_EACH; i++) {
        nk_buf_clear(&out);
        nk_registry_render(stress.registry, NK_METRICS_OPENMETRICS, &out);
        nk_buf_append_u8(&out, '\0');
        const char *text = (const char *)out.data;
        NK_ASSERT(strlen(text) == out.size - 1);
        NK_ASSERT(strcmp(text + strlen(text) - 6, "# EOF\n") == 0);
        uint64_t now = value_of(text, "\nc_total");
        NK_ASSERT(now >= last);
        last = now;
        check_histogram(text);
    }
    nk_buf_deinit(&out);
    return NULL;
}

static void start(pthread_t *thread, void *(*run)(void *))
{
    int failed = pthread_create(thread, NULL, run, NULL);
    NK_ASSERT(failed == 0);
}

static void join(pthread_t thread)
{
    int failed = pthread_join(thread, NULL);
    NK_ASSERT(failed == 0);
}

int main(void)
{
    nk_registry_open(&stress.registry);
    nk_histogram_init(&stress.histogram, nk_latency_bounds_us, NK_LATENCY_BOUND_COUNT);
    const struct nk_metric histogram = {.name = "h", .help = "H.", .scale = NK_SCALE_US_AS_MS};
    const struct nk_metric counter = {.name = "c_total", .help = "C."};
    for (size_t i = 0; i < SERIES_MINIMUM; i++) {
        add_gauge(i);
    }
    nk_registry_add_histogram(stress.registry, &histogram, &stress.histogram);
    nk_registry_add_counter(stress.registry, &counter, &stress.counter);

    pthread_t adder;
    pthread_t counters[COUNTERS];
    pthread_t renderers[RENDERERS];
    start(&adder, add_and_hide);
    for (size_t i = 0; i < COUNTERS; i++) {
        start(&counters[i], count);
    }
    for (size_t i = 0; i < RENDERERS; i++) {
        start(&renderers[i], render);
    }
    for (size_t i = 0; i < RENDERERS; i++) {
        join(renderers[i]);
    }
    atomic_store_explicit(&stress.stop, true, memory_order_relaxed);
    for (size_t i = 0; i < COUNTERS; i++) {
        join(counters[i]);
    }
    join(adder);

    struct nk_buf out = {0};
    nk_registry_render(stress.registry, NK_METRICS_TEXT, &out);
    nk_buf_append_u8(&out, '\0');
    NK_ASSERT(value_of((const char *)out.data, "\nc_total") == nk_counter_get(&stress.counter));
    NK_ASSERT(value_of((const char *)out.data, "\nh_count") == nk_counter_get(&stress.counter));
    nk_buf_deinit(&out);
    (void)printf("%d renderings beside %d added series\n", RENDERERS * RENDERINGS_EACH, SERIES);
    nk_registry_close(&stress.registry);
    return 0;
}
