/* Frames between processes, as common/env/net.h promises them and no better.  Each is delayed on
 * its own; on one link they keep their order and none comes twice, as on a connection.  Any may be
 * lost, and a connection that breaks loses all that is under way.  A frame for a process that died
 * is lost, or waits in a queue and reaches its next incarnation: that is what message queues do,
 * and nobody may count on either. */

#include "tests/sim/sim.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/hash.h"
#include "proto/frame.h"

struct frame {
    struct sim_event event;
    struct nk_list link; /* in to->inbox */
    uint64_t breaks;     /* of the connection, when it was sent */
    struct sim_process *from;
    uint64_t from_incarnation;
    nk_peer from_link; /* the sender's link; 0: an answer */
    struct sim_process *to;
    uint64_t to_incarnation;
    nk_peer to_peer; /* as the receiver names the sender; 0: find or make an inbound partner */
    size_t size;
    uint8_t data[];
};

static struct sim_process *process_at(struct sim_world *world, const char *address, bool listens)
{
    for (enum sim_role which = 0; which < SIM_ROLE_COUNT; which++) {
        struct sim_process *process = &world->processes[which];
        if (strcmp(listens ? process->listen_address : process->talk_address, address) == 0) {
            return process;
        }
    }
    return NULL;
}

static struct sim_link *link_of(struct sim_process *process, nk_peer peer)
{
    for (size_t i = 0; i < process->link_count; i++) {
        if (process->links[i].peer == peer) {
            return &process->links[i];
        }
    }
    return NULL;
}

static struct sim_inbound *inbound_of(struct sim_process *process, nk_peer peer)
{
    for (size_t i = 0; i < process->inbound_count; i++) {
        if (process->inbound[i].peer == peer) {
            return &process->inbound[i];
        }
    }
    return NULL;
}

/* The partner for frames of `from`'s link; its oldest partner is forgotten when there are many. */
static nk_peer inbound_for(struct sim_process *process, const struct frame *frame)
{
    for (size_t i = 0; i < process->inbound_count; i++) {
        const struct sim_inbound *inbound = &process->inbound[i];
        if (inbound->from == frame->from && inbound->from_incarnation == frame->from_incarnation &&
            inbound->from_link == frame->from_link) {
            return inbound->peer;
        }
    }
    if (process->inbound_count == SIM_LINKS_MAX) {
        memmove(process->inbound, process->inbound + 1,
                (SIM_LINKS_MAX - 1) * sizeof process->inbound[0]);
        process->inbound_count--;
    }
    struct sim_inbound *inbound = &process->inbound[process->inbound_count++];
    *inbound = (struct sim_inbound){process->peer_next++, frame->from, frame->from_incarnation,
                                    frame->from_link, 0};
    return inbound->peer;
}

static void free_frame(struct frame *frame)
{
    struct sim_world *world = frame->to->world;
    NK_ASSERT(world->under_way[frame->from->which][frame->to->which] > 0);
    world->under_way[frame->from->which][frame->to->which]--;
    nk_free(frame);
}

/* Its connection is gone.  What was asked may wait in a queue for the next incarnation. */
static void not_there(struct frame *frame)
{
    struct sim_process *to = frame->to;
    struct sim_world *world = to->world;
    bool asks = frame->from_link != 0 && frame->to_peer == 0;
    if (world->ending || !asks || !nk_prng_chance(&world->prng, world->temper.frame_waits)) {
        free_frame(frame);
        return;
    }
    frame->to_incarnation = to->role == NULL ? to->incarnation + 1 : to->incarnation;
    frame->breaks = world->breaks[frame->from->which][to->which];
    sim_at(world, world->now_us + nk_prng_between(&world->prng, 1000, world->temper.frame_waits_us),
           &frame->event);
}

/* For the trace. */
static const char *type_name(struct nk_bytes frame)
{
    static const char *const names[NK_FRAME_TYPE_LIMIT] = {
        [NK_FRAME_SHARD_REQUESTS] = "requests", [NK_FRAME_SHARD_REPLIES] = "replies",
        [NK_FRAME_REGISTER] = "register",       [NK_FRAME_REGISTERED] = "registered",
        [NK_FRAME_HEARTBEAT] = "heartbeat",     [NK_FRAME_SHARD_REPORT] = "report",
        [NK_FRAME_STATE_REQUEST] = "state?",    [NK_FRAME_STATE_UPDATE] = "state",
    };
    enum nk_frame_type type;
    struct nk_bytes message;
    bool good = nk_frame_parse(frame, &type, &message) == NK_OK && names[type] != NULL;
    return good ? names[type] : "frame";
}

