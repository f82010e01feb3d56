#include "registry.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/text.h"

#define LEASE_US        (GOSSIP_LEASE_MS * NK_US_PER_MS)
#define FORGET_AFTER_US (GOSSIP_FORGET_AFTER_MS * NK_US_PER_MS)

#define NAME_BYTES_MAX                                                                             \
    (sizeof((struct nk_cluster_member *)0)->node_id + sizeof((struct nk_cluster_member *)0)->role)

/* "node_id/role": neither part can hold a slash. */
static struct nk_bytes name_of(const char *node_id, const char *role, char *memory)
{
    struct nk_text name;
    nk_text_init(&name, memory, NAME_BYTES_MAX);
    nk_text_add(&name, node_id);
    nk_text_add(&name, "/");
    nk_text_add(&name, role);
    return nk_bytes_of(name.data, name.size);
}

void gossip_registry_init(struct gossip_registry *registry)
{
    nk_map_init(&registry->registrations);
}

void gossip_registry_deinit(struct gossip_registry *registry)
{
    size_t position = 0;
    for (struct gossip_registration *registration = gossip_registry_next(registry, &position);
         registration != NULL; registration = gossip_registry_next(registry, &position)) {
        nk_free(registration);
    }
    nk_map_deinit(&registry->registrations);
}

struct gossip_registration *gossip_registry_find(struct gossip_registry *registry,
                                                 const char *node_id, const char *role)
{
    char memory[NAME_BYTES_MAX];
    return nk_map_get(&registry->registrations, name_of(node_id, role, memory));
}

struct gossip_registration *gossip_registry_next(const struct gossip_registry *registry,
                                                 size_t *position)
{
    struct nk_map_entry *entry = nk_map_next(&registry->registrations, position);
    return entry != NULL ? entry->value : NULL;
}

/* ---- Registering ---- */

/* NULL: too many. */
static struct gossip_registration *add(struct gossip_registry *registry,
                                       const struct nk_cluster_member *member)
{
    if (registry->registrations.count >= NK_MEMBERS_MAX - 1) { /* gossip itself is one more */
        return NULL;
    }
    struct gossip_registration *registration = nk_alloc_zero(1, sizeof *registration);
    registration->member = *member;
    char memory[NAME_BYTES_MAX];
    (void)nk_map_put(&registry->registrations, name_of(member->node_id, member->role, memory),
                     registration);
    return registration;
}

/* What `member` means for a registration that is here, in the order of what matters most. */
static enum gossip_registered compare(const struct gossip_registration *registration,
                                      const struct nk_cluster_member *member)
{
    const struct nk_cluster_member *known = &registration->member;
    if (known->session != member->session) {
        return GOSSIP_REGISTERED_REBORN;
    }
    if (known->state != NK_MEMBER_ALIVE) {
        return GOSSIP_REGISTERED_BACK;
    }
    bool same = memcmp(known, member, sizeof *known) == 0;
    return same ? GOSSIP_REGISTERED_SAME : GOSSIP_REGISTERED_CHANGED;
}

/* Whether a newcomer may take the place of a process whose lease runs.  The same data is locked by
 * one process at a time, so who has it now has come after; other data is another process, whatever
 * its session, and must not push aside the one that serves. */
static bool may_replace(const struct nk_cluster_member *known,
                        const struct nk_cluster_member *member)
{
    bool same_data = memcmp(known->cluster_id, member->cluster_id, sizeof known->cluster_id) == 0;
    return same_data && known->session <= member->session;
}

enum nk_err gossip_registry_register(struct gossip_registry *registry,
                                     const struct nk_cluster_member *member, uint64_t now_us,
                                     enum gossip_registered *out_what)
{
    NK_ASSERT(member->state == NK_MEMBER_ALIVE);
    struct gossip_registration *registration =
        gossip_registry_find(registry, member->node_id, member->role);
    enum gossip_registered what = GOSSIP_REGISTERED_NEW;
    if (registration == NULL) {
        registration = add(registry, member);
        if (registration == NULL) {
            return NK_BUSY;
        }
    } else {
        /* One that is only remembered cannot defend itself: it may be long dead. */
        if (registration->here && registration->member.state == NK_MEMBER_ALIVE &&
            !may_replace(&registration->member, member)) {
            return NK_CONFLICT;
        }
        what = compare(registration, member);
    }
    if (!registration->here || what == GOSSIP_REGISTERED_REBORN) {
        registration->reported = false;
        registration->reports = 0;
        registration->report_lost = false;
    }
    registration->unsaved |= what != GOSSIP_REGISTERED_SAME && what != GOSSIP_REGISTERED_BACK;
    registration->member = *member;
    registration->here = true;
    registration->due_us = now_us + LEASE_US;
    *out_what = what;
    return NK_OK;
}

enum nk_err gossip_registry_heartbeat(struct gossip_registry *registry, const char *node_id,
                                      const char *role, uint64_t session, uint64_t now_us)
{
    struct gossip_registration *registration = gossip_registry_find(registry, node_id, role);
    if (registration == NULL || !registration->here ||
        registration->member.state != NK_MEMBER_ALIVE || registration->member.session < session) {
        return NK_NOT_FOUND;
    }
    if (registration->member.session > session) {
        return NK_CONFLICT;
    }
    registration->due_us = now_us + LEASE_US;
    return NK_OK;
}

enum nk_err gossip_registry_remember(struct gossip_registry *registry,
                                     const struct nk_cluster_member *member, uint64_t now_us)
{
    struct gossip_registration *registration = add(registry, member);
    if (registration == NULL) {
        return NK_BUSY;
    }
    registration->due_us = now_us + LEASE_US;
    return NK_OK;
}

/* ---- Time ---- */

void gossip_registry_expire(struct gossip_registry *registry, uint64_t now_us,
                            void (*changed)(void *ctx,
                                            const struct gossip_registration *registration,
                                            bool forgotten),
                            void *ctx)
{
    size_t position = 0;
    for (struct gossip_registration *registration = gossip_registry_next(registry, &position);
         registration != NULL; registration = gossip_registry_next(registry, &position)) {
        if (now_us < registration->due_us) {
            continue;
        }
        bool forgotten = registration->member.state == NK_MEMBER_FAILED;
        registration->member.state = NK_MEMBER_FAILED;
        registration->due_us = now_us + FORGET_AFTER_US;
        changed(ctx, registration, forgotten);
        if (forgotten) {
            char memory[NAME_BYTES_MAX];
            (void)nk_map_remove(
                &registry->registrations,
                name_of(registration->member.node_id, registration->member.role, memory));
            nk_free(registration);
        }
    }
}

uint64_t gossip_registry_next_us(const struct gossip_registry *registry)
{
    uint64_t next_us = UINT64_MAX;
    size_t position = 0;
    for (struct gossip_registration *registration = gossip_registry_next(registry, &position);
         registration != NULL; registration = gossip_registry_next(registry, &position)) {
        next_us = nk_min_u64(next_us, registration->due_us);
    }
    return next_us;
}

bool gossip_registry_incomplete(const struct gossip_registry *registry)
{
    size_t position = 0;
    for (struct gossip_registration *registration = gossip_registry_next(registry, &position);
         registration != NULL; registration = gossip_registry_next(registry, &position)) {
        if (strcmp(registration->member.role, "shardhost") == 0 && !registration->reported) {
            return true;
        }
    }
    return false;
}
