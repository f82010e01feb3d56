/* One role and its environment, driven as common/env_zmq/run_zmq.c drives it: frames, then a tick.
 * Whatever ends a process, here it is judged whether it had a reason to. */

#include "tests/sim/sim.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "services/admin/admin.h"
#include "services/gateway/gateway.h"
#include "services/gossip/gossip.h"
#include "services/shardhost/shardhost.h"

#define BURST_US_MAX    60                   /* how long a burst may gather before the tick */
#define STOP_TIMEOUT_US (10 * NK_US_PER_SEC) /* services/program.c */

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

/* A fault that this end, fence or error may come from: nothing but what we did to it. */
static bool is_excused(const struct sim_process *process, const char *err_name)
{
    const struct sim_world *world = process->world;
    bool owns_disk = process->which == SIM_SHARDHOST;
    bool io_failed = owns_disk && sim_fs_io_faults(world->fs) != world->io_faults_seen;
    bool space_failed = owns_disk && sim_fs_space_faults(world->fs) != world->space_faults_seen;
    if (strcmp(err_name, nk_err_name(NK_IO)) == 0) {
        return io_failed || process->meta_failed;
    }
    if (strcmp(err_name, nk_err_name(NK_NO_SPACE)) == 0) {
        return space_failed || process->meta_failed;
    }
    if (strcmp(err_name, nk_err_name(NK_TIMEOUT)) == 0) { /* the log waits for the disk */
        return owns_disk && world->now_us <= world->disk_slow_latest_us + NK_US_PER_SEC;
    }
    return world->rotten && strcmp(err_name, nk_err_name(NK_CORRUPT)) == 0;
}

/* Every event that a role logs at "error" must have a reason that we know of. */
static void judge_error(struct sim_process *process, const char *target, const char *message,
                        const struct nk_log_field *fields, size_t field_count)
{
    const char *err_name = strncmp(message, "disk full", 9) == 0       ? nk_err_name(NK_NO_SPACE)
                           : strncmp(message, "disk stalled", 12) == 0 ? nk_err_name(NK_TIMEOUT)
                                                                       : "";
    const char *what = "";
    for (size_t i = 0; i < field_count; i++) {
        const char *text = fields[i].text != NULL ? fields[i].text : "";
        if (strcmp(fields[i].name, "error") == 0 || strcmp(fields[i].name, "err") == 0) {
            err_name = text;
        } else if (strcmp(fields[i].name, "what") == 0 || strcmp(fields[i].name, "detail") == 0) {
            what = text;
        }
    }
    if (!process->dying && !is_excused(process, err_name)) {
        bool fence = strstr(message, "is fenced") != NULL;
        sim_fail(process->world, fence ? SIM_CHECK_FENCE : SIM_CHECK_LOG, "%s: %s (%s, %s)", target,
                 message, err_name, what);
    }
}

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
    if (level >= NK_LOG_ERROR) {
        judge_error(process, target, message, fields, field_count);
    }
}

static const struct nk_log_ops log_ops = {log_event};

static void exit_by_itself(struct sim_process *process, bool starting, enum nk_err err,
                           const char *reason)
{
    struct sim_world *world = process->world;
    sim_trace(world, "exit", reason, err);
    if (!is_excused(process, nk_err_name(err))) {
        sim_fail(world, starting ? SIM_CHECK_START : SIM_CHECK_EXIT, "%s %s: %s (%s)",
                 process->ops->name, starting ? "did not start" : "ended by itself", reason,
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
        exit_by_itself(process, false, err, memory);
    }
}

/* As run_zmq.c: the role is asked whether it has stopped after each turn. */
static void look_at_stop(struct sim_process *process)
{
    struct sim_world *world = process->world;
    if (process->role == NULL || !process->stopping) {
        return;
    }
    if (process->ops->stopped(process->role)) {
        sim_trace(world, "stopped", process->ops->name, 0);
        sim_process_kill(process, process->stop_restart_us);
    } else if (world->now_us >= process->stop_deadline_us) {
        bool disk_full = process->which == SIM_SHARDHOST &&
                         sim_fs_space_faults(world->fs) != world->space_faults_seen;
        if (!disk_full) {
            sim_fail(world, SIM_CHECK_EXIT, "%s had not stopped in time", process->ops->name);
        }
        sim_process_kill(process, process->stop_restart_us);
    }
}

static void tick_fire(struct sim_event *event)
{
    struct sim_process *process = NK_CONTAINER_OF(event, struct sim_process, tick);
    struct sim_world *world = process->world;
    if (process->role == NULL || world->ending) {
        return;
    }
    if (sim_process_paused(process)) {
        sim_at(world, process->paused_until_us, &process->tick);
        return;
    }
    uint64_t next_us = process->ops->tick(process->role);
    sim_trace(world, "tick", process->ops->name, next_us);
    if (process->stopping) {
        next_us = nk_min_u64(next_us, process->stop_deadline_us);
    }
    /* The tick may have asked for another one; that comes first. */
    if (next_us != UINT64_MAX && !nk_heap_contains(&process->tick.due)) {
        /* At least a microsecond later, or a role that always wants a tick stops the clock. */
        sim_at(world, nk_max_u64(next_us, world->now_us + 1), &process->tick);
    }
    look_at_fault(process);
    look_at_stop(process);
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
    if (!process->world->ending && process->role == NULL) {
        sim_process_start(process);
    }
}

static void resume_fire(struct sim_event *event)
{
    struct sim_process *process = NK_CONTAINER_OF(event, struct sim_process, resume);
    if (process->world->ending || sim_process_paused(process)) {
        return;
    }
    process->paused_until_us = 0;
    sim_net_resume(process);
    sim_process_soon(process);
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
    process->resume.name = "resume";
    process->resume.fire = resume_fire;
    process->peer_next = 1;
    nk_list_init(&process->inbox);
    nk_list_init(&process->jobs);
    nk_map_init(&process->facts);
    (void)snprintf(process->talk_address, sizeof process->talk_address, "sim://%s",
                   process->ops->name);
    (void)snprintf(process->listen_address, sizeof process->listen_address, "sim://%s/state",
                   process->ops->name);
}

/* Some starts meet a disk that fails in the middle of recovery. */
static void begin_with_disk(struct sim_world *world)
{
    world->io_faults_seen = sim_fs_io_faults(world->fs);
    world->space_faults_seen = sim_fs_space_faults(world->fs);
    if (!world->cut_armed && !sim_nemesis_stopped(world) &&
        nk_prng_chance(&world->prng_faults, world->temper.cut_at_start)) {
        sim_nemesis_cut(world, nk_prng_between(&world->prng_faults, 1, 30),
                        nk_prng_chance(&world->prng_faults, 700000));
    }
}

void sim_process_start(struct sim_process *process)
{
    struct sim_world *world = process->world;
    NK_ASSERT(process->role == NULL);
    process->incarnation++;
    process->meta_failed = false;
    if (process->which == SIM_SHARDHOST) {
        begin_with_disk(world);
    }
    /* As services/start/session.c makes it. */
    uint64_t session = sim_wall_ms(world) << 16 | (nk_prng_next(&world->prng) & 0xffff) | 1;
    process->session_last = nk_max_u64(session, process->session_last + 1);
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
        .session = process->session_last,
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
        exit_by_itself(process, true, err, memory);
        return;
    }
    sim_process_soon(process);
}

