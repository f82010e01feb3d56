#pragma once

/* A role is a struct with a handful of functions; main.c drives it with ZeroMQ and real disks
 * (common/env_zmq/run_zmq.c), the simulator drives all roles of all nodes in one process.
 *
 * Everything here is called on the role's loop thread. */

#include "common/base/text.h"
#include "common/config/config.h"
#include "common/env/env.h"
#include "common/observe/observe.h"
#include "common/service/health.h"

/* What a role is given; borrowed from init to deinit. */
struct nk_service_context {
    const struct nk_env *env;
    const struct nk_config *config;
    struct nk_registry *metrics; /* the role registers its own at init */
    struct nk_health *health;    /* the role keeps it up to date */
    uint64_t session;         /* incarnation of this process: another one at each start, never 0 */
    const char *rpc_address;  /* host:port to tell others; "" where the process serves no gRPC */
    const char *http_address; /* host:port to tell others; "" in the simulator */
};

struct nk_role_ops {
    const char *name; /* "gateway", "shardhost", "gossip", "admin": in logs, labels, file names */

    /* Builds the role.  On failure *out_role is NULL and `reason` has one line for the operator.
     * NK_INVALID and NK_CONFLICT: configuration and data do not fit, NK_FORMAT_TOO_NEW: a later
     * version wrote the data (the process ends with code 78); anything else ends it with 1.  May
     * block: it is the start. */
    enum nk_err (*init)(const struct nk_service_context *context, void **out_role,
                        struct nk_text *reason);

    /* One frame from a partner; borrowed for the call.  Garbage is dropped and counted. */
    void (*receive)(void *role, nk_peer from, struct nk_bytes frame);

    /* Called after every burst of frames and finished jobs, and when the returned time has come.
     * Sends what the burst gathered.  Returns when it wants to be called again at the latest:
     * nk_mono_us clock, UINT64_MAX for "not by time". */
    uint64_t (*tick)(void *role);

    /* Begin an ordered stop: take nothing new, finish what is under way. */
    void (*stop)(void *role);
    bool (*stopped)(void *role); /* true once that is done; the driver then calls deinit */

    /* Releases everything, at any time after init; jobs have been waited for.  *role becomes NULL.
     */
    void (*deinit)(void **role);

    /* A fault after which the process must end (a failed log sync, a corrupt log): not NK_OK, with
     * one line in `reason`.  Asked after every tick. */
    enum nk_err (*fault)(void *role, struct nk_text *reason);
};

/* Adds the bus address of the process of `role` on this node while bus.addr is "ipc":
 * "ipc://<data_dir>/run/<role>.bus".  Gossip is looked for there if bus.gossip_addrs is empty. */
void nk_service_bus_address(const struct nk_config *config, const char *role,
                            struct nk_text *out_address);
