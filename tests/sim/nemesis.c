/* What goes wrong, drawn from the seed.  Each seed has its own temper: which kinds of trouble
 * happen at all, and how often. */

#include "tests/sim/sim.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"

enum trouble {
    TROUBLE_KILL_ONE,     /* kill -9 of one process */
    TROUBLE_KILL_HOST,    /* kill -9 of the shardhost */
    TROUBLE_KILL_AT_IO,   /* of the shardhost, at some disk operation soon */
    TROUBLE_KILL_AT_SEND, /* of one process, in the middle of what it has to say */
    TROUBLE_STOP_ONE,     /* an ordered stop */
    TROUBLE_PAUSE_ONE,    /* its loop stands still */
    TROUBLE_POWER_LOSS,   /* now */
    TROUBLE_POWER_CUT,    /* at some disk operation soon */
    TROUBLE_DISK_ERROR,   /* some disk operation soon fails */
    TROUBLE_DISK_FULL,
    TROUBLE_DISK_SLOW,
    TROUBLE_META_FAULT, /* a call to the meta store fails, or is the last of its process */
    TROUBLE_BREAK,      /* of the connections between two processes */
    TROUBLE_CLOCK_JUMP,
    TROUBLE_COUNT,
};

static const char *const trouble_names[TROUBLE_COUNT] = {
    [TROUBLE_KILL_ONE] = "kill-one",     [TROUBLE_KILL_HOST] = "kill-host",
    [TROUBLE_KILL_AT_IO] = "kill-at-io", [TROUBLE_KILL_AT_SEND] = "kill-at-send",
    [TROUBLE_STOP_ONE] = "stop-one",     [TROUBLE_PAUSE_ONE] = "pause-one",
    [TROUBLE_POWER_LOSS] = "power-loss", [TROUBLE_POWER_CUT] = "power-cut",
    [TROUBLE_DISK_ERROR] = "disk-error", [TROUBLE_DISK_FULL] = "disk-full",
    [TROUBLE_DISK_SLOW] = "disk-slow",   [TROUBLE_META_FAULT] = "meta-fault",
    [TROUBLE_BREAK] = "break",           [TROUBLE_CLOCK_JUMP] = "clock-jump",
};

struct sim_nemesis {
    struct sim_world *world;
    struct sim_event event; /* the next trouble */
    struct sim_event space; /* the disk has room again */
    struct sim_event clock; /* the clock is put right again */
    int64_t clock_error_ms; /* by this much */
    bool stopped;
    enum trouble enabled[2 * TROUBLE_COUNT + 4]; /* some twice: they come twice as often */
    size_t enabled_count;
    uint64_t pause_us_max;
    uint64_t down_us_max; /* how long a process stays away */
    uint64_t jump_ms_max; /* of the wall clock */
    bool patient;         /* some stay away for longer than a lease */
};

static struct sim_process *draw_process(struct sim_world *world)
{
    return &world->processes[nk_prng_below(&world->prng_faults, SIM_ROLE_COUNT)];
}

uint64_t sim_nemesis_down_us(struct sim_world *world)
{
    const struct sim_nemesis *nemesis = world->nemesis;
    struct nk_prng *prng = &world->prng_faults;
    if (nemesis->patient && nk_prng_chance(prng, 100000)) {
        return nk_prng_between(prng, 2500, 5000) * NK_US_PER_MS;
    }
    return nk_prng_between(prng, NK_US_PER_MS, nemesis->down_us_max);
}

/* ---- Troubles ---- */

void sim_nemesis_cut(struct sim_world *world, uint64_t operations, bool power)
{
    NK_ASSERT(operations > 0);
    if (world->cut_armed) {
        return; /* or it would be put off for ever */
    }
    sim_trace(world, "cut", power ? "power" : "kill", operations);
    sim_fs_cut_power_after(world->fs, operations);
    world->cut_armed = true;
    world->cut_is_power = power;
}

static uint64_t draw_operations(struct sim_world *world)
{
    struct nk_prng *prng = &world->prng_faults;
    return nk_prng_between(prng, 1, nk_prng_chance(prng, 500000) ? 6 : 60);
}

