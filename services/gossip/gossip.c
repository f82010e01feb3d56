/* The role: frames and time in; answers, deltas and snapshots out.
 *
 * A burst of frames changes registry and view at once and answers each sender at once; the tick at
 * its end publishes what has changed as one delta, then answers who asked for the whole state, then
 * saves what must be remembered, so nobody waits for the disk to hear of a process that came.
 *
 * After a start gossip knows the processes of its former life from meta, but not the leaders of the
 * shards.  Telling the others now would make shards vanish from everybody's table for a moment, so
 * it holds back (HOLD_US at most) until every shardhost it remembers has come and reported.
 * Meanwhile the others go on with what they have. */
#include "gossip.h"

#include <stdio.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/service/board.h"
#include "proto/frame.h"
#include "services/gossip/swim/swim.h"

#include "epoch.h"
#include "metrics.h"
#include "registry.h"
#include "view.h"
#include "wire.h"

#define HOLD_US            (1200 * NK_US_PER_MS) /* a heartbeat's distance, and some */
#define MEND_INTERVAL_US   NK_US_PER_SEC /* between two tries to write what could not be written */
#define PAGES_INTERVAL_US  (100 * NK_US_PER_MS) /* between two renderings of the JSON pages */
#define BEAT_US            (500 * NK_US_PER_MS) /* between two ticks at most: the loop's health */
#define MESSAGE_MEMORY_MAX ((size_t)(128 * NK_MIB)) /* what a received frame may unpack to */

static const char target[] = "gossip";
static const char member_key_prefix[] = "member/"; /* then "node_id/role" */

struct gossip {
    const struct nk_service_context *context;
    const struct nk_env *env;
    struct nk_cluster_member self;
    struct gossip_registry registry;
    struct gossip_view *view;
    struct gossip_epoch epoch;
    struct swim *swim;
    struct gossip_metrics metrics;

    uint64_t mend_due_us;      /* while the epoch is unsafe */
    uint64_t hold_until_us;    /* 0: does not hold back (any more) */
    uint64_t changed_us;       /* when the view first changed since the last delta; 0: it has not */
    struct nk_map state_asked; /* peers that wait for the whole state -> anything */

    bool pages_stale;
    uint64_t pages_due_us;
    struct nk_board cluster_page; /* JSON */
    struct nk_board targets_page;

    bool stopping;
    struct nk_arena arena; /* of the frame being received */
    struct nk_buf frame;   /* being sent */
};

static uint64_t now_us(const struct gossip *gossip)
{
    return nk_mono_us(&gossip->env->clock);
}

static void note_change(struct gossip *gossip)
{
    if (gossip->changed_us == 0 && gossip_view_changed(gossip->view)) {
        gossip->changed_us = now_us(gossip);
    }
}

/* The registry is bounded below the view, so there is room. */
static void show_member(struct gossip *gossip, const struct nk_cluster_member *member)
{
    enum nk_err err = gossip_view_put_member(gossip->view, member);
    NK_ASSERT(err == NK_OK);
}

static void log_member(struct gossip *gossip, enum nk_log_level level, const char *what,
                       const struct nk_cluster_member *member)
{
    NK_LOG_AT(&gossip->env->log, level, target, what, NK_LOG_TEXT("node_id", member->node_id),
              NK_LOG_TEXT("role", member->role), NK_LOG_NUMBER("session", member->session),
              NK_LOG_TEXT("talk_address", member->talk_address));
}

/* ---- What is remembered ---- */

static void member_key(const struct nk_cluster_member *member, struct nk_text *key)
{
    nk_text_add(key, member_key_prefix);
    nk_text_add(key, member->node_id);
    nk_text_add(key, "/");
    nk_text_add(key, member->role);
}

#define MEMBER_KEY_BYTES ((size_t)128) /* prefix, node id, slash, role */

