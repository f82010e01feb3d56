/* Two states: registering (publisher_confirmed == false) sends Register until a Registered comes;
 * registered sends heartbeats.  Every answer names the publisher, an incarnation of gossip: another
 * one than before means that gossip has forgotten us, and we begin again.
 *
 * Updates come over the link that we listen on, snapshots over the one that we talk on, in no
 * common order.  A subscription is also not up the moment it is asked for.  So each answer to a
 * heartbeat tells the number of gossip's last update, and the first heartbeats follow each other
 * closely: whatever was missed in between is noticed within milliseconds.
 *
 * The other way it is the same: reports are numbered, each heartbeat tells the last number, and the
 * answer says whether one of them got lost; then all shards are reported once more. */
#include "common/service/member.h"

#include "common/base/alloc.h"
#include "common/base/list.h"
#include "common/base/map.h"

#include "field.h"

#define RETRY_US          (100 * NK_US_PER_MS) /* unanswered registrations and state requests */
#define REFUSED_RETRY_US  NK_US_PER_SEC        /* gossip said no: busy, or an unknown reason */
#define ADDRESS_TRY_US    NK_US_PER_SEC        /* without an answer, then the next address */
#define FIRST_BEAT_US     (25 * NK_US_PER_MS)  /* then twice as long, up to a third of the lease */
#define LEASE_MS_MIN      ((uint32_t)100)
#define LEASE_MS_MAX      ((uint32_t)600000)
#define SHARDS_PER_REPORT ((size_t)256)
#define UPDATE_MEMORY_MAX ((size_t)(64 * NK_MIB)) /* what a received message may unpack to */

struct report {
    struct nk_cluster_shard shard;
    struct nk_list unsent; /* linked: gossip has not been told */
};

struct nk_member {
    const struct nk_service_context *context;
    struct nk_cluster_member self;
    struct nk_cluster *cluster;
    uint64_t generation;
    struct nk_counter dropped;
    enum nk_err fault;

    char local_address[NK_PATH_BYTES_MAX];
    size_t address_index; /* < address_count() */
    nk_peer talk;         /* 0: not open */
    nk_peer listen;       /* 0: not open */
    char listen_address[NK_ADDRESS_BYTES_MAX + 1];

    bool confirmed;       /* gossip has our `self` as it is now */
    uint64_t publisher;   /* that accepted us; 0: none, or its lease ran out */
    uint64_t lease_us;    /* as long as it said */
    uint64_t answered_us; /* when it last accepted us; publisher != 0 */
    uint64_t tried_us;    /* since when this address is being tried; publisher == 0 */
    uint64_t send_due_us; /* the next Register or Heartbeat */
    uint64_t beat_us;     /* the distance to the heartbeat after it */
    uint64_t conflict_us; /* since when registering is refused for another process; 0: it is not */
    bool accepted_once;   /* by any gossip process, in this session */

    bool state_due;         /* ask for the whole state */
    uint64_t state_due_us;  /* but not before */
    uint64_t sequence_seen; /* the highest that `publisher` is known to have published */

    struct nk_map reports;  /* shard number -> struct report */
    struct nk_list unsent;  /* of them, the oldest change first */
    bool report_due;        /* even if nothing is unsent */
    bool report_all;        /* the next report is the first of all */
    uint64_t report_count;  /* sent */
    uint64_t report_due_us; /* but not before: the queue was full */

    struct nk_arena arena; /* of the message being received */
    struct nk_buf frame;   /* being sent */
};

static uint64_t now_us(const struct nk_member *member)
{
    return nk_mono_us(&member->context->env->clock);
}

static size_t address_count(const struct nk_member *member)
{
    size_t configured = member->context->config->bus.gossip_addrs.count;
    return configured > 0 ? configured : 1;
}

static const char *address_at(const struct nk_member *member, size_t i)
{
    const struct nk_config_list *configured = &member->context->config->bus.gossip_addrs;
    return configured->count > 0 ? configured->items[i] : member->local_address;
}

static void close_link(struct nk_member *member, nk_peer *link)
{
    const struct nk_net *net = &member->context->env->net;
    net->ops->close(net->ctx, *link);
    *link = 0;
}

/* ---- Open and close ---- */

void nk_member_open(const struct nk_service_context *context, const struct nk_cluster_member *self,
                    struct nk_member **out_member)
{
    struct nk_member *member = nk_alloc_zero(1, sizeof *member);
    member->context = context;
    member->self = *self;
    member->fault = NK_OK;
    nk_cluster_new(&member->cluster);
    struct nk_text address;
    nk_text_init(&address, member->local_address, sizeof member->local_address);
    nk_service_bus_address(context->config, "gossip", &address);
    member->tried_us = now_us(member);
    nk_map_init(&member->reports);
    nk_list_init(&member->unsent);
    nk_arena_init(&member->arena, 64 * NK_KIB, UPDATE_MEMORY_MAX);
    nk_buf_init(&member->frame);
    nk_registry_counter(context->metrics, "norikv_member_frames_dropped_total",
                        "Frames from gossip that made no sense.", &member->dropped);
    *out_member = member;
}

