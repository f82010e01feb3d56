/* The event queue, and the phases of a run.  Time stands still while an event is handled and jumps
 * to the next one's: a run of seconds takes milliseconds.  Equal times keep the order in which they
 * were asked for. */

#include <stdarg.h>

#include "tests/sim/sim.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/hash.h"

#define WALL_START_MS UINT64_C(1800000000000)
#define EVENTS_MAX    UINT64_C(5000000) /* a run that needs more does not end */

static const char *const check_names[SIM_CHECK_COUNT] = {
    [SIM_CHECK_HISTORY] = "history", [SIM_CHECK_VERSION] = "version",
    [SIM_CHECK_SESSION] = "session", [SIM_CHECK_ANSWER] = "answer",
    [SIM_CHECK_WIRE] = "wire",       [SIM_CHECK_TERM] = "term",
    [SIM_CHECK_VIEW] = "view",       [SIM_CHECK_START] = "start",
    [SIM_CHECK_EXIT] = "exit",       [SIM_CHECK_FENCE] = "fence",
    [SIM_CHECK_LOG] = "log",         [SIM_CHECK_SERVE] = "serve",
    [SIM_CHECK_QUIET] = "quiet",
};

const char *sim_check_name(enum sim_check check)
{
    return check_names[check];
}

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
    note_wall(world);
    sim_workload_clock_jumped(world);
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

void sim_fail(struct sim_world *world, enum sim_check check, const char *format, ...)
{
    if (world->failed || world->ending) {
        return;
    }
    world->failed = true;
    world->failed_check = check;
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
    sim_temper_draw(world);
    sim_wire_open(world);
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
    world->ending = true;
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
    sim_wire_close(world);
    nk_free(world);
    *world_p = NULL;
}

/* The operation at which the disk was to stop has been tried. */
static void stop_disk(struct sim_world *world)
{
    uint64_t restart_us = sim_nemesis_down_us(world);
    world->cut_armed = false;
    if (world->cut_is_power) {
        sim_power_loss(world, restart_us);
    } else {
        sim_process_kill(&world->processes[SIM_SHARDHOST], restart_us);
    }
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
    sim_process_kill_due(world);
    if (world->cut_armed && sim_fs_power_missed(world->fs)) {
        stop_disk(world);
    }
}

static void run_until(struct sim_world *world, uint64_t end_us,
                      bool (*done)(const struct sim_world *))
{
    while (!world->failed && nk_heap_peek(&world->events) != NULL &&
           nk_heap_peek(&world->events)->order <= end_us && !(done != NULL && done(world))) {
        if (world->event_count >= EVENTS_MAX) {
            sim_fail(world, SIM_CHECK_SERVE, "no end after %llu events",
                     (unsigned long long)EVENTS_MAX);
            return;
        }
        one_event(world);
    }
    if (done == NULL && !world->failed) {
        world->now_us = nk_max_u64(world->now_us, end_us);
        note_wall(world);
    }
}

/* Everybody finishes and reads everything; then the node has time to become quiet. */
static void settle(struct sim_world *world, const char *after)
{
    sim_trace(world, "settle", after, 0);
    sim_workload_settle(world);
    uint64_t end_us = world->now_us + world->options.settle_ms * NK_US_PER_MS;
    run_until(world, end_us, sim_workload_settled);
    if (world->failed) {
        return;
    }
    if (!sim_workload_settled(world)) {
        sim_fail(world, SIM_CHECK_SERVE, "not every client was served within %llu ms after %s",
                 (unsigned long long)world->options.settle_ms, after);
        return;
    }
    char memory[1024];
    struct nk_text reason;
    for (;;) {
        nk_text_init(&reason, memory, sizeof memory);
        if (world->failed || sim_quiet(world, &reason)) {
            return;
        }
        if (world->now_us >= end_us) {
            sim_fail(world, SIM_CHECK_QUIET, "%llu ms after %s: %s",
                     (unsigned long long)world->options.settle_ms, after, memory);
            return;
        }
        run_until(world, world->now_us + 100 * NK_US_PER_MS, NULL);
    }
}

/* A bit flips while the node is off: it may refuse, it may not lie. */
static void rot(struct sim_world *world)
{
    sim_trace(world, "rot", "", 0);
    for (enum sim_role which = 0; which < SIM_ROLE_COUNT; which++) {
        sim_process_kill(&world->processes[which], 100 * NK_US_PER_MS);
    }
    if (sim_nemesis_flip(world)) {
        world->rotten = true;
        sim_workload_read_rotten(world);
        run_until(world, world->now_us + world->options.settle_ms * NK_US_PER_MS,
                  sim_workload_settled);
    }
}

bool sim_world_run(struct sim_world *world)
{
    for (enum sim_role which = 0; which < SIM_ROLE_COUNT; which++) {
        sim_process_start(&world->processes[which]);
    }
    run_until(world, world->options.run_ms * NK_US_PER_MS, NULL);
    sim_nemesis_stop(world);
    settle(world, "the faults stopped");
    if (!world->failed) {
        /* What is promised must be there without any help of memory. */
        sim_power_loss(world, 10 * NK_US_PER_MS);
        settle(world, "a last power loss");
    }
    if (!world->failed && world->temper.rots) {
        rot(world);
    }
    if (!world->failed) {
        sim_workload_check(world);
    }
    return !world->failed;
}
