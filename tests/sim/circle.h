#pragma once

/* Roles as they are, on one thread, with frames handed over in memory: no delay, no loss, no
 * faults. For tests that are about something else than the network: fuzz targets put frames of
 * their own in, stress tests let other threads loose on a role.
 *
 * Clock and worker are the caller's.  Everything is to be called from the loop thread. */

#include "common/env/env.h"
#include "common/service/service.h"

#define CIRCLE_ROLES_MAX 4

struct circle;

/* Addresses: "circle://<role>" is a role of the circle; "circle://stranger/<name>" is nobody: what
 * is sent there is only seen, and the caller answers for it. */
#define CIRCLE_STRANGER "circle://stranger/"

struct circle_options {
    const struct nk_config *config; /* borrowed */
    struct nk_clock clock;
    struct nk_worker worker; /* ops NULL: jobs run within circle_turn */
    struct nk_fs fs;         /* of all roles */

    /* Sees every frame that a role sends or publishes (`to` 0); NULL: nobody does. */
    void (*sent)(void *ctx, const char *role, nk_peer to, struct nk_bytes frame);
    void *ctx;
};

void circle_new(const struct circle_options *options, struct circle **out_circle);

/* Ends the roles that are still there, the last one first: jobs under way must have been waited
 * for. */
void circle_free(struct circle **circle);

/* Starts a role, which must succeed; `session` names this incarnation of it.  Returns the role. */
void *circle_add(struct circle *circle, const struct nk_role_ops *ops, uint64_t session);

/* Gives a role a frame from the stranger with that address: over the role's link to it, if it has
 * one, else over a conversation that the stranger began. */
void circle_inject(struct circle *circle, const char *role, const char *stranger,
                   struct nk_bytes frame);

/* Delivers what was sent and ticks every role, until nothing is under way; then the time at which a
 * role wants to be called again. */
uint64_t circle_turn(struct circle *circle);

/* Begins the ordered stop of every role. */
void circle_stop(struct circle *circle);

/* The first fault that a role has said it must end with. */
enum nk_err circle_fault(struct circle *circle);
