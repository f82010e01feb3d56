#pragma once

/* What gossip counts. */

#include "common/env/meter.h"
#include "common/observe/observe.h"

struct gossip_metrics {
    struct nk_gauge swim_cluster_size;
    struct nk_counter swim_failed_members;
    struct nk_counter swim_probes;
    struct nk_histogram swim_rtt;
    struct nk_histogram swim_gossip_latency;
    struct nk_counter membership_flaps;
    struct nk_gauge cluster_view_epoch;
    struct nk_gauge processes;
    struct nk_counter dropped;
};

void gossip_metrics_init(struct gossip_metrics *metrics, struct nk_registry *registry);
