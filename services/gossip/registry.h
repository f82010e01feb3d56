#pragma once

/* Who has registered: the other processes with their sessions and leases.  Pure: time comes in,
 * changes go out through a function of the caller.
 *
 * A process is its (node_id, role); which of two claims it counts the higher session, as sessions
 * grow at each start.  One whose lease ends has failed, and is forgotten a while later. */

#include "common/base/map.h"
#include "common/service/cluster.h"

#define GOSSIP_LEASE_MS        ((uint32_t)3000)
#define GOSSIP_FORGET_AFTER_MS ((uint64_t)300000) /* after the lease ended */

struct gossip_registration {
    struct nk_cluster_member
        member;       /* its state is ours: alive until the lease ends, then failed */
    uint64_t due_us;  /* alive: the end of the lease; failed: when it is forgotten */
    bool here;        /* has registered since this gossip process started */
    bool reported;    /* a shardhost that has reported its shards since it registered */
    bool unsaved;     /* differs from what is in meta */
    uint64_t reports; /* number of the last report that came */
    bool report_lost; /* one before it did not, and not everything was reported since */
};

struct gossip_registry {
    struct nk_map registrations; /* "node_id/role" -> struct gossip_registration */
};

void gossip_registry_init(struct gossip_registry *registry);
void gossip_registry_deinit(struct gossip_registry *registry);

enum gossip_registered {
    GOSSIP_REGISTERED_SAME,    /* nothing new: a repetition */
    GOSSIP_REGISTERED_NEW,     /* not known before */
    GOSSIP_REGISTERED_CHANGED, /* the same process with other addresses */
    GOSSIP_REGISTERED_REBORN,  /* another session: the process was started anew */
    GOSSIP_REGISTERED_BACK,    /* had failed, the same session */
};

/* Registers or renews, and begins a lease.  NK_CONFLICT: a process with a higher session lives;
 * NK_BUSY: too many. */
NK_MUST_CHECK enum nk_err gossip_registry_register(struct gossip_registry *registry,
                                                   const struct nk_cluster_member *member,
                                                   uint64_t now_us,
                                                   enum gossip_registered *out_what);

/* Renews the lease.  NK_NOT_FOUND: the process must register; NK_CONFLICT: one with a higher
 * session lives in its place. */
NK_MUST_CHECK enum nk_err gossip_registry_heartbeat(struct gossip_registry *registry,
                                                    const char *node_id, const char *role,
                                                    uint64_t session, uint64_t now_us);

/* What was known before this gossip process started: counts as alive for one lease. */
NK_MUST_CHECK enum nk_err gossip_registry_remember(struct gossip_registry *registry,
                                                   const struct nk_cluster_member *member,
                                                   uint64_t now_us);

/* NULL: not known. */
struct gossip_registration *gossip_registry_find(struct gossip_registry *registry,
                                                 const char *node_id, const char *role);

/* Lets leases end.  `changed` is called for each registration that has failed, and for each that is
 * being forgotten, which is freed afterwards. */
void gossip_registry_expire(struct gossip_registry *registry, uint64_t now_us,
                            void (*changed)(void *ctx,
                                            const struct gossip_registration *registration,
                                            bool forgotten),
                            void *ctx);

uint64_t gossip_registry_next_us(const struct gossip_registry *registry); /* UINT64_MAX: none */

/* A shardhost that was known before this gossip process started has not come back yet, or has not
 * reported its shards. */
bool gossip_registry_incomplete(const struct gossip_registry *registry);

/* `*position` starts at 0; NULL after the last. */
struct gossip_registration *gossip_registry_next(const struct gossip_registry *registry,
                                                 size_t *position);
