/* The event queue.  Time stands still while an event is handled and jumps to the next one's: a run
 * of seconds takes milliseconds.  Equal times keep the order in which they were asked for. */

#include <stdarg.h>

#include "tests/sim/sim.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/hash.h"

#define WALL_START_MS UINT64_C(1800000000000)
#define EVENTS_MAX    UINT64_C(5000000) /* a run that needs more does not end */

uint64_t sim_wall_ms(const struct sim_world *world)
{
    return world->wall_base_ms + world->now_us / NK_US_PER_MS;
}

static void note_wall(struct sim_world *world)
{
    world->wall_max_ms = nk_max_u64(world->wall_max_ms, sim_wall_ms(world));
}

void sim_wall_jump(struct sim_world *world, int64_t by_ms)
{
    world->wall_base_ms = (uint64_t)((int64_t)world->wall_base_ms + by_ms);
    world->wall_jumps++;
    note_wall(world);
}

void sim_trace(struct sim_world *world, const char *what, const char *detail, uint64_t number)
{
    uint64_t mix[3] = {world->trace_hash, world->now_us, number};
    world->trace_hash = nk_xxh64(nk_bytes_of(mix, sizeof mix), 0);
    world->trace_hash = nk_xxh64(nk_bytes_of_string(what), world->trace_hash);
    world->trace_hash = nk_xxh64(nk_bytes_of_string(detail), world->trace_hash);
    if (world->options.trace) {
        (void)printf("%10llu.%03llu %-10s %s %llu\n", (unsigned long long)(world->now_us / 1000),
                     (unsigned long long)(world->now_us % 1000), what, detail,
                     (unsigned long long)number);
    }
}

void sim_fail(struct sim_world *world, const char *format, ...)
{
    if (world->failed) {
        return;
    }
    world->failed = true;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(world->failure, sizeof world->failure, format, arguments);
    va_end(arguments);
    sim_trace(world, "FAILURE", world->failure, 0);
}

void sim_at(struct sim_world *world, uint64_t due_us, struct sim_event *event)
{
    NK_ASSERT(event->fire != NULL);
    nk_heap_remove(&world->events, &event->due);
    event->due.order = nk_max_u64(due_us, world->now_us);
    nk_heap_push(&world->events, &event->due);
}

void sim_cancel(struct sim_world *world, struct sim_event *event)
{
    nk_heap_remove(&world->events, &event->due);
}

/* Sizes are small, so that a short run flushes, rolls and recycles; they differ from seed to seed.
 */
static void configure(struct sim_world *world)
{
    struct nk_prng *prng = &world->prng;
    struct nk_config *config = &world->config;
    nk_config_defaults(config);
    config->node_id = "node0";
    config->data_dir = "simulated";
    config->cluster.total_shards = (uint32_t)nk_prng_between(prng, 1, 4);
    config->lsm.memtable_bytes = nk_prng_between(prng, 4, 32) * NK_KIB;
    config->lsm.write_buffer_total_bytes = config->lsm.memtable_bytes * nk_prng_between(prng, 1, 4);
    config->lsm.table_bytes = nk_prng_between(prng, 1, 16) * NK_KIB;
    config->lsm.fanout = (uint32_t)nk_prng_between(prng, 2, 10);
    config->lsm.max_levels = (uint32_t)nk_prng_between(prng, 2, 7);
    config->lsm.max_background_jobs = (uint32_t)nk_prng_between(prng, 1, 4);
    config->lsm.block_cache_bytes = nk_prng_between(prng, 1, 64) * NK_KIB;
    config->raft.segment_bytes = nk_prng_between(prng, 4, 64) * NK_KIB;
    config->disk.reserve_bytes = 0;
    static const char *const gossip[] = {"sim://gossip"};
    config->bus.gossip_addrs.items = gossip;
    config->bus.gossip_addrs.count = 1;
}

void sim_world_open(uint64_t seed, const struct sim_options *options, struct sim_world **out_world)
{
    struct sim_world *world = nk_alloc_zero(1, sizeof *world);
    world->seed = seed;
    world->options = *options;
    nk_prng_init(&world->prng, seed);
    nk_prng_init(&world->prng_clients, nk_prng_next(&world->prng));
    nk_prng_init(&world->prng_faults, nk_prng_next(&world->prng));
    world->wall_base_ms = WALL_START_MS;
    note_wall(world);
    nk_heap_init(&world->events);
    world->fs = sim_fs_new(nk_prng_next(&world->prng));
    configure(world);
    for (enum sim_role which = 0; which < SIM_ROLE_COUNT; which++) {
        sim_process_open(world, which);
    }
    sim_workload_open(world);
    sim_nemesis_open(world);
    *out_world = world;
}

void sim_world_close(struct sim_world **world_p)
{
    struct sim_world *world = *world_p;
    if (world == NULL) {
        return;
    }
    sim_nemesis_close(world);
    for (enum sim_role which = 0; which < SIM_ROLE_COUNT; which++) {
        sim_process_close(&world->processes[which]);
    }
    sim_workload_close(world);
    sim_fs_free(&world->fs);
    /* What is left are frames under way; they belong to the queue. */
    while (nk_heap_peek(&world->events) != NULL) {
        struct sim_event *event =
            NK_CONTAINER_OF(nk_heap_peek(&world->events), struct sim_event, due);
        nk_heap_remove(&world->events, &event->due);
        event->fire(event);
    }
    nk_heap_deinit(&world->events);
    nk_free(world);
    *world_p = NULL;
}

static void one_event(struct sim_world *world)
{
    struct nk_heap_node *due = nk_heap_peek(&world->events);
    NK_ASSERT(due != NULL);
    NK_ASSERT(due->order >= world->now_us);
    world->now_us = due->order;
    note_wall(world);
    nk_heap_remove(&world->events, due);
    struct sim_event *event = NK_CONTAINER_OF(due, struct sim_event, due);
    world->event_count++;
    event->fire(event);
    if (world->power_cut_at != 0 && sim_fs_operations(world->fs) >= world->power_cut_at) {
        world->power_cut_at = 0;
        sim_power_loss(world, nk_prng_between(&world->prng_faults, 1, 500) * NK_US_PER_MS);
    }
}

static void run_until(struct sim_world *world, uint64_t end_us,
                      bool (*done)(const struct sim_world *))
{
    while (!world->failed && nk_heap_peek(&world->events) != NULL &&
           nk_heap_peek(&world->events)->order <= end_us && !(done != NULL && done(world))) {
        if (world->event_count >= EVENTS_MAX) {
            sim_fail(world, "no end after %llu events", (unsigned long long)EVENTS_MAX);
            return;
        }
        one_event(world);
    }
}

bool sim_world_run(struct sim_world *world)
{
    for (enum sim_role which = 0; which < SIM_ROLE_COUNT; which++) {
        sim_process_start(&world->processes[which]);
    }
    run_until(world, world->options.run_ms * NK_US_PER_MS, NULL);
    sim_nemesis_stop(world);
    sim_workload_settle(world);
    uint64_t settle_us = world->now_us + world->options.settle_ms * NK_US_PER_MS;
    run_until(world, settle_us, sim_workload_done);
    if (!world->failed && !sim_workload_done(world)) {
        sim_fail(world, "not every client finished within %llu ms after the faults stopped",
                 (unsigned long long)world->options.settle_ms);
    }
    if (!world->failed) {
        sim_workload_check(world);
    }
    return !world->failed;
}
