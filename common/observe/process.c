/* The metrics that every process has: what it consumes, and what it is. */

#include "registry.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"

struct process_metrics {
    const struct nk_process *process;
    struct nk_counter cpu_us;
    struct nk_gauge resident_bytes;
    struct nk_gauge virtual_bytes;
    struct nk_gauge start_time_us;
    struct nk_gauge open_files;
    struct nk_gauge open_files_max;
};

void nk_registry_add_process(struct nk_registry *registry, const struct nk_process *process)
{
    NK_ASSERT(registry->process == NULL);
    struct process_metrics *metrics = nk_alloc_zero(1, sizeof *metrics);
    metrics->process = process;
    atomic_store_explicit(&registry->process, metrics, memory_order_release);
    process_metrics_refresh(registry);

    struct nk_metric cpu = {
        .name = "process_cpu_seconds_total",
        .help = "User and system time of all threads.",
        .scale = NK_SCALE_US_AS_SECONDS,
    };
    struct nk_metric start_time = {
        .name = "process_start_time_seconds",
        .help = "Start of the process since 1970-01-01 UTC.",
        .scale = NK_SCALE_US_AS_SECONDS,
    };
    nk_registry_add_counter(registry, &cpu, &metrics->cpu_us);
    nk_registry_gauge(registry, "process_resident_memory_bytes", "Memory that is in RAM.",
                      &metrics->resident_bytes);
    nk_registry_gauge(registry, "process_virtual_memory_bytes", "Address space in use.",
                      &metrics->virtual_bytes);
    nk_registry_add_gauge(registry, &start_time, &metrics->start_time_us);
    nk_registry_gauge(registry, "process_open_fds", "Open file descriptors.", &metrics->open_files);
    nk_registry_gauge(registry, "process_max_fds", "Most file descriptors allowed.",
                      &metrics->open_files_max);
}

void nk_registry_add_build_info(struct nk_registry *registry, const char *version, const char *role)
{
    struct nk_metric info = {
        .name = "norikv_build_info",
        .help = "What runs here; the value is always 1.",
        .labels = {{"version", version}, {"role", role}},
    };
    nk_gauge_set(&registry->build_info, 1);
    nk_registry_add_gauge(registry, &info, &registry->build_info);
}

/* Renderings at the same moment may both come here; each stores whole numbers, and the later wins.
 */
void process_metrics_refresh(struct nk_registry *registry)
{
    struct process_metrics *metrics =
        atomic_load_explicit(&registry->process, memory_order_acquire);
    struct nk_process_usage usage;
    if (metrics == NULL || !metrics->process->usage(metrics->process->ctx, &usage)) {
        return;
    }
    atomic_store_explicit(&metrics->cpu_us.value, usage.cpu_us, memory_order_relaxed);
    nk_gauge_set(&metrics->resident_bytes, (int64_t)usage.resident_bytes);
    nk_gauge_set(&metrics->virtual_bytes, (int64_t)usage.virtual_bytes);
    nk_gauge_set(&metrics->start_time_us, (int64_t)usage.start_time_us);
    nk_gauge_set(&metrics->open_files, (int64_t)usage.open_files);
    nk_gauge_set(&metrics->open_files_max, (int64_t)usage.open_files_max);
}