static void save_changed(struct gossip *gossip)
{
    const struct nk_meta *meta = &gossip->env->meta;
    size_t position = 0;
    struct gossip_registration *registration;
    while ((registration = gossip_registry_next(&gossip->registry, &position)) != NULL) {
        if (!registration->unsaved) {
            continue;
        }
        char memory[MEMBER_KEY_BYTES];
        struct nk_text key;
        nk_text_init(&key, memory, sizeof memory);
        member_key(&registration->member, &key);
        nk_buf_clear(&gossip->frame);
        gossip_wire_write_member(&registration->member, &gossip->frame);
        enum nk_err err = meta->ops->put(meta->ctx, nk_bytes_of(key.data, key.size),
                                         nk_buf_bytes(&gossip->frame));
        if (err != NK_OK) {
            /* It is only a comfort of the next start. */
            nk_log_warn(&gossip->env->log, target, "cannot save a registration",
                        NK_LOG_TEXT("err", nk_err_name(err)));
        }
        registration->unsaved = false;
    }
}

static void forget_saved(struct gossip *gossip, const struct nk_cluster_member *member)
{
    const struct nk_meta *meta = &gossip->env->meta;
    char memory[MEMBER_KEY_BYTES];
    struct nk_text key;
    nk_text_init(&key, memory, sizeof memory);
    member_key(member, &key);
    enum nk_err err = meta->ops->remove(meta->ctx, nk_bytes_of(key.data, key.size));
    if (err != NK_OK) {
        nk_log_warn(&gossip->env->log, target, "cannot remove a saved registration",
                    NK_LOG_TEXT("err", nk_err_name(err)));
    }
}

static void remember(void *visitor, struct nk_bytes key, struct nk_bytes value)
{
    struct gossip *gossip = visitor;
    struct nk_cluster_member member;
    if (gossip_wire_read_member(value, &gossip->arena, &member) != NK_OK ||
        member.state != NK_MEMBER_ALIVE ||
        gossip_registry_find(&gossip->registry, member.node_id, member.role) != NULL ||
        gossip_registry_remember(&gossip->registry, &member, now_us(gossip)) != NK_OK) {
        struct nk_text name;
        char memory[MEMBER_KEY_BYTES];
        nk_text_init(&name, memory, sizeof memory);
        nk_text_add_escaped(&name, key);
        nk_log_warn(&gossip->env->log, target, "a saved registration is not readable",
                    NK_LOG_TEXT("key", memory));
    } else {
        show_member(gossip, &member);
    }
    nk_arena_reset(&gossip->arena);
}

/* ---- Init ---- */

static void describe_self(struct gossip *gossip)
{
    const struct nk_net *net = &gossip->env->net;
    struct nk_cluster_member *self = &gossip->self;
    (void)snprintf(self->node_id, sizeof self->node_id, "%s", gossip->context->config->node_id);
    (void)snprintf(self->role, sizeof self->role, "%s", gossip_role_ops.name);
    (void)snprintf(self->talk_address, sizeof self->talk_address, "%s",
                   net->ops->talk_address(net->ctx));
    (void)snprintf(self->http_address, sizeof self->http_address, "%s",
                   gossip->context->http_address);
    self->session = gossip->context->session;
    self->state = NK_MEMBER_ALIVE;
}

static void role_deinit(void **role)
{
    struct gossip *gossip = *role;
    if (gossip == NULL) {
        return;
    }
    gossip_registry_deinit(&gossip->registry);
    gossip_view_free(&gossip->view);
    swim_close(&gossip->swim);
    nk_map_deinit(&gossip->state_asked);
    nk_board_deinit(&gossip->cluster_page);
    nk_board_deinit(&gossip->targets_page);
    nk_arena_deinit(&gossip->arena);
    nk_buf_deinit(&gossip->frame);
    nk_free(gossip);
    *role = NULL;
}

