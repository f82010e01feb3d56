#pragma once

/* One whole node in one process: all four roles on a simulated clock, network, disk and workers,
 * driven from one seed.  The same seed gives the same events, in the same order, to the bit.
 *
 *   world.c      the event queue, the clocks, the trace
 *   process.c    one role with its environment: start, tick, kill, restart
 *   net.c        frames between processes: delayed, lost with their process, kept across a restart
 *   worker.c     jobs: when they run and when their end is heard
 *   meta.c       the few durable facts of a process
 *   workload.c   clients and what they saw
 *   nemesis.c    what goes wrong
 *   check/       is what the clients saw possible?
 *   main.c       seeds, the command line */

#include <stdio.h>

#include "common/base/heap.h"
#include "common/base/list.h"
#include "common/base/map.h"
#include "common/base/prng.h"
#include "common/base/units.h"
#include "common/service/service.h"
#include "tests/sim/fs.h"

enum sim_role {
    SIM_GOSSIP,
    SIM_SHARDHOST,
    SIM_GATEWAY,
    SIM_ADMIN,
    SIM_ROLE_COUNT,
};

struct sim_world;
struct sim_process;

/* Something that will happen.  Embedded in what it happens to. */
struct sim_event {
    struct nk_heap_node due; /* order: us */
    const char *name;        /* constant; goes into the trace */
    void (*fire)(struct sim_event *event);
};

struct sim_link {
    nk_peer peer; /* as the owner names it */
    bool listens;
    char address[64];
    uint64_t arrival_us; /* of the last frame sent on it: order is kept */
};

#define SIM_LINKS_MAX 32

/* Somebody who talks to us. */
struct sim_inbound {
    nk_peer peer;
    struct sim_process *from;
    uint64_t from_incarnation;
    nk_peer from_link;
    uint64_t arrival_us; /* of the last answer */
};

struct sim_process {
    struct sim_world *world;
    enum sim_role which;
    const struct nk_role_ops *ops;
    void *role;           /* NULL: not running */
    uint64_t incarnation; /* grows at each start */
    struct nk_env env;
    struct nk_service_context context;
    struct nk_registry *metrics;
    struct nk_health *health;
    struct sim_event tick;
    struct sim_event restart;
    char talk_address[64];
    char listen_address[64];
    struct sim_link links[SIM_LINKS_MAX];
    size_t link_count;
    struct sim_inbound inbound[SIM_LINKS_MAX];
    size_t inbound_count;
    nk_peer peer_next;
    struct nk_list jobs; /* submitted, not yet heard of */
    struct nk_map facts; /* meta: key -> struct nk_buf *; survives the process */
    bool dying;          /* being killed: it sends nothing any more */
};

struct sim_options {
    bool trace;         /* print every event */
    uint64_t run_ms;    /* with faults */
    uint64_t settle_ms; /* without, at the end */
};

struct sim_world {
    uint64_t seed;
    struct sim_options options;
    struct nk_prng prng;         /* network, workers, schedule */
    struct nk_prng prng_clients; /* what clients do */
    struct nk_prng prng_faults;  /* what goes wrong */
    uint64_t now_us;
    uint64_t wall_base_ms;
    uint64_t wall_max_ms; /* highest the wall clock has shown */
    uint64_t wall_jumps;
    struct nk_heap events;
    uint64_t event_count;
    uint64_t trace_hash;
    struct sim_fs *fs;
    struct nk_config config;
    struct sim_process processes[SIM_ROLE_COUNT];
    struct sim_workload *workload;
    struct sim_nemesis *nemesis;
    uint64_t power_cut_at; /* fs operation at which the power goes; 0: not armed */
    bool io_fault_armed;   /* an NK_IO is due or has been given since the last start */
    bool failed;
    char failure[512];
};

/* ---- world.c ---- */

void sim_world_open(uint64_t seed, const struct sim_options *options, struct sim_world **out_world);
void sim_world_close(struct sim_world **world);

/* Runs workload and faults, then the quiet end and the checks.  True: all is well. */
bool sim_world_run(struct sim_world *world);

void sim_at(struct sim_world *world, uint64_t due_us, struct sim_event *event);
void sim_cancel(struct sim_world *world, struct sim_event *event);

/* Adds to the trace: the hash always, the line if asked for. */
void sim_trace(struct sim_world *world, const char *what, const char *detail, uint64_t number);

/* The first failure counts; the run ends. */
void sim_fail(struct sim_world *world, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

uint64_t sim_wall_ms(const struct sim_world *world);
void sim_wall_jump(struct sim_world *world, int64_t by_ms);

/* ---- process.c ---- */

void sim_process_open(struct sim_world *world, enum sim_role which);
void sim_process_close(struct sim_process *process);
void sim_process_start(struct sim_process *process);

/* kill -9: nothing is said or finished.  It starts again after `restart_us`. */
void sim_process_kill(struct sim_process *process, uint64_t restart_us);

/* Power loss: all processes, and the disk keeps what it must and some of the rest. */
void sim_power_loss(struct sim_world *world, uint64_t restart_us);

/* Makes the process look at its queues: the end of a burst. */
void sim_process_soon(struct sim_process *process);

/* ---- net.c, worker.c, meta.c: the environment of one process ---- */

void sim_net_attach(struct sim_process *process);
void sim_net_detach(struct sim_process *process); /* its links are gone */
void sim_worker_attach(struct sim_process *process);
void sim_worker_drain(struct sim_process *process); /* before the role's deinit: no job stays */
void sim_meta_attach(struct sim_process *process);
void sim_meta_close(struct sim_process *process);

/* ---- workload.c ---- */

void sim_workload_open(struct sim_world *world);
void sim_workload_close(struct sim_world *world);
void sim_workload_gateway_died(struct sim_world *world); /* before its role's deinit */
void sim_workload_settle(struct sim_world *world); /* no new tricks: everybody finishes and reads */
bool sim_workload_done(const struct sim_world *world);
void sim_workload_check(struct sim_world *world);

/* ---- nemesis.c ---- */

void sim_nemesis_open(struct sim_world *world);
void sim_nemesis_close(struct sim_world *world);
void sim_nemesis_stop(struct sim_world *world);