static void hand_over(struct frame *frame)
{
    struct sim_process *to = frame->to;
    struct sim_world *world = to->world;
    nk_peer peer = frame->to_peer;
    bool known = peer == 0 || link_of(to, peer) != NULL;
    if (peer == 0) {
        peer = inbound_for(to, frame);
    }
    if (known) {
        struct nk_bytes bytes = nk_bytes_of(frame->data, frame->size);
        sim_trace(world, type_name(bytes), to->ops->name, nk_xxh64(bytes, peer));
        sim_wire_delivered(to, peer, bytes);
        to->ops->receive(to->role, peer, bytes);
        sim_process_soon(to);
    }
    free_frame(frame);
}

static void deliver(struct sim_event *event)
{
    struct frame *frame = NK_CONTAINER_OF(event, struct frame, event);
    struct sim_process *to = frame->to;
    struct sim_world *world = to->world;
    if (world->ending || frame->breaks != world->breaks[frame->from->which][to->which]) {
        free_frame(frame);
    } else if (frame->to_incarnation != to->incarnation || to->role == NULL) {
        not_there(frame);
    } else if (sim_process_paused(to) || !nk_list_empty(&to->inbox)) {
        nk_list_append(&to->inbox, &frame->link);
    } else {
        hand_over(frame);
    }
}

void sim_net_resume(struct sim_process *process)
{
    while (process->role != NULL && !process->kill_due && !nk_list_empty(&process->inbox)) {
        struct frame *frame = NK_CONTAINER_OF(process->inbox.next, struct frame, link);
        nk_list_remove(&frame->link);
        if (frame->breaks != process->world->breaks[frame->from->which][process->which]) {
            free_frame(frame);
        } else {
            hand_over(frame);
        }
    }
}

/* Whoever reconnects is somebody new. */
static void forget_inbound(struct sim_process *process, const struct sim_process *from)
{
    size_t kept = 0;
    for (size_t i = 0; i < process->inbound_count; i++) {
        if (process->inbound[i].from != from) {
            process->inbound[kept++] = process->inbound[i];
        }
    }
    process->inbound_count = kept;
}

void sim_net_break(struct sim_world *world, enum sim_role a, enum sim_role b, uint64_t down_us)
{
    sim_trace(world, "break", world->processes[a].ops->name, b);
    world->breaks[a][b]++;
    world->broken_until_us[a][b] = world->now_us + down_us;
    world->breaks[b][a] = world->breaks[a][b];
    world->broken_until_us[b][a] = world->broken_until_us[a][b];
    forget_inbound(&world->processes[a], &world->processes[b]);
    forget_inbound(&world->processes[b], &world->processes[a]);
}

static uint64_t delay_of(struct sim_world *world)
{
    const struct sim_temper *temper = &world->temper;
    uint64_t delay_us = nk_prng_between(&world->prng, 20, temper->frame_us_max);
    if (nk_prng_chance(&world->prng, temper->frame_slow)) {
        delay_us += nk_prng_below(&world->prng, temper->frame_slow_us);
    }
    return delay_us;
}

/* What the connection says to a frame. */
static enum nk_err admit(struct sim_process *from, struct sim_process *to)
{
    struct sim_world *world = from->world;
    if (world->now_us < world->broken_until_us[from->which][to->which] &&
        nk_prng_chance(&world->prng, 500000)) {
        return NK_UNAVAILABLE;
    }
    return world->under_way[from->which][to->which] < world->temper.queue_frames_max ? NK_OK
                                                                                     : NK_BUSY;
}

static bool is_lost(struct sim_process *from, struct sim_process *to)
{
    struct sim_world *world = from->world;
    return world->now_us < world->broken_until_us[from->which][to->which] ||
           nk_prng_chance(&world->prng, world->temper.frame_lost);
}

static void send_frame(struct sim_process *from, nk_peer from_link, struct sim_process *to,
                       nk_peer to_peer, struct nk_bytes bytes, uint64_t *arrival_us)
{
    struct sim_world *world = from->world;
    struct frame *frame = nk_alloc(sizeof *frame + bytes.size);
    memset(frame, 0, sizeof *frame);
    frame->event.name = "frame";
    frame->event.fire = deliver;
    nk_list_init(&frame->link);
    frame->from = from;
    frame->from_incarnation = from->incarnation;
    frame->from_link = from_link;
    frame->to = to;
    frame->to_incarnation = to->incarnation;
    frame->to_peer = to_peer;
    frame->breaks = world->breaks[from->which][to->which];
    frame->size = bytes.size;
    if (bytes.size > 0) {
        memcpy(frame->data, bytes.data, bytes.size);
    }
    world->under_way[from->which][to->which]++;
    *arrival_us = nk_max_u64(*arrival_us, world->now_us + delay_of(world));
    sim_at(world, *arrival_us, &frame->event);
}