static enum nk_err recall(struct gossip *gossip, struct nk_text *reason)
{
    const struct nk_meta *meta = &gossip->env->meta;
    enum nk_err err = gossip_epoch_open(&gossip->epoch, meta, nk_wall_ms(&gossip->env->clock));
    if (err == NK_OK && gossip->epoch.guessed) {
        nk_log_warn(&gossip->env->log, target,
                    "the saved epoch is not readable: set aside for one above the clock",
                    NK_LOG_NUMBER("epoch", gossip->epoch.last));
    }
    if (err == NK_OK) {
        err = meta->ops->list(meta->ctx, nk_bytes_of_string(member_key_prefix), remember, gossip);
    }
    if (err != NK_OK) {
        nk_text_add(reason, "gossip's saved state cannot be read: ");
        nk_text_add(reason, nk_err_name(err));
    }
    return err;
}

static enum nk_err role_init(const struct nk_service_context *context, void **out_role,
                             struct nk_text *reason)
{
    struct gossip *gossip = nk_alloc_zero(1, sizeof *gossip);
    gossip->context = context;
    gossip->env = context->env;
    gossip_registry_init(&gossip->registry);
    gossip_view_new(context->session, &gossip->view);
    nk_map_init(&gossip->state_asked);
    nk_board_init(&gossip->cluster_page);
    nk_board_init(&gossip->targets_page);
    nk_arena_init(&gossip->arena, 64 * NK_KIB, MESSAGE_MEMORY_MAX);
    nk_buf_init(&gossip->frame);
    swim_open(context->config->node_id, context->session, &gossip->swim);
    *out_role = gossip;
    enum nk_err err = recall(gossip, reason);
    if (err != NK_OK) {
        role_deinit(out_role);
        return err;
    }
    describe_self(gossip);
    show_member(gossip, &gossip->self);
    if (gossip_registry_incomplete(&gossip->registry)) {
        gossip->hold_until_us = now_us(gossip) + HOLD_US;
    }
    gossip_metrics_init(&gossip->metrics, context->metrics);
    nk_health_beat(context->health);
    nk_health_set(context->health, NK_HEALTHY, "");
    nk_health_set_ready(context->health, true, "");
    return NK_OK;
}

/* ---- Frames ---- */

static void drop(struct gossip *gossip)
{
    nk_counter_add(&gossip->metrics.dropped, 1);
}

static void answer(struct gossip *gossip, nk_peer to, uint64_t session, enum nk_err err,
                   bool report_missing)
{
    const struct nk_net *net = &gossip->env->net;
    struct gossip_wire_registered registered = {
        .session = session,
        .listen_address = net->ops->listen_address(net->ctx),
        .publisher = gossip->context->session,
        .sequence = nk_cluster_sequence(gossip_view_cluster(gossip->view)),
        .err = err,
        .report_missing = report_missing,
    };
    nk_buf_clear(&gossip->frame);
    gossip_wire_write_registered(&registered, &gossip->frame);
    /* Who does not get it asks again. */
    (void)net->ops->send(net->ctx, to, nk_buf_bytes(&gossip->frame));
}

/* A process has seen an epoch of another publisher that is above ours: everything we tell it would
 * look old.  Telling ourselves anew makes a delta, and that a higher epoch. */
static void notice_epoch(struct gossip *gossip, uint64_t seen)
{
    if (!gossip_epoch_seen(&gossip->epoch, seen)) {
        drop(gossip);
    } else if (seen > nk_cluster_epoch(gossip_view_cluster(gossip->view))) {
        show_member(gossip, &gossip->self);
    }
}

static void registered(struct gossip *gossip, const struct nk_cluster_member *member,
                       enum gossip_registered what)
{
    bool shardhost = strcmp(member->role, "shardhost") == 0;
    switch (what) {
    case GOSSIP_REGISTERED_SAME:
        return;
    case GOSSIP_REGISTERED_NEW:
        log_member(gossip, NK_LOG_INFO, "a process has registered", member);
        break;
    case GOSSIP_REGISTERED_CHANGED:
        log_member(gossip, NK_LOG_INFO, "a process has changed", member);
        break;
    case GOSSIP_REGISTERED_REBORN:
        log_member(gossip, NK_LOG_INFO, "a process was started anew", member);
        if (shardhost) {
            gossip_view_node_reborn(gossip->view, member->node_id);
        }
        break;
    case GOSSIP_REGISTERED_BACK:
        log_member(gossip, NK_LOG_INFO, "a failed process is back", member);
        nk_counter_add(&gossip->metrics.membership_flaps, 1);
        break;
    }
    show_member(gossip, member);
}