static void fill_disk(struct sim_world *world)
{
    struct nk_prng *prng = &world->prng_faults;
    uint64_t left = nk_prng_below(prng, nk_prng_chance(prng, 500000) ? 4 * NK_KIB : 96 * NK_KIB);
    sim_fs_limit_space(world->fs, sim_fs_used(world->fs) + left);
    sim_at(world, world->now_us + nk_prng_between(prng, 50, 4000) * NK_US_PER_MS,
           &world->nemesis->space);
}

static void empty_disk(struct sim_event *event)
{
    struct sim_nemesis *nemesis = NK_CONTAINER_OF(event, struct sim_nemesis, space);
    struct sim_world *world = nemesis->world;
    if (!world->ending) {
        sim_trace(world, "disk-has-room", "", 0);
        sim_fs_limit_space(world->fs, UINT64_MAX);
    }
}

static void break_meta(struct sim_world *world)
{
    struct nk_prng *prng = &world->prng_faults;
    struct sim_process *process = draw_process(world);
    static const enum nk_err errs[] = {NK_OK, NK_IO, NK_NO_SPACE};
    process->meta_fault = (struct sim_meta_fault){
        .countdown = nk_prng_between(prng, 1, 4),
        .err = errs[nk_prng_below(prng, NK_COUNT_OF(errs))],
        .happens = nk_prng_chance(prng, 500000),
    };
}

static void break_connection(struct sim_world *world)
{
    struct nk_prng *prng = &world->prng_faults;
    enum sim_role a = (enum sim_role)nk_prng_below(prng, SIM_ROLE_COUNT);
    enum sim_role b = (enum sim_role)nk_prng_below(prng, SIM_ROLE_COUNT);
    uint64_t down_us = nk_prng_chance(prng, 500000)
                           ? 0
                           : nk_prng_below(prng, nk_prng_chance(prng, 200000) ? 4000 : 500);
    if (a != b) {
        sim_net_break(world, a, b, down_us * NK_US_PER_MS);
    }
}

static void jump(struct sim_world *world)
{
    struct nk_prng *prng = &world->prng_faults;
    int64_t by_ms = (int64_t)nk_prng_between(prng, 1, world->nemesis->jump_ms_max);
    by_ms = nk_prng_chance(prng, 500000) ? by_ms : -by_ms;
    sim_wall_jump(world, by_ms);
    if (nk_prng_chance(prng, 600000)) {
        world->nemesis->clock_error_ms += by_ms;
        sim_at(world, world->now_us + nk_prng_between(prng, 1, 1000) * NK_US_PER_MS,
               &world->nemesis->clock);
    }
}

static void correct_clock(struct sim_event *event)
{
    struct sim_nemesis *nemesis = NK_CONTAINER_OF(event, struct sim_nemesis, clock);
    if (!nemesis->world->ending) {
        sim_trace(nemesis->world, "clock-corrected", "", 0);
        sim_wall_jump(nemesis->world, -nemesis->clock_error_ms);
        nemesis->clock_error_ms = 0;
    }
}

static void cause(struct sim_world *world, enum trouble trouble)
{
    struct nk_prng *prng = &world->prng_faults;
    switch (trouble) {
    case TROUBLE_KILL_ONE:
        sim_process_kill(draw_process(world), sim_nemesis_down_us(world));
        break;
    case TROUBLE_KILL_HOST:
        sim_process_kill(&world->processes[SIM_SHARDHOST], sim_nemesis_down_us(world));
        break;
    case TROUBLE_KILL_AT_IO:
        sim_nemesis_cut(world, draw_operations(world), false);
        break;
    case TROUBLE_KILL_AT_SEND:
        draw_process(world)->sends_left = nk_prng_between(prng, 1, 20);
        break;
    case TROUBLE_STOP_ONE:
        sim_process_stop(draw_process(world), sim_nemesis_down_us(world));
        break;
    case TROUBLE_PAUSE_ONE:
        sim_process_pause(draw_process(world), sim_nemesis_down_us(world));
        break;
    case TROUBLE_POWER_LOSS:
        sim_power_loss(world, sim_nemesis_down_us(world));
        break;
    case TROUBLE_POWER_CUT:
        sim_nemesis_cut(world, draw_operations(world), true);
        break;
    case TROUBLE_DISK_ERROR:
        sim_fs_fail_at(world->fs, draw_operations(world), NK_IO);
        break;
    case TROUBLE_DISK_FULL:
        fill_disk(world);
        break;
    case TROUBLE_DISK_SLOW:
        world->disk_slow_until_us = world->now_us + sim_nemesis_down_us(world);
        world->disk_slow_latest_us =
            nk_max_u64(world->disk_slow_latest_us, world->disk_slow_until_us);
        break;
    case TROUBLE_META_FAULT:
        break_meta(world);
        break;
    case TROUBLE_BREAK:
        break_connection(world);
        break;
    case TROUBLE_CLOCK_JUMP:
        jump(world);
        break;
    case TROUBLE_COUNT:
        break;
    }
}

