#pragma once

/* The lists behind a registry.  One thread appends, any thread walks: a node is complete before its
 * pointer is stored with release order, walkers load with acquire order, and nothing is unlinked
 * before nk_registry_close. */

#include "common/base/map.h"
#include "common/observe/observe.h"

enum metric_type {
    METRIC_COUNTER,
    METRIC_GAUGE,
    METRIC_HISTOGRAM,
};

/* Constant once it is published, but for `shown`. */
struct nk_series {
    _Atomic(struct nk_series *) next;
    _Atomic bool shown;
    char *labels; /* as printed, without braces: operation="put",status="success"; "" for none */
    union {
        struct nk_counter *counter;
        struct nk_gauge *gauge;
        struct nk_histogram *histogram;
    }; /* by the family's type */
};

struct family {
    _Atomic(struct family *) next;
    char *name;
    char *help;
    enum metric_type type;
    enum nk_metric_scale scale;
    _Atomic(struct nk_series *) first;
    struct nk_series *last; /* of the adding thread */
    struct nk_map known;    /* for an invariant: the labels of all series; of the adding thread */
};

struct process_metrics;

struct nk_registry {
    _Atomic(struct family *) first;
    struct family *last;                       /* of the adding thread */
    _Atomic(struct process_metrics *) process; /* NULL: not wanted */
    struct nk_gauge build_info;
};

/* Reads the numbers of the process into its metrics; nothing without nk_registry_add_process. */
void process_metrics_refresh(struct nk_registry *registry);
