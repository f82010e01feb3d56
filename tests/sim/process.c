/* One role and its environment, driven as common/env_zmq/run_zmq.c drives it: frames, then a tick.
 */

#include "tests/sim/sim.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "services/admin/admin.h"
#include "services/gateway/gateway.h"
#include "services/gossip/gossip.h"
#include "services/shardhost/shardhost.h"

#define BURST_US_MAX 60 /* how long a burst may gather before the tick */

static const struct nk_role_ops *const role_ops[SIM_ROLE_COUNT] = {
    [SIM_GOSSIP] = &gossip_role_ops,
    [SIM_SHARDHOST] = &shardhost_role_ops,
    [SIM_GATEWAY] = &gateway_role_ops,
    [SIM_ADMIN] = &admin_role_ops,
};

static uint64_t clock_mono_us(void *ctx)
{
    struct sim_world *world = ctx;
    return world->now_us;
}

static uint64_t clock_wall_ms(void *ctx)
{
    return sim_wall_ms(ctx);
}

static const struct nk_clock_ops clock_ops = {clock_mono_us, clock_wall_ms};

static void log_event(void *ctx, enum nk_log_level level, const char *target, const char *message,
                      const struct nk_log_field *fields, size_t field_count)
{
    struct sim_process *process = ctx;
    if (level >= NK_LOG_WARN) {
        sim_trace(process->world, target, message, level);
        for (size_t i = 0; i < field_count; i++) {
            sim_trace(process->world, fields[i].name, fields[i].text != NULL ? fields[i].text : "",
                      fields[i].number);
        }
    }
}

static const struct nk_log_ops log_ops = {log_event};

static void exit_by_itself(struct sim_process *process, enum nk_err err, const char *reason)
{
    struct sim_world *world = process->world;
    sim_trace(world, "exit", reason, err);
    if (!world->io_fault_armed) {
        sim_fail(world, "%s ended by itself: %s (%s)", process->ops->name, reason,
                 nk_err_name(err));
        return;
    }
    sim_process_kill(process, nk_prng_between(&world->prng, 1, 200) * NK_US_PER_MS);
}

static void look_at_fault(struct sim_process *process)
{
    char memory[512];
    struct nk_text reason;
    nk_text_init(&reason, memory, sizeof memory);
    enum nk_err err = process->ops->fault(process->role, &reason);
    if (err != NK_OK) {
        exit_by_itself(process, err, memory);
    }
}

static void tick_fire(struct sim_event *event)
{
    struct sim_process *process = NK_CONTAINER_OF(event, struct sim_process, tick);
    if (process->role == NULL) {
        return;
    }
    uint64_t next_us = process->ops->tick(process->role);
    sim_trace(process->world, "tick", process->ops->name, next_us);
    /* The tick may have asked for another one; that comes first. */
    if (next_us != UINT64_MAX && !nk_heap_contains(&process->tick.due)) {
        /* At least a microsecond later, or a role that always wants a tick stops the clock. */
        sim_at(process->world, nk_max_u64(next_us, process->world->now_us + 1), &process->tick);
    }
    look_at_fault(process);
}

void sim_process_soon(struct sim_process *process)
{
    struct sim_world *world = process->world;
    if (process->role == NULL || process->dying) {
        return;
    }
    uint64_t soon_us = world->now_us + nk_prng_below(&world->prng, BURST_US_MAX);
    if (!nk_heap_contains(&process->tick.due) || process->tick.due.order > soon_us) {
        sim_at(world, soon_us, &process->tick);
    }
}

static void restart_fire(struct sim_event *event)
{
    struct sim_process *process = NK_CONTAINER_OF(event, struct sim_process, restart);
    if (process->world->fs != NULL && process->role == NULL) {
        sim_process_start(process);
    }
}

void sim_process_open(struct sim_world *world, enum sim_role which)
{
    struct sim_process *process = &world->processes[which];
    process->world = world;
    process->which = which;
    process->ops = role_ops[which];
    process->tick.name = "tick";
    process->tick.fire = tick_fire;
    process->restart.name = "restart";
    process->restart.fire = restart_fire;
    process->peer_next = 1;
    nk_list_init(&process->jobs);
    nk_map_init(&process->facts);
    (void)snprintf(process->talk_address, sizeof process->talk_address, "sim://%s",
                   process->ops->name);
    (void)snprintf(process->listen_address, sizeof process->listen_address, "sim://%s/state",
                   process->ops->name);
}