void nk_member_close(struct nk_member **member)
{
    if (member == NULL || *member == NULL) {
        return;
    }
    struct nk_member *m = *member;
    close_link(m, &m->talk);
    close_link(m, &m->listen);
    nk_cluster_free(&m->cluster);
    size_t position = 0;
    for (struct nk_map_entry *entry = nk_map_next(&m->reports, &position); entry != NULL;
         entry = nk_map_next(&m->reports, &position)) {
        nk_free(entry->value);
    }
    nk_map_deinit(&m->reports);
    nk_arena_deinit(&m->arena);
    nk_buf_deinit(&m->frame);
    nk_free(m);
    *member = NULL;
}

/* ---- Receiving ---- */

static void ask_for_state(struct nk_member *member)
{
    member->state_due = true;
}

/* An update that was published has not come: on the way still, or lost. */
static void ask_if_behind(struct nk_member *member)
{
    if (nk_cluster_publisher(member->cluster) == member->publisher &&
        nk_cluster_sequence(member->cluster) < member->sequence_seen) {
        ask_for_state(member);
    }
}

/* Gossip does not know us, or not as we are now. */
static void begin_registration(struct nk_member *member)
{
    if (member->publisher != 0) {
        member->tried_us = now_us(member);
    }
    member->publisher = 0;
    member->confirmed = false;
    member->send_due_us = 0;
}

static void listen_to(struct nk_member *member, const char *address)
{
    const struct nk_net *net = &member->context->env->net;
    if (member->listen != 0 && strcmp(address, member->listen_address) == 0) {
        return;
    }
    close_link(member, &member->listen);
    if (strlen(address) > NK_ADDRESS_BYTES_MAX ||
        net->ops->open(net->ctx, address, NK_LINK_LISTEN, &member->listen) != NK_OK) {
        /* Without the subscription the state still comes, by asking: slower, not wrong. */
        member->listen = 0;
        nk_counter_add(&member->dropped, 1);
        return;
    }
    field_copy(member->listen_address, sizeof member->listen_address, address);
}

static void report_everything(struct nk_member *member)
{
    size_t position = 0;
    for (struct nk_map_entry *entry = nk_map_next(&member->reports, &position); entry != NULL;
         entry = nk_map_next(&member->reports, &position)) {
        struct report *report = entry->value;
        if (!nk_list_linked(&report->unsent)) {
            nk_list_append(&member->unsent, &report->unsent);
        }
    }
    member->report_due = strcmp(member->self.role, "shardhost") == 0;
    member->report_all = true;
}

static void accepted(struct nk_member *member, const Norikv__Internal__V1__Registered *answer)
{
    uint32_t lease_ms = answer->lease_ms;
    if (answer->publisher == 0 || lease_ms < LEASE_MS_MIN || lease_ms > LEASE_MS_MAX) {
        nk_counter_add(&member->dropped, 1);
        return;
    }
    member->lease_us = lease_ms * NK_US_PER_MS;
    member->answered_us = now_us(member);
    member->conflict_us = 0;
    member->accepted_once = true;
    member->confirmed = true;
    listen_to(member, answer->listen_address);
    if (member->publisher != answer->publisher) {
        member->publisher = answer->publisher;
        member->sequence_seen = 0;
        member->beat_us = FIRST_BEAT_US;
        member->send_due_us = member->answered_us + member->beat_us;
        report_everything(member);
        ask_for_state(member);
    } else if (answer->report_missing) {
        report_everything(member);
    }
    member->sequence_seen = nk_max_u64(member->sequence_seen, answer->sequence);
    ask_if_behind(member);
}

/* Registering, it may be the process before us whose lease still runs: wait that long.  Once
 * accepted, it can only be a newer one. */
static void conflicting(struct nk_member *member, const Norikv__Internal__V1__Registered *answer)
{
    uint64_t now = now_us(member);
    if (member->conflict_us == 0) {
        member->conflict_us = now;
    }
    uint64_t patience_us = 2 * nk_min_u64(answer->lease_ms, LEASE_MS_MAX) * NK_US_PER_MS;
    if (member->accepted_once || now - member->conflict_us >= patience_us) {
        member->fault = NK_CONFLICT;
    }
    member->tried_us = now; /* it did answer */
}

