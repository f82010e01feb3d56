#include "metrics.h"

void gossip_metrics_init(struct gossip_metrics *metrics, struct nk_registry *registry)
{
    nk_registry_gauge(registry, "swim_cluster_size", "Gossip processes that are alive.",
                      &metrics->swim_cluster_size);
    nk_registry_counter(registry, "swim_failed_members_total",
                        "Processes that were declared failed.", &metrics->swim_failed_members);
    nk_registry_counter(registry, "swim_probes_total", "Probes sent to other gossip processes.",
                        &metrics->swim_probes);
    nk_registry_latency(registry, "swim_rtt_ms", "Round trips of probes.", &metrics->swim_rtt);
    nk_registry_latency(registry, "swim_gossip_latency_ms",
                        "From the first change of a burst to its publication.",
                        &metrics->swim_gossip_latency);
    nk_registry_counter(registry, "membership_flaps_total",
                        "Processes that came back after they had been declared failed.",
                        &metrics->membership_flaps);
    nk_registry_gauge(registry, "cluster_view_epoch",
                      "Epoch of the published state of the cluster.", &metrics->cluster_view_epoch);
    nk_registry_gauge(registry, "gossip_processes", "Processes in the published state.",
                      &metrics->processes);
    nk_registry_counter(registry, "gossip_frames_dropped_total",
                        "Received frames that were damaged, senseless or out of place.",
                        &metrics->dropped);
}