static void receive_register(struct gossip *gossip, nk_peer from, struct nk_bytes message)
{
    struct gossip_wire_register request;
    if (gossip_wire_read_register(message, &gossip->arena, &request) != NK_OK) {
        drop(gossip);
        return;
    }
    notice_epoch(gossip, request.epoch_seen);
    enum gossip_registered what;
    enum nk_err err =
        gossip_registry_register(&gossip->registry, &request.member, now_us(gossip), &what);
    if (err == NK_OK) {
        registered(gossip, &request.member, what);
    } else {
        log_member(gossip, NK_LOG_WARN, "a registration was refused", &request.member);
    }
    answer(gossip, from, request.member.session, err, false);
}

/* Frames of one partner come in order, so what it had reported before this heartbeat has come, or
 * never will. */
static bool is_report_missing(struct gossip *gossip, const struct gossip_wire_heartbeat *heartbeat)
{
    const struct gossip_registration *registration =
        gossip_registry_find(&gossip->registry, heartbeat->node_id, heartbeat->role);
    return registration != NULL &&
           (registration->report_lost || registration->reports != heartbeat->reports);
}

static void note_report(struct gossip_registration *reporter,
                        const struct gossip_wire_report *report)
{
    bool next = report->sequence == reporter->reports + 1;
    reporter->report_lost = !report->first_of_all && (reporter->report_lost || !next);
    reporter->reports = report->sequence;
    reporter->reported = true;
}

static void receive_heartbeat(struct gossip *gossip, nk_peer from, struct nk_bytes message)
{
    struct gossip_wire_heartbeat heartbeat;
    if (gossip_wire_read_heartbeat(message, &gossip->arena, &heartbeat) != NK_OK) {
        drop(gossip);
        return;
    }
    notice_epoch(gossip, heartbeat.epoch_seen);
    enum nk_err err = NK_NOT_FOUND;
    if (heartbeat.publisher == gossip->context->session) {
        err = gossip_registry_heartbeat(&gossip->registry, heartbeat.node_id, heartbeat.role,
                                        heartbeat.session, now_us(gossip));
    }
    bool report_missing = err == NK_OK && is_report_missing(gossip, &heartbeat);
    answer(gossip, from, heartbeat.session, err, report_missing);
}

static void receive_report(struct gossip *gossip, struct nk_bytes message)
{
    struct gossip_wire_report report;
    if (gossip_wire_read_report(message, &gossip->arena, &report) != NK_OK) {
        drop(gossip);
        return;
    }
    struct gossip_registration *reporter =
        gossip_registry_find(&gossip->registry, report.node_id, "shardhost");
    if (reporter == NULL || !reporter->here || reporter->member.session != report.session) {
        drop(gossip); /* it reports everything again once it has registered */
        return;
    }
    note_report(reporter, &report);
    for (size_t i = 0; i < report.shard_count; i++) {
        gossip_view_report(gossip->view, report.node_id, &report.shards[i]);
    }
}

static void receive_state_request(struct gossip *gossip, nk_peer from)
{
    if (gossip->state_asked.count >= NK_PEERS_MAX) {
        drop(gossip);
        return;
    }
    (void)nk_map_put(&gossip->state_asked, nk_map_key_u64(&from), gossip);
}