/* ---- The whole ---- */

static void fire(struct sim_event *event)
{
    struct sim_nemesis *nemesis = NK_CONTAINER_OF(event, struct sim_nemesis, event);
    struct sim_world *world = nemesis->world;
    if (nemesis->stopped || world->ending) {
        return;
    }
    struct nk_prng *prng = &world->prng_faults;
    enum trouble trouble = nemesis->enabled[nk_prng_below(prng, nemesis->enabled_count)];
    sim_trace(world, "trouble", trouble_names[trouble], 0);
    cause(world, trouble);
    sim_at(world, world->now_us + nk_prng_between(prng, 1000, nemesis->pause_us_max), event);
}

void sim_nemesis_open(struct sim_world *world)
{
    struct sim_nemesis *nemesis = nk_alloc_zero(1, sizeof *nemesis);
    struct nk_prng *prng = &world->prng_faults;
    nemesis->world = world;
    nemesis->event.name = "nemesis";
    nemesis->event.fire = fire;
    nemesis->space.name = "space";
    nemesis->space.fire = empty_disk;
    nemesis->clock.name = "clock";
    nemesis->clock.fire = correct_clock;
    uint32_t share = (uint32_t)nk_prng_between(prng, 50000, 800000);
    for (size_t i = 0; i < TROUBLE_COUNT; i++) {
        size_t times = nk_prng_chance(prng, share) ? (size_t)nk_prng_between(prng, 1, 2) : 0;
        for (size_t j = 0; j < times; j++) {
            nemesis->enabled[nemesis->enabled_count++] = (enum trouble)i;
        }
    }
    for (size_t i = 0; i < 4; i++) { /* the subject of the seed, if it has one */
        if (world->temper.clocks) {
            nemesis->enabled[nemesis->enabled_count++] = TROUBLE_CLOCK_JUMP;
        } else if (world->temper.torn) {
            nemesis->enabled[nemesis->enabled_count++] = TROUBLE_POWER_CUT;
        }
    }
    nemesis->pause_us_max = nk_prng_between(prng, 30, 2000) * NK_US_PER_MS;
    nemesis->down_us_max = nk_prng_between(prng, 2, 600) * NK_US_PER_MS;
    if (world->temper.torn) {
        nemesis->pause_us_max = 200 * NK_US_PER_MS;
        nemesis->down_us_max = 30 * NK_US_PER_MS;
    }
    static const uint64_t jumps_ms[] = {10, 2000, 10000, 100000000};
    nemesis->jump_ms_max =
        world->temper.clocks ? 5000 : jumps_ms[nk_prng_below(prng, NK_COUNT_OF(jumps_ms))];
    nemesis->patient = nk_prng_chance(prng, 200000);
    world->nemesis = nemesis;
    if (nemesis->enabled_count > 0) {
        sim_at(world, nk_prng_between(prng, 1000, nemesis->pause_us_max), &nemesis->event);
    }
}

bool sim_nemesis_stopped(const struct sim_world *world)
{
    return world->nemesis == NULL || world->nemesis->stopped;
}

