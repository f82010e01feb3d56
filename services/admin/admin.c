/* A role with one partner: gossip, through the membership that all roles share. */
#include "admin.h"

#include <stdio.h>

#include "common/base/alloc.h"
#include "common/service/member.h"

#include "catalogue.h"

#define BEAT_US (500 * NK_US_PER_MS) /* between two ticks at most: the loop's health */

static const char target[] = "admin";

struct admin {
    const struct nk_service_context *context;
    const struct nk_env *env;
    struct nk_member *member;
    struct admin_catalogue catalogue;
    enum nk_err learned; /* of the last look at the cluster's state */
    uint64_t generation; /* of the state that was looked at */
    bool stopping;
    struct nk_gauge registered;
    struct nk_counter dropped; /* frames */
};

static void open_member(struct admin *admin)
{
    const struct nk_net *net = &admin->env->net;
    struct nk_cluster_member self = {0};
    (void)snprintf(self.node_id, sizeof self.node_id, "%s", admin->context->config->node_id);
    (void)snprintf(self.role, sizeof self.role, "%s", admin_role_ops.name);
    (void)snprintf(self.talk_address, sizeof self.talk_address, "%s",
                   net->ops->talk_address(net->ctx));
    (void)snprintf(self.http_address, sizeof self.http_address, "%s", admin->context->http_address);
    self.session = admin->context->session;
    self.state = NK_MEMBER_ALIVE;
    nk_member_open(admin->context, &self, &admin->member);
}

static void add_metrics(struct admin *admin)
{
    struct nk_registry *registry = admin->context->metrics;
    nk_registry_gauge(registry, "admin_registered", "1 while a gossip process keeps our lease.",
                      &admin->registered);
    nk_registry_counter(registry, "admin_frames_dropped_total",
                        "Received frames that were damaged, senseless or out of place.",
                        &admin->dropped);
}

static void role_deinit(void **role)
{
    struct admin *admin = *role;
    if (admin == NULL) {
        return;
    }
    nk_member_close(&admin->member);
    nk_free(admin);
    *role = NULL;
}

static enum nk_err role_init(const struct nk_service_context *context, void **out_role,
                             struct nk_text *reason)
{
    struct admin *admin = nk_alloc_zero(1, sizeof *admin);
    admin->context = context;
    admin->env = context->env;
    *out_role = admin;
    enum nk_err err = admin_catalogue_open(&admin->catalogue, &admin->env->meta);
    if (err != NK_OK) {
        nk_text_add(reason, "admin's catalogue cannot be read: ");
        nk_text_add(reason, nk_err_name(err));
        role_deinit(out_role);
        return err;
    }
    open_member(admin);
    add_metrics(admin);
    return NK_OK;
}

static void role_receive(void *role, nk_peer from, struct nk_bytes frame)
{
    struct admin *admin = role;
    enum nk_frame_type type;
    struct nk_bytes message;
    if (nk_frame_parse(frame, &type, &message) != NK_OK ||
        !nk_member_receive(admin->member, from, type, message)) {
        nk_counter_add(&admin->dropped, 1);
    }
}

/* Looks at the cluster's state when it has changed, or when the last look could not be saved. */
static void learn(struct admin *admin)
{
    uint64_t generation = nk_member_generation(admin->member);
    if (generation == admin->generation && !nk_err_is_fault(admin->learned) &&
        admin->learned != NK_NO_SPACE) {
        return;
    }
    admin->generation = generation;
    const struct nk_cluster *cluster = nk_member_cluster(admin->member);
    enum nk_err before = admin->learned;
    admin->learned = admin_catalogue_learn(&admin->catalogue, cluster);
    if (admin->learned != before && admin->learned != NK_OK) {
        nk_log_error(&admin->env->log, target,
                     admin->learned == NK_CONFLICT
                         ? "the shardhosts belong to another cluster than this catalogue"
                         : "cannot save the catalogue",
                     NK_LOG_TEXT("err", nk_err_name(admin->learned)));
    }
    nk_cluster_show_nodes(cluster, admin->context->health);
}

static void show_health(struct admin *admin)
{
    struct nk_health *health = admin->context->health;
    bool registered = nk_member_registered(admin->member);
    nk_gauge_set(&admin->registered, registered);
    nk_health_beat(health);
    if (!registered) {
        nk_health_set(health, NK_DEGRADED, "no-gossip");
    } else if (admin->learned == NK_CONFLICT) {
        nk_health_set(health, NK_DEGRADED, "other-cluster");
    } else if (admin->learned != NK_OK) {
        nk_health_set(health, NK_DEGRADED, "metadata-not-written");
    } else {
        nk_health_set(health, NK_HEALTHY, "");
    }
    if (admin->stopping) {
        nk_health_set_ready(health, false, "stopping");
    } else {
        nk_health_set_ready(health, registered, "no-gossip");
    }
}

static uint64_t role_tick(void *role)
{
    struct admin *admin = role;
    uint64_t next_us = nk_member_tick(admin->member);
    learn(admin);
    show_health(admin);
    return nk_min_u64(next_us, nk_mono_us(&admin->env->clock) + BEAT_US);
}

static void role_stop(void *role)
{
    ((struct admin *)role)->stopping = true;
}

/* Nothing is ever under way between two ticks. */
static bool role_stopped(void *role)
{
    return ((struct admin *)role)->stopping;
}

static enum nk_err role_fault(void *role, struct nk_text *reason)
{
    enum nk_err err = nk_member_fault(((struct admin *)role)->member);
    if (err != NK_OK) {
        nk_text_add(reason, "another process with this node_id and role is alive");
    }
    return err;
}

const struct nk_role_ops admin_role_ops = {
    .name = "admin",
    .init = role_init,
    .receive = role_receive,
    .tick = role_tick,
    .stop = role_stop,
    .stopped = role_stopped,
    .deinit = role_deinit,
    .fault = role_fault,
};