static void role_receive(void *role, nk_peer from, struct nk_bytes frame)
{
    struct gossip *gossip = role;
    enum nk_frame_type type;
    struct nk_bytes message;
    if (nk_frame_parse(frame, &type, &message) != NK_OK) {
        drop(gossip);
        return;
    }
    switch (type) {
    case NK_FRAME_REGISTER:
        receive_register(gossip, from, message);
        break;
    case NK_FRAME_HEARTBEAT:
        receive_heartbeat(gossip, from, message);
        break;
    case NK_FRAME_SHARD_REPORT:
        receive_report(gossip, message);
        break;
    case NK_FRAME_STATE_REQUEST:
        receive_state_request(gossip, from);
        break;
    default:
        drop(gossip);
        break;
    }
    nk_arena_reset(&gossip->arena);
    note_change(gossip);
}

/* ---- The tick ---- */

static void lease_changed(void *ctx, const struct gossip_registration *registration, bool forgotten)
{
    struct gossip *gossip = ctx;
    const struct nk_cluster_member *member = &registration->member;
    if (forgotten) {
        log_member(gossip, NK_LOG_INFO, "a failed process is forgotten", member);
        gossip_view_remove_member(gossip->view, member->node_id, member->role);
        forget_saved(gossip, member);
        return;
    }
    log_member(gossip, NK_LOG_WARN, "a process has failed: its lease ended", member);
    nk_counter_add(&gossip->metrics.swim_failed_members, 1);
    show_member(gossip, member);
    if (strcmp(member->role, "shardhost") == 0) {
        gossip_view_node_failed(gossip->view, member->node_id);
    }
}

static void step_swim(struct gossip *gossip, uint64_t now)
{
    struct swim_output output;
    swim_tick(gossip->swim, now / NK_US_PER_MS, &output);
    if (output.event_count > 0) {
        nk_gauge_set(&gossip->metrics.swim_cluster_size, (int64_t)swim_member_count(gossip->swim));
    }
}

static bool holding_back(struct gossip *gossip, uint64_t now)
{
    if (gossip->hold_until_us != 0 &&
        (now >= gossip->hold_until_us || !gossip_registry_incomplete(&gossip->registry))) {
        gossip->hold_until_us = 0;
    }
    return gossip->hold_until_us != 0;
}

static void publish_changes(struct gossip *gossip, uint64_t now)
{
    const struct nk_net *net = &gossip->env->net;
    while (gossip_view_changed(gossip->view)) {
        bool was_unsafe = gossip->epoch.unsafe;
        uint64_t epoch = gossip_epoch_next(&gossip->epoch, nk_wall_ms(&gossip->env->clock));
        if (gossip->epoch.unsafe && !was_unsafe) {
            nk_log_warn(&gossip->env->log, target, "cannot save the epoch",
                        NK_LOG_NUMBER("epoch", epoch));
        }
        nk_buf_clear(&gossip->frame);
        gossip_view_delta(gossip->view, epoch, &gossip->frame);
        net->ops->publish(net->ctx, nk_buf_bytes(&gossip->frame));
        nk_gauge_set(&gossip->metrics.cluster_view_epoch, (int64_t)epoch);
        gossip->pages_stale = true;
    }
    if (gossip->changed_us != 0) {
        nk_histogram_observe(&gossip->metrics.swim_gossip_latency, now - gossip->changed_us);
        gossip->changed_us = 0;
    }
}

/* A quiet cluster has no next epoch that would try again. */
static void mend_epoch(struct gossip *gossip, uint64_t now)
{
    if (!gossip->epoch.unsafe || now < gossip->mend_due_us) {
        return;
    }
    gossip_epoch_mend(&gossip->epoch);
    gossip->mend_due_us = now + MEND_INTERVAL_US;
    gossip->pages_stale |= !gossip->epoch.unsafe;
}

static void answer_state_requests(struct gossip *gossip)
{
    const struct nk_net *net = &gossip->env->net;
    if (gossip->state_asked.count == 0) {
        return;
    }
    nk_buf_clear(&gossip->frame);
    size_t missing = gossip_view_snapshot(gossip->view, &gossip->frame);
    if (missing > 0) {
        nk_log_warn(&gossip->env->log, target, "the state does not fit a frame: shards left out",
                    NK_LOG_NUMBER("shards", missing));
    }
    size_t position = 0;
    struct nk_map_entry *entry;
    while ((entry = nk_map_next(&gossip->state_asked, &position)) != NULL) {
        nk_peer peer;
        memcpy(&peer, entry->key, sizeof peer);
        /* Who does not get it asks again. */
        (void)net->ops->send(net->ctx, peer, nk_buf_bytes(&gossip->frame));
    }
    nk_map_deinit(&gossip->state_asked);
}