/* One frame of a conversation: refused, lost or under way. */
static enum nk_err converse(struct sim_process *from, nk_peer from_link, struct sim_process *to,
                            nk_peer to_peer, struct nk_bytes bytes, uint64_t *arrival_us)
{
    enum nk_err err = admit(from, to);
    if (err == NK_OK && !is_lost(from, to)) {
        send_frame(from, from_link, to, to_peer, bytes, arrival_us);
    }
    return err;
}

/* A process that dies in the middle of its burst: this one does not leave any more. */
static bool is_mute(struct sim_process *process)
{
    if (process->dying || process->kill_due) {
        return true;
    }
    if (process->sends_left > 0 && --process->sends_left == 0) {
        process->kill_due = true;
        return true;
    }
    return false;
}

static enum nk_err net_open(void *ctx, const char *address, enum nk_link_kind kind,
                            nk_peer *out_peer)
{
    struct sim_process *process = ctx;
    if (strncmp(address, "sim://", 6) != 0) {
        return NK_INVALID;
    }
    if (process->link_count == SIM_LINKS_MAX) {
        return NK_BUSY;
    }
    struct sim_link *link = &process->links[process->link_count++];
    *link = (struct sim_link){.peer = process->peer_next++, .listens = kind == NK_LINK_LISTEN};
    (void)snprintf(link->address, sizeof link->address, "%s", address);
    *out_peer = link->peer;
    return NK_OK;
}

static void net_close(void *ctx, nk_peer peer)
{
    struct sim_process *process = ctx;
    struct sim_link *link = link_of(process, peer);
    if (link != NULL) {
        *link = process->links[process->link_count - 1];
        process->link_count--;
    }
}

static enum nk_err net_send(void *ctx, nk_peer peer, struct nk_bytes frame)
{
    struct sim_process *process = ctx;
    if (is_mute(process)) {
        return NK_UNAVAILABLE;
    }
    struct sim_link *link = link_of(process, peer);
    if (link != NULL) {
        struct sim_process *to = process_at(process->world, link->address, false);
        if (link->listens || to == NULL || to->role == NULL) {
            return NK_UNAVAILABLE;
        }
        sim_wire_sent(process, peer, frame);
        return converse(process, link->peer, to, 0, frame, &link->arrival_us);
    }
    struct sim_inbound *inbound = inbound_of(process, peer);
    if (inbound == NULL || inbound->from->role == NULL ||
        inbound->from->incarnation != inbound->from_incarnation) {
        return NK_UNAVAILABLE;
    }
    sim_wire_sent(process, peer, frame);
    return converse(process, 0, inbound->from, inbound->from_link, frame, &inbound->arrival_us);
}

static void net_publish(void *ctx, struct nk_bytes frame)
{
    struct sim_process *process = ctx;
    struct sim_world *world = process->world;
    if (is_mute(process)) {
        return;
    }
    for (enum sim_role which = 0; which < SIM_ROLE_COUNT; which++) {
        struct sim_process *to = &world->processes[which];
        for (size_t i = 0; to->role != NULL && i < to->link_count; i++) {
            struct sim_link *link = &to->links[i];
            if (link->listens && strcmp(link->address, process->listen_address) == 0 &&
                world->now_us >= world->broken_until_us[process->which][which] &&
                !nk_prng_chance(&world->prng, world->temper.publication_lost)) {
                send_frame(process, 0, to, link->peer, frame, &link->arrival_us);
            }
        }
    }
}

static const char *net_talk_address(void *ctx)
{
    struct sim_process *process = ctx;
    return process->talk_address;
}

static const char *net_listen_address(void *ctx)
{
    struct sim_process *process = ctx;
    return process->which == SIM_GOSSIP ? process->listen_address : "";
}

static const struct nk_net_ops net_ops = {
    .open = net_open,
    .close = net_close,
    .send = net_send,
    .publish = net_publish,
    .talk_address = net_talk_address,
    .listen_address = net_listen_address,
};

void sim_net_attach(struct sim_process *process)
{
    process->env.net = (struct nk_net){&net_ops, process};
}

void sim_net_detach(struct sim_process *process)
{
    while (!nk_list_empty(&process->inbox)) {
        struct frame *frame = NK_CONTAINER_OF(process->inbox.next, struct frame, link);
        nk_list_remove(&frame->link);
        not_there(frame);
    }
    process->sends_left = 0;
    process->link_count = 0;
    process->inbound_count = 0;
}