static void receive_registered(struct nk_member *member,
                               const Norikv__Internal__V1__Registered *answer)
{
    if (answer->session != member->self.session) {
        nk_counter_add(&member->dropped, 1);
        return;
    }
    switch ((enum nk_err)answer->err) {
    case NK_OK:
        accepted(member, answer);
        break;
    case NK_NOT_FOUND:
        begin_registration(member);
        break;
    case NK_CONFLICT:
        conflicting(member, answer);
        break;
    default:
        begin_registration(member);
        member->send_due_us = now_us(member) + REFUSED_RETRY_US;
        break;
    }
}

static void receive_update(struct nk_member *member,
                           const Norikv__Internal__V1__StateUpdate *update)
{
    if (update->publisher == member->publisher) {
        member->sequence_seen = nk_max_u64(member->sequence_seen, update->sequence);
    } else if (member->publisher != 0) {
        begin_registration(member); /* gossip was started anew */
    }
    switch (nk_cluster_update(member->cluster, update)) {
    case NK_OK:
        member->generation++;
        member->state_due = false;
        member->state_due_us = 0;
        break;
    case NK_NOT_FOUND:
        ask_for_state(member);
        break;
    case NK_CONFLICT:
        if (update->snapshot && update->publisher != nk_cluster_publisher(member->cluster)) {
            /* Its epoch is not above ours: a heartbeat tells it, then we ask again. */
            member->send_due_us = 0;
            ask_for_state(member);
        }
        break;
    default:
        nk_counter_add(&member->dropped, 1);
        break;
    }
    ask_if_behind(member);
}

bool nk_member_receive(struct nk_member *member, nk_peer from, enum nk_frame_type type,
                       struct nk_bytes message)
{
    if (type != NK_FRAME_REGISTERED && type != NK_FRAME_STATE_UPDATE) {
        return false;
    }
    const ProtobufCMessageDescriptor *descriptor =
        type == NK_FRAME_REGISTERED ? &norikv__internal__v1__registered__descriptor
                                    : &norikv__internal__v1__state_update__descriptor;
    ProtobufCMessage *unpacked = NULL;
    if (from == member->talk || (from == member->listen && type == NK_FRAME_STATE_UPDATE)) {
        unpacked = nk_unpack(descriptor, message, &member->arena);
    }
    if (unpacked == NULL) {
        nk_counter_add(&member->dropped, 1);
    } else if (type == NK_FRAME_REGISTERED) {
        receive_registered(member, (const Norikv__Internal__V1__Registered *)unpacked);
    } else {
        receive_update(member, (const Norikv__Internal__V1__StateUpdate *)unpacked);
    }
    nk_arena_reset(&member->arena);
    return true;
}

/* ---- Sending ---- */

static enum nk_err send_message(struct nk_member *member, enum nk_frame_type type,
                                const ProtobufCMessage *message)
{
    const struct nk_net *net = &member->context->env->net;
    nk_buf_clear(&member->frame);
    nk_frame_pack(&member->frame, type, message);
    return net->ops->send(net->ctx, member->talk, nk_buf_bytes(&member->frame));
}

static enum nk_err send_register(struct nk_member *member)
{
    Norikv__Internal__V1__Member self;
    nk_cluster_member_write(&member->self, &self);
    Norikv__Internal__V1__Register message;
    norikv__internal__v1__register__init(&message);
    message.member = &self;
    message.epoch_seen = nk_cluster_epoch(member->cluster);
    return send_message(member, NK_FRAME_REGISTER, &message.base);
}

static enum nk_err send_heartbeat(struct nk_member *member)
{
    Norikv__Internal__V1__Heartbeat message;
    norikv__internal__v1__heartbeat__init(&message);
    message.node_id = member->self.node_id;
    message.role = member->self.role;
    message.session = member->self.session;
    message.epoch_seen = nk_cluster_epoch(member->cluster);
    message.publisher = member->publisher;
    message.reports = member->report_count;
    return send_message(member, NK_FRAME_HEARTBEAT, &message.base);
}

/* A lease without an answer, or an address without one: the next of the list. */
static void leave_silent_gossip(struct nk_member *member, uint64_t now)
{
    if (member->publisher != 0 && now - member->answered_us >= member->lease_us) {
        begin_registration(member);
        member->tried_us = now - ADDRESS_TRY_US;
    }
    if (member->publisher == 0 && now - member->tried_us >= ADDRESS_TRY_US) {
        member->tried_us = now;
        if (address_count(member) > 1) {
            close_link(member, &member->talk);
            member->address_index = (member->address_index + 1) % address_count(member);
        }
    }
}

/* False: there is no link, and none to be had now. */
static bool open_link(struct nk_member *member)
{
    if (member->talk == 0) {
        const struct nk_net *net = &member->context->env->net;
        const char *address = address_at(member, member->address_index);
        if (net->ops->open(net->ctx, address, NK_LINK_TALK, &member->talk) != NK_OK) {
            member->talk = 0;
        }
    }
    return member->talk != 0;
}

