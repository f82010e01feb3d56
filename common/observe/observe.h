#pragma once

/* The registry of metrics: gives names, help and labels to numbers that others count
 * (common/env/meter.h) and prints them for Prometheus.  Counting never passes through here, so it
 * costs what an atomic addition costs.
 *
 * A family is a name with its help, type and scale; a series is one set of label values in it.
 * Both are only ever added.  A series that has nothing to say is hidden, and may be shown again.
 *
 * Threads: one thread at a time adds (main before the loop starts, then the loop thread); any
 * number of threads render, show, hide and count meanwhile.  No locks.
 *
 * Ownership: names, help and labels are copied.  The counted structs are borrowed until
 * nk_registry_close: whoever goes away earlier hides its series and leaves the struct in place. */

#include "common/base/buf.h"
#include "common/env/meter.h"
#include "common/env/process.h"

struct nk_registry;
struct nk_series;

/* How the number that is counted becomes the number that is printed. */
enum nk_metric_scale {
    NK_SCALE_ONE,           /* as it is */
    NK_SCALE_US_AS_MS,      /* microseconds, printed in milliseconds: names end in _ms */
    NK_SCALE_US_AS_SECONDS, /* microseconds, printed in seconds: names end in _seconds */
};

#define NK_METRIC_LABELS_MAX ((size_t)4)

struct nk_metric_label {
    const char *name;  /* [a-zA-Z_][a-zA-Z0-9_]*, not "le"; NULL ends the list */
    const char *value; /* UTF-8; never a key, a client or an address */
};

/* A series to be added.  Series of one family are added with the same type, scale and help
 * (asserted), and with different labels (checked as an invariant). */
struct nk_metric {
    const char *name; /* [a-zA-Z_:][a-zA-Z0-9_:]*; a counter's ends in "_total" (asserted) */
    const char *help; /* one sentence without quotes, backslashes and newlines (asserted) */
    enum nk_metric_scale scale;
    struct nk_metric_label labels[NK_METRIC_LABELS_MAX];
};

/* Upper bounds in microseconds of 0.125, 0.25, 0.5, 1, 2, 4 ... 512 ms: the buckets of every
 * latency histogram in the contract. */
#define NK_LATENCY_BOUND_COUNT ((size_t)13)
extern const uint64_t nk_latency_bounds_us[NK_LATENCY_BOUND_COUNT];

void nk_registry_open(struct nk_registry **out_registry);
void nk_registry_close(struct nk_registry **registry);

/* Add one series, shown from the moment the call returns.  The handle lives as long as the
 * registry; most callers need it only to hide the series later. */
struct nk_series *nk_registry_add_counter(struct nk_registry *registry,
                                          const struct nk_metric *metric,
                                          struct nk_counter *counter);
struct nk_series *nk_registry_add_gauge(struct nk_registry *registry,
                                        const struct nk_metric *metric, struct nk_gauge *gauge);
struct nk_series *nk_registry_add_histogram(struct nk_registry *registry,
                                            const struct nk_metric *metric,
                                            struct nk_histogram *histogram);

/* The usual case in one line: a series without labels, printed as it is counted.  A latency counts
 * microseconds in nk_latency_bounds_us, which it is given here, and is printed in milliseconds. */
void nk_registry_counter(struct nk_registry *registry, const char *name, const char *help,
                         struct nk_counter *counter);
void nk_registry_gauge(struct nk_registry *registry, const char *name, const char *help,
                       struct nk_gauge *gauge);
void nk_registry_latency(struct nk_registry *registry, const char *name, const char *help,
                         struct nk_histogram *latency);

/* Any thread.  A family without a shown series is not printed. */
void nk_series_show(struct nk_series *series, bool shown);

/* process_cpu_seconds_total and its five sisters, read anew for every rendering; `process` is
 * borrowed until close.  At most once. */
void nk_registry_add_process(struct nk_registry *registry, const struct nk_process *process);

/* norikv_build_info{version,role} 1.  At most once. */
void nk_registry_add_build_info(struct nk_registry *registry, const char *version,
                                const char *role);

/* ---- Printing ---- */

enum nk_metrics_format {
    NK_METRICS_TEXT,        /* Prometheus text 0.0.4 */
    NK_METRICS_OPENMETRICS, /* OpenMetrics 1.0.0 */
};

/* What the value of an HTTP Accept header asks for; NULL: no header.  Text unless OpenMetrics is
 * named and not liked less. */
enum nk_metrics_format nk_metrics_format_of_accept(const char *accept);

/* Borrowed for ever. */
const char *nk_metrics_content_type(enum nk_metrics_format format);

/* Appends everything shown to `out`: families in the order of their first series, series in the
 * order they were added.  A histogram's buckets and count always agree with each other; its sum,
 * and different series, may be some events apart. */
void nk_registry_render(struct nk_registry *registry, enum nk_metrics_format format,
                        struct nk_buf *out);
