/* Frames between processes.  Each is delayed on its own; on one link they keep their order, as on a
 * connection.  A frame for a process that died is lost, or, sometimes, waits in a queue and reaches
 * its next incarnation: that is what message queues do, and nobody may count on either. */

#include "tests/sim/sim.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/hash.h"

struct frame {
    struct sim_event event;
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

static void deliver(struct sim_event *event)
{
    struct frame *frame = NK_CONTAINER_OF(event, struct frame, event);
    struct sim_process *to = frame->to;
    struct sim_world *world = to->world;
    if (world->fs == NULL) { /* the world ends */
        nk_free(frame);
        return;
    }
    if (frame->to_incarnation != to->incarnation || to->role == NULL) {
        /* Its connection is gone.  What was asked may wait in a queue for the next incarnation. */
        if (frame->from_link != 0 && frame->to_peer == 0 && nk_prng_chance(&world->prng, 300000)) {
            frame->to_incarnation = to->role == NULL ? to->incarnation + 1 : to->incarnation;
            sim_at(world, world->now_us + nk_prng_between(&world->prng, 1000, 700000), event);
            return;
        }
        nk_free(frame);
        return;
    }
    nk_peer peer = frame->to_peer;
    bool known = peer == 0 || link_of(to, peer) != NULL;
    if (peer == 0) {
        peer = inbound_for(to, frame);
    }
    if (known) {
        sim_trace(world, "frame", to->ops->name,
                  nk_xxh64(nk_bytes_of(frame->data, frame->size), peer));
        to->ops->receive(to->role, peer, nk_bytes_of(frame->data, frame->size));
        sim_process_soon(to);
    }
    nk_free(frame);
}

static void send_frame(struct sim_process *from, nk_peer from_link, struct sim_process *to,
                       nk_peer to_peer, struct nk_bytes bytes, uint64_t *arrival_us)
{
    struct sim_world *world = from->world;
    struct frame *frame = nk_alloc(sizeof *frame + bytes.size);
    memset(frame, 0, sizeof *frame);
    frame->event.name = "frame";
    frame->event.fire = deliver;
    frame->from = from;
    frame->from_incarnation = from->incarnation;
    frame->from_link = from_link;
    frame->to = to;
    frame->to_incarnation = to->incarnation;
    frame->to_peer = to_peer;
    frame->size = bytes.size;
    if (bytes.size > 0) {
        memcpy(frame->data, bytes.data, bytes.size);
    }
    uint64_t delay_us = nk_prng_between(&world->prng, 20, 400);
    if (nk_prng_chance(&world->prng, 5000)) {
        delay_us += nk_prng_below(&world->prng, 300 * NK_US_PER_MS);
    }
    *arrival_us = nk_max_u64(*arrival_us, world->now_us + delay_us);
    sim_at(world, *arrival_us, &frame->event);
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
    if (process->dying) {
        return NK_UNAVAILABLE;
    }
    struct sim_link *link = link_of(process, peer);
    if (link != NULL) {
        struct sim_process *to = process_at(process->world, link->address, false);
        if (link->listens || to == NULL || to->role == NULL) {
            return NK_UNAVAILABLE;
        }
        send_frame(process, link->peer, to, 0, frame, &link->arrival_us);
        return NK_OK;
    }
    struct sim_inbound *inbound = inbound_of(process, peer);
    if (inbound == NULL || inbound->from->role == NULL ||
        inbound->from->incarnation != inbound->from_incarnation) {
        return NK_UNAVAILABLE;
    }
    send_frame(process, 0, inbound->from, inbound->from_link, frame, &inbound->arrival_us);
    return NK_OK;
}

static void net_publish(void *ctx, struct nk_bytes frame)
{
    struct sim_process *process = ctx;
    struct sim_world *world = process->world;
    if (process->dying) {
        return;
    }
    for (enum sim_role which = 0; which < SIM_ROLE_COUNT; which++) {
        struct sim_process *to = &world->processes[which];
        for (size_t i = 0; to->role != NULL && i < to->link_count; i++) {
            struct sim_link *link = &to->links[i];
            if (link->listens && strcmp(link->address, process->listen_address) == 0 &&
                !nk_prng_chance(&world->prng, 20000)) {
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
    process->link_count = 0;
    process->inbound_count = 0;
}
