#include "metrics.h"

static struct nk_metric metric(const char *name, const char *help)
{
    return (struct nk_metric){.name = name, .help = help, .scale = NK_SCALE_ONE};
}

static void add_counter(struct nk_registry *registry, const char *name, const char *help,
                        struct nk_counter *counter)
{
    struct nk_metric description = metric(name, help);
    (void)nk_registry_add_counter(registry, &description, counter);
}

static void add_gauge(struct nk_registry *registry, const char *name, const char *help,
                      struct nk_gauge *gauge)
{
    struct nk_metric description = metric(name, help);
    (void)nk_registry_add_gauge(registry, &description, gauge);
}

static void add_latency(struct nk_registry *registry, const char *name, const char *help,
                        struct nk_histogram *histogram)
{
    struct nk_metric description = metric(name, help);
    description.scale = NK_SCALE_US_AS_MS;
    nk_histogram_init(histogram, nk_latency_bounds_us, NK_LATENCY_BOUND_COUNT);
    (void)nk_registry_add_histogram(registry, &description, histogram);
}

void gossip_metrics_init(struct gossip_metrics *metrics, struct nk_registry *registry)
{
    add_gauge(registry, "swim_cluster_size", "Gossip processes that are alive.",
              &metrics->swim_cluster_size);
    add_counter(registry, "swim_failed_members_total", "Processes that were declared failed.",
                &metrics->swim_failed_members);
    add_counter(registry, "swim_probes_total", "Probes sent to other gossip processes.",
                &metrics->swim_probes);
    add_latency(registry, "swim_rtt_ms", "Round trips of probes.", &metrics->swim_rtt);
    add_latency(registry, "swim_gossip_latency_ms",
                "From the first change of a burst to its publication.",
                &metrics->swim_gossip_latency);
    add_counter(registry, "membership_flaps_total",
                "Processes that came back after they had been declared failed.",
                &metrics->membership_flaps);
    add_gauge(registry, "cluster_view_epoch", "Epoch of the published state of the cluster.",
              &metrics->cluster_view_epoch);
    add_gauge(registry, "gossip_processes", "Processes in the published state.",
              &metrics->processes);
    add_counter(registry, "gossip_frames_dropped_total",
                "Received frames that were damaged, senseless or out of place.", &metrics->dropped);
}