static void stop_now(struct sim_process *process)
{
    struct sim_world *world = process->world;
    process->dying = true;
    if (process->which == SIM_GATEWAY) {
        sim_workload_gateway_dies(world);
    }
    if (process->role != NULL) {
        sim_worker_drain(process);
        process->ops->deinit(&process->role);
    }
    sim_net_detach(process);
    if (process->which == SIM_SHARDHOST) {
        sim_wire_forget(world);
    }
    if (process->metrics != NULL) {
        nk_registry_close(&process->metrics);
        nk_health_close(&process->health);
    }
    sim_cancel(world, &process->tick);
    sim_cancel(world, &process->resume);
    process->paused_until_us = 0;
    process->stopping = false;
    process->kill_due = false;
    process->meta_fault = (struct sim_meta_fault){0};
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
        world->cut_armed = false;
    }
    sim_at(world, world->now_us + restart_us, &process->restart);
}

void sim_process_kill_due(struct sim_world *world)
{
    for (enum sim_role which = 0; which < SIM_ROLE_COUNT; which++) {
        struct sim_process *process = &world->processes[which];
        if (process->kill_due) {
            sim_process_kill(process, nk_prng_between(&world->prng_faults, 1, 300) * NK_US_PER_MS);
        }
    }
}

void sim_process_stop(struct sim_process *process, uint64_t restart_us)
{
    struct sim_world *world = process->world;
    if (process->role == NULL || process->stopping) {
        return;
    }
    sim_trace(world, "stop", process->ops->name, restart_us);
    process->stopping = true;
    process->stop_deadline_us = world->now_us + STOP_TIMEOUT_US;
    process->stop_restart_us = restart_us;
    process->ops->stop(process->role);
    sim_process_soon(process);
}

void sim_process_pause(struct sim_process *process, uint64_t pause_us)
{
    struct sim_world *world = process->world;
    if (process->role == NULL) {
        return;
    }
    sim_trace(world, "pause", process->ops->name, pause_us);
    process->paused_until_us = nk_max_u64(process->paused_until_us, world->now_us + pause_us);
    sim_at(world, process->paused_until_us, &process->resume);
}

bool sim_process_paused(const struct sim_process *process)
{
    return process->paused_until_us > process->world->now_us;
}

void sim_power_loss(struct sim_world *world, uint64_t restart_us)
{
    sim_trace(world, "power-loss", "", restart_us);
    sim_fs_cut_power_after(world->fs, 0);
    for (enum sim_role which = 0; which < SIM_ROLE_COUNT; which++) {
        stop_now(&world->processes[which]);
    }
    sim_fs_crash(world->fs, &world->prng_faults);
    world->cut_armed = false;
    for (enum sim_role which = 0; which < SIM_ROLE_COUNT; which++) {
        for (enum sim_role other = 0; other < which; other++) {
            sim_net_break(world, which, other, 0); /* frames do not survive either */
        }
        if (nk_prng_chance(&world->prng, 500000)) {
            world->processes[which].session_last = 0; /* its file was not synced */
        }
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