static void keep_lease(struct nk_member *member, uint64_t now)
{
    if (now < member->send_due_us) {
        return;
    }
    if (!member->confirmed) {
        (void)send_register(member);
        member->send_due_us = now + RETRY_US;
    } else if (send_heartbeat(member) == NK_OK) {
        member->send_due_us = now + member->beat_us;
        member->beat_us = nk_min_u64(2 * member->beat_us, member->lease_us / 3);
    } else {
        member->send_due_us = now + RETRY_US;
    }
}

/* One frame of the oldest unsent shards.  False: it could not be sent now. */
static bool send_report(struct nk_member *member)
{
    Norikv__Internal__V1__ShardState shards[SHARDS_PER_REPORT];
    Norikv__Internal__V1__ShardState *list[SHARDS_PER_REPORT];
    char *replicas[SHARDS_PER_REPORT][NK_CLUSTER_REPLICAS_MAX];
    size_t count = 0;
    for (struct nk_list *node = member->unsent.next;
         node != &member->unsent && count < SHARDS_PER_REPORT; node = node->next) {
        struct report *report = NK_CONTAINER_OF(node, struct report, unsent);
        nk_cluster_shard_write(&report->shard, replicas[count], &shards[count]);
        list[count] = &shards[count];
        count++;
    }
    Norikv__Internal__V1__ShardReport message;
    norikv__internal__v1__shard_report__init(&message);
    message.node_id = member->self.node_id;
    message.session = member->self.session;
    message.shards = list;
    message.n_shards = count;
    message.sequence = member->report_count + 1;
    message.first_of_all = member->report_all;
    if (send_message(member, NK_FRAME_SHARD_REPORT, &message.base) != NK_OK) {
        return false;
    }
    member->report_count++;
    member->report_all = false;
    while (count > 0) {
        nk_list_remove(member->unsent.next);
        count--;
    }
    return true;
}

static void send_reports(struct nk_member *member, uint64_t now)
{
    while (now >= member->report_due_us &&
           (member->report_due || !nk_list_empty(&member->unsent))) {
        if (send_report(member)) {
            member->report_due = false;
        } else {
            member->report_due_us = now + RETRY_US;
        }
    }
}

static void request_state(struct nk_member *member, uint64_t now)
{
    if (!member->state_due || now < member->state_due_us) {
        return;
    }
    Norikv__Internal__V1__StateRequest message;
    norikv__internal__v1__state_request__init(&message);
    (void)send_message(member, NK_FRAME_STATE_REQUEST, &message.base);
    member->state_due_us = now + RETRY_US; /* asks again unless the answer came */
}

uint64_t nk_member_tick(struct nk_member *member)
{
    uint64_t now = now_us(member);
    leave_silent_gossip(member, now);
    if (!open_link(member)) {
        return now + RETRY_US;
    }
    keep_lease(member, now);
    uint64_t next_us = member->send_due_us;
    if (member->publisher == 0) {
        return next_us;
    }
    send_reports(member, now);
    request_state(member, now);
    next_us = nk_min_u64(next_us, member->answered_us + member->lease_us);
    if (member->report_due || !nk_list_empty(&member->unsent)) {
        next_us = nk_min_u64(next_us, member->report_due_us);
    }
    if (member->state_due) {
        next_us = nk_min_u64(next_us, member->state_due_us);
    }
    return next_us;
}

/* ---- What the role says and asks ---- */

void nk_member_report_shard(struct nk_member *member, const struct nk_cluster_shard *shard)
{
    struct nk_bytes key = nk_bytes_of(&shard->shard, sizeof shard->shard);
    struct report *report = nk_map_get(&member->reports, key);
    if (report == NULL) {
        report = nk_alloc_zero(1, sizeof *report);
        nk_list_init(&report->unsent);
        (void)nk_map_put(&member->reports, key, report);
    }
    report->shard = *shard;
    if (!nk_list_linked(&report->unsent)) {
        nk_list_append(&member->unsent, &report->unsent);
    }
}

bool nk_member_registered(const struct nk_member *member)
{
    return member->accepted_once && now_us(member) - member->answered_us < member->lease_us;
}

const struct nk_cluster *nk_member_cluster(const struct nk_member *member)
{
    return member->cluster;
}

uint64_t nk_member_generation(const struct nk_member *member)
{
    return member->generation;
}

uint64_t nk_member_dropped(struct nk_member *member)
{
    return nk_counter_get(&member->dropped);
}

enum nk_err nk_member_fault(const struct nk_member *member)
{
    return member->fault;
}
