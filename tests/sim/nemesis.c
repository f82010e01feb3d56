/* What goes wrong, drawn from the seed.  Each seed has its own temper: which kinds of trouble
 * happen at all, and how often. */

#include "tests/sim/sim.h"

#include "common/base/alloc.h"

enum trouble {
    TROUBLE_KILL_ONE,   /* kill -9 of one process */
    TROUBLE_KILL_HOST,  /* kill -9 of the shardhost */
    TROUBLE_POWER_LOSS, /* now */
    TROUBLE_POWER_CUT,  /* at some disk operation soon */
    TROUBLE_DISK_ERROR, /* some disk operation soon fails */
    TROUBLE_CLOCK_JUMP,
    TROUBLE_COUNT,
};

struct sim_nemesis {
    struct sim_world *world;
    struct sim_event event;
    bool stopped;
    bool enabled[TROUBLE_COUNT];
    uint64_t pause_us_max;
};

static void cause(struct sim_world *world, enum trouble trouble)
{
    struct nk_prng *prng = &world->prng_faults;
    uint64_t restart_us = nk_prng_between(prng, 1, 400) * NK_US_PER_MS;
    switch (trouble) {
    case TROUBLE_KILL_ONE: {
        struct sim_process *process = &world->processes[nk_prng_below(prng, SIM_ROLE_COUNT)];
        sim_process_kill(process, restart_us);
        break;
    }
    case TROUBLE_KILL_HOST:
        sim_process_kill(&world->processes[SIM_SHARDHOST], restart_us);
        break;
    case TROUBLE_POWER_LOSS:
        sim_power_loss(world, restart_us);
        break;
    case TROUBLE_POWER_CUT: {
        uint64_t operations = nk_prng_between(prng, 1, 60);
        sim_fs_cut_power_after(world->fs, operations - 1);
        world->power_cut_at = sim_fs_operations(world->fs) + operations;
        world->io_fault_armed = true;
        break;
    }
    case TROUBLE_DISK_ERROR:
        sim_fs_fail_at(world->fs, nk_prng_between(prng, 1, 60), NK_IO);
        world->io_fault_armed = true;
        break;
    case TROUBLE_CLOCK_JUMP: {
        uint64_t by_ms = nk_prng_between(prng, 1, 2000);
        sim_wall_jump(world, nk_prng_chance(prng, 500000) ? (int64_t)by_ms : -(int64_t)by_ms);
        break;
    }
    case TROUBLE_COUNT:
        break;
    }
}

static void fire(struct sim_event *event)
{
    struct sim_nemesis *nemesis = NK_CONTAINER_OF(event, struct sim_nemesis, event);
    struct sim_world *world = nemesis->world;
    if (nemesis->stopped) {
        return;
    }
    struct nk_prng *prng = &world->prng_faults;
    enum trouble trouble = (enum trouble)nk_prng_below(prng, TROUBLE_COUNT);
    if (nemesis->enabled[trouble]) {
        sim_trace(world, "trouble", "", trouble);
        cause(world, trouble);
    }
    sim_at(world, world->now_us + nk_prng_between(prng, 1000, nemesis->pause_us_max), event);
}

void sim_nemesis_open(struct sim_world *world)
{
    struct sim_nemesis *nemesis = nk_alloc_zero(1, sizeof *nemesis);
    struct nk_prng *prng = &world->prng_faults;
    nemesis->world = world;
    nemesis->event.name = "nemesis";
    nemesis->event.fire = fire;
    for (size_t i = 0; i < TROUBLE_COUNT; i++) {
        nemesis->enabled[i] = nk_prng_chance(prng, 600000);
    }
    nemesis->pause_us_max = nk_prng_between(prng, 50, 1500) * NK_US_PER_MS;
    world->nemesis = nemesis;
    sim_at(world, nk_prng_between(prng, 1000, nemesis->pause_us_max), &nemesis->event);
}

void sim_nemesis_stop(struct sim_world *world)
{
    world->nemesis->stopped = true;
    if (world->io_fault_armed) {
        /* A fault that has been armed and not met is taken back with the process it was meant for.
         */
        sim_process_kill(&world->processes[SIM_SHARDHOST], 10 * NK_US_PER_MS);
    }
}

void sim_nemesis_close(struct sim_world *world)
{
    sim_cancel(world, &world->nemesis->event);
    nk_free(world->nemesis);
    world->nemesis = NULL;
}