static bool everybody_alive(const struct nk_cluster *cluster)
{
    for (size_t i = 0; i < nk_cluster_member_count(cluster); i++) {
        if (nk_cluster_member_at(cluster, i)->state != NK_MEMBER_ALIVE) {
            return false;
        }
    }
    return true;
}

/* What HTTP threads read: the pages and the health. */
static void show_pages(struct gossip *gossip, uint64_t now)
{
    if (!gossip->pages_stale || now < gossip->pages_due_us) {
        return;
    }
    gossip->pages_stale = false;
    gossip->pages_due_us = now + PAGES_INTERVAL_US;
    const struct nk_cluster *cluster = gossip_view_cluster(gossip->view);
    nk_buf_clear(&gossip->frame);
    nk_cluster_view_json(cluster, &gossip->frame);
    nk_board_show(&gossip->cluster_page, nk_buf_bytes(&gossip->frame));
    nk_buf_clear(&gossip->frame);
    nk_cluster_targets_json(cluster, &gossip->frame);
    nk_board_show(&gossip->targets_page, nk_buf_bytes(&gossip->frame));
    nk_cluster_show_nodes(cluster, gossip->context->health);
    nk_gauge_set(&gossip->metrics.processes, (int64_t)nk_cluster_member_count(cluster));
    if (gossip->epoch.unsafe) {
        nk_health_set(gossip->context->health, NK_DEGRADED, "metadata-not-written");
    } else if (!everybody_alive(cluster)) {
        nk_health_set(gossip->context->health, NK_DEGRADED, "process-failed");
    } else {
        nk_health_set(gossip->context->health, NK_HEALTHY, "");
    }
}

static uint64_t role_tick(void *role)
{
    struct gossip *gossip = role;
    uint64_t now = now_us(gossip);
    nk_health_beat(gossip->context->health);
    step_swim(gossip, now);
    gossip_registry_expire(&gossip->registry, now, lease_changed, gossip);
    note_change(gossip);
    uint64_t next_us = nk_min_u64(now + BEAT_US, gossip_registry_next_us(&gossip->registry));
    if (holding_back(gossip, now)) {
        next_us = nk_min_u64(next_us, gossip->hold_until_us);
    } else {
        publish_changes(gossip, now);
        answer_state_requests(gossip);
    }
    save_changed(gossip);
    mend_epoch(gossip, now);
    show_pages(gossip, now);
    return gossip->pages_stale ? nk_min_u64(next_us, gossip->pages_due_us) : next_us;
}

/* ---- The end ---- */

static void role_stop(void *role)
{
    struct gossip *gossip = role;
    gossip->stopping = true;
    nk_health_set_ready(gossip->context->health, false, "stopping");
}

/* Nothing is ever under way between two ticks. */
static bool role_stopped(void *role)
{
    return ((struct gossip *)role)->stopping;
}

/* Nothing that goes wrong here is worth ending for: a view that stands still is better than none.
 */
static enum nk_err role_fault(void *role, struct nk_text *reason)
{
    (void)role;
    (void)reason;
    return NK_OK;
}

void gossip_cluster_json(struct gossip *gossip, struct nk_buf *out)
{
    nk_board_copy(&gossip->cluster_page, out);
}

void gossip_targets_json(struct gossip *gossip, struct nk_buf *out)
{
    nk_board_copy(&gossip->targets_page, out);
}

const struct nk_role_ops gossip_role_ops = {
    .name = "gossip",
    .init = role_init,
    .receive = role_receive,
    .tick = role_tick,
    .stop = role_stop,
    .stopped = role_stopped,
    .deinit = role_deinit,
    .fault = role_fault,
};