void sim_process_start(struct sim_process *process)
{
    struct sim_world *world = process->world;
    NK_ASSERT(process->role == NULL);
    process->incarnation++;
    process->env.clock = (struct nk_clock){&clock_ops, world};
    process->env.fs = sim_fs_handle(world->fs);
    process->env.log = (struct nk_log){&log_ops, process, NK_LOG_INFO};
    process->env.random_seed = nk_prng_next(&world->prng);
    sim_net_attach(process);
    sim_worker_attach(process);
    sim_meta_attach(process);
    nk_registry_open(&process->metrics);
    nk_health_open(&process->env.clock, process->ops->name, world->config.node_id,
                   world->config.cluster.total_shards, &process->health);
    process->context = (struct nk_service_context){
        .env = &process->env,
        .config = &world->config,
        .metrics = process->metrics,
        .health = process->health,
        .session = (sim_wall_ms(world) << 12 | process->incarnation),
        .rpc_address = process->which == SIM_GATEWAY ? "127.0.0.1:7447" : "",
        .http_address = "",
    };
    char memory[512];
    struct nk_text reason;
    nk_text_init(&reason, memory, sizeof memory);
    sim_trace(world, "start", process->ops->name, process->incarnation);
    enum nk_err err = process->ops->init(&process->context, &process->role, &reason);
    if (err != NK_OK) {
        process->role = NULL;
        exit_by_itself(process, err, memory);
        return;
    }
    sim_process_soon(process);
}

static void stop_now(struct sim_process *process)
{
    struct sim_world *world = process->world;
    process->dying = true;
    if (process->which == SIM_GATEWAY) {
        sim_workload_gateway_died(world);
    }
    if (process->role != NULL) {
        sim_worker_drain(process);
        process->ops->deinit(&process->role);
    }
    sim_net_detach(process);
    if (process->metrics != NULL) {
        nk_registry_close(&process->metrics);
        nk_health_close(&process->health);
    }
    sim_cancel(world, &process->tick);
    process->dying = false;
}

void sim_process_kill(struct sim_process *process, uint64_t restart_us)
{
    struct sim_world *world = process->world;
    sim_trace(world, "kill", process->ops->name, restart_us);
    bool owns_disk = process->which == SIM_SHARDHOST;
    if (owns_disk) {
        /* What it still has to say to the disk is never said. */
        sim_fs_cut_power_after(world->fs, 0);
    }
    stop_now(process);
    if (owns_disk) {
        sim_fs_kill(world->fs);
        world->power_cut_at = 0;
        world->io_fault_armed = false;
    }
    sim_at(world, world->now_us + restart_us, &process->restart);
}

void sim_power_loss(struct sim_world *world, uint64_t restart_us)
{
    sim_trace(world, "power-loss", "", restart_us);
    sim_fs_cut_power_after(world->fs, 0);
    for (enum sim_role which = 0; which < SIM_ROLE_COUNT; which++) {
        stop_now(&world->processes[which]);
    }
    sim_fs_crash(world->fs, &world->prng_faults);
    world->power_cut_at = 0;
    world->io_fault_armed = false;
    for (enum sim_role which = 0; which < SIM_ROLE_COUNT; which++) {
        uint64_t extra_us = nk_prng_below(&world->prng, 50 * NK_US_PER_MS);
        sim_at(world, world->now_us + restart_us + extra_us, &world->processes[which].restart);
    }
}

void sim_process_close(struct sim_process *process)
{
    if (process->which == SIM_SHARDHOST) {
        sim_fs_cut_power_after(process->world->fs, 0);
    }
    stop_now(process);
    sim_cancel(process->world, &process->restart);
    if (process->which == SIM_SHARDHOST) {
        sim_fs_kill(process->world->fs);
    }
    sim_meta_close(process);
}