/* Faults that were armed and not met are taken back; the shardhost goes with its disk, since what
 * it was told once (a read that failed) stays with it until it starts again. */
void sim_nemesis_stop(struct sim_world *world)
{
    world->nemesis->stopped = true;
    sim_fs_limit_space(world->fs, UINT64_MAX);
    world->disk_slow_until_us = 0;
    world->temper.frame_lost = 0;
    world->temper.lane_full = 0;
    for (enum sim_role which = 0; which < SIM_ROLE_COUNT; which++) {
        struct sim_process *process = &world->processes[which];
        process->meta_fault = (struct sim_meta_fault){0};
        process->sends_left = 0;
        memset(world->broken_until_us[which], 0, sizeof world->broken_until_us[which]);
    }
    bool io_failed = sim_fs_io_faults(world->fs) != world->io_faults_seen;
    if (io_failed || world->cut_armed) {
        sim_process_kill(&world->processes[SIM_SHARDHOST], 10 * NK_US_PER_MS);
    }
    sim_fs_fail_at(world->fs, 0, NK_IO);
}

void sim_nemesis_close(struct sim_world *world)
{
    sim_cancel(world, &world->nemesis->event);
    sim_cancel(world, &world->nemesis->space);
    sim_cancel(world, &world->nemesis->clock);
    nk_free(world->nemesis);
    world->nemesis = NULL;
}

/* ---- Rot ---- */

struct pick {
    struct sim_world *world;
    const char *ending; /* of the names that count */
    char name[128];     /* of the chosen file; "": none yet */
    uint64_t seen;
};

static bool ends_with(const char *name, const char *ending)
{
    size_t size = strlen(name);
    size_t ending_size = strlen(ending);
    return size >= ending_size && strcmp(name + size - ending_size, ending) == 0;
}

/* Each with the same chance; of the log all but the last: damage to what was written last cannot be
 * told from a torn write (services/shardhost/raftlog/FORMAT.md, 7). */
static void consider_directory(struct pick *pick, const char *directory)
{
    if (!sim_fs_exists(pick->world->fs, directory)) {
        return;
    }
    struct nk_buf names = {0};
    sim_fs_list(pick->world->fs, directory, &names);
    nk_buf_append_u8(&names, '\0');
    bool is_log = strcmp(directory, "raft") == 0;
    char before[64] = "";
    for (char *name = (char *)names.data, *end; (end = strchr(name, '\n')) != NULL;
         name = end + 1) {
        *end = '\0';
        if (!ends_with(name, pick->ending)) {
            continue;
        }
        const char *candidate = is_log ? before : name;
        if (candidate[0] != '\0' && nk_prng_below(&pick->world->prng_faults, ++pick->seen) == 0) {
            (void)snprintf(pick->name, sizeof pick->name, "%s/%s", directory, candidate);
        }
        (void)snprintf(before, sizeof before, "%s", name);
    }
    nk_buf_deinit(&names);
}

static void pick_file(struct pick *pick)
{
    static const char *const endings[] = {".sst", ".sst", "manifest", ".log"};
    pick->ending = endings[nk_prng_below(&pick->world->prng_faults, NK_COUNT_OF(endings))];
    consider_directory(pick, "raft");
    for (uint32_t shard = 0; shard < pick->world->config.cluster.total_shards; shard++) {
        char directory[64];
        (void)snprintf(directory, sizeof directory, "lsm/shard-%u", shard);
        consider_directory(pick, directory);
    }
}

bool sim_nemesis_flip(struct sim_world *world)
{
    struct pick pick = {.world = world};
    pick_file(&pick);
    if (pick.name[0] == '\0') {
        return false;
    }
    struct nk_buf contents = {0};
    sim_fs_read(world->fs, pick.name, &contents);
    size_t size = contents.size;
    nk_buf_deinit(&contents);
    if (size == 0) {
        return false;
    }
    uint64_t offset = nk_prng_below(&world->prng_faults, size);
    sim_trace(world, "flip", pick.name, offset);
    sim_fs_flip(world->fs, pick.name, offset,
                (uint8_t)(1U << nk_prng_below(&world->prng_faults, 8)));
    return true;
}
