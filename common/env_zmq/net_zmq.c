/* struct nk_net over ZeroMQ.
 *
 *   - talk: one ROUTER; every process that has a link to us is a pipe of it, told apart by the
 *     routing id that ZeroMQ invents for the connection; each gets a peer number;
 *   - links: one DEALER (talk) or SUB (listen) for each link of ours;
 *   - publish: one PUB.
 *
 * A message is one frame; at the ROUTER the routing id comes before it.  Messages of another shape
 * are dropped and counted: whoever connects can send them.
 *
 * Waiting.  zmq_poll costs two or three system calls per socket and call.  Instead the sockets'
 * event descriptors are in one epoll set, and a socket is "hot" while frames may be waiting in it:
 *   - its descriptor became readable; that is an edge, so it stays hot until a receive says EAGAIN;
 *   - we sent through it: a send may take the note "frames have arrived" off the descriptor, and
 *     nothing would wake us for those frames.
 * The loop sleeps only when no socket is hot. */

#include "net_zmq.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <zmq.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/limits.h"
#include "common/base/list.h"
#include "common/base/map.h"
#include "common/base/units.h"

#include "channel.h"

#define FRAMES_PER_TURN 128 /* of one socket, before the others and the role have theirs */
#define EVENTS_PER_WAIT 64

/* Somebody to send to: a link of ours, or a caller, a process with a link to us. */
struct peer {
    nk_peer number;
    struct channel *channel;
    struct nk_list age;     /* callers: in env_zmq.callers */
    size_t routing_id_size; /* callers: 1..255; links: 0 */
    uint8_t routing_id[];
};

struct env_zmq {
    void *context;
    int epoll_fd;
    struct channel *router;    /* NULL: not offered */
    struct channel *publisher; /* NULL: not offered */
    char talk_address[NK_ADDRESS_BYTES_MAX + 1];
    char listen_address[NK_ADDRESS_BYTES_MAX + 1];

    struct nk_list hot;    /* channels that may have frames */
    struct nk_list graves; /* closed links that the pump may still have in hand */
    size_t link_count;     /* <= NK_PEERS_MAX */

    nk_peer last_peer;
    struct nk_map peers;         /* by number; all of them */
    struct nk_map callers_by_id; /* by routing id */
    struct nk_list callers;      /* who was heard or spoken to longest ago comes first */
    size_t caller_count;         /* <= NK_PEERS_MAX */

    struct nk_counter received;
    struct nk_counter sent;
    struct nk_counter refused;
    struct nk_counter malformed;
    struct nk_gauge links_open;
    struct nk_gauge links_connected;
};

/* What an event of the epoll set is about: the channel's socket, or one of these in its low bits.
 */
#define EVENT_MONITOR ((uint64_t)1) /* with a channel */
#define EVENT_WATCHED ((uint64_t)2) /* with enum env_zmq_wake above it */

enum got {
    GOT_NOTHING,
    GOT_FRAME,
    GOT_GARBAGE,
};

static enum nk_err open_bound(struct env_zmq *zmq, enum channel_kind kind, const char *address,
                              const char *host, struct nk_text *reason);
static bool watch(struct env_zmq *zmq, int fd, uint64_t data);
static enum nk_err send_frame(struct env_zmq *zmq, struct peer *peer, struct nk_bytes frame);
static bool send_part(struct channel *channel, struct nk_bytes bytes, int flags);
static size_t drain(struct env_zmq *zmq, struct channel *channel, env_zmq_sink sink, void *ctx);
static enum got receive_message(struct channel *channel, zmq_msg_t *routing_id, zmq_msg_t *frame);
static bool receive_part(struct channel *channel, zmq_msg_t *part);
static struct peer *caller_of(struct env_zmq *zmq, struct nk_bytes routing_id);
static struct peer *new_peer(struct env_zmq *zmq, struct channel *channel,
                             struct nk_bytes routing_id);
static void forget(struct env_zmq *zmq, struct peer *peer);
static void touch(struct env_zmq *zmq, struct peer *caller);
static void mark_hot(struct env_zmq *zmq, struct channel *channel);
static void refresh_connected(struct env_zmq *zmq, struct channel *channel);
static void bury_closed(struct env_zmq *zmq);

enum nk_err env_zmq_open(const struct env_zmq_options *options, struct env_zmq **out_zmq,
                         struct nk_text *reason)
{
    struct env_zmq *zmq = nk_alloc_zero(1, sizeof *zmq);
    nk_list_init(&zmq->graves);
    nk_list_init(&zmq->hot);
    nk_list_init(&zmq->callers);
    nk_map_init(&zmq->peers);
    nk_map_init(&zmq->callers_by_id);
    zmq->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    zmq->context = zmq_ctx_new();
    enum nk_err err = NK_OK;
    if (zmq->epoll_fd < 0 || zmq->context == NULL) {
        nk_text_add(reason, "too many open files");
        err = NK_IO;
    }
    if (err == NK_OK) {
        int failed = zmq_ctx_set(zmq->context, ZMQ_MAX_SOCKETS, (int)NK_PEERS_MAX + 2);
        NK_ASSERT(failed == 0);
    }
    if (err == NK_OK && options->talk_bind != NULL) {
        err = open_bound(zmq, CHANNEL_ROUTER, options->talk_bind, options->advertise_host, reason);
    }
    if (err == NK_OK && options->listen_bind != NULL) {
        err = open_bound(zmq, CHANNEL_PUBLISHER, options->listen_bind, options->advertise_host,
                         reason);
    }
    if (err != NK_OK) {
        env_zmq_close(&zmq);
        return err;
    }
    *out_zmq = zmq;
    return NK_OK;
}

void env_zmq_close(struct env_zmq **zmq_p)
{
    if (zmq_p == NULL || *zmq_p == NULL) {
        return;
    }
    struct env_zmq *zmq = *zmq_p;
    size_t position = 0;
    for (const struct nk_map_entry *entry = nk_map_next(&zmq->peers, &position); entry != NULL;
         entry = nk_map_next(&zmq->peers, &position)) {
        forget(zmq, entry->value);
    }
    bury_closed(zmq);
    channel_close(&zmq->publisher);
    channel_close(&zmq->router);
    nk_map_deinit(&zmq->peers);
    nk_map_deinit(&zmq->callers_by_id);
    if (zmq->context != NULL) {
        int failed;
        do {
            failed = zmq_ctx_term(zmq->context);
        } while (failed != 0 && errno == EINTR);
    }
    if (zmq->epoll_fd >= 0) {
        (void)close(zmq->epoll_fd);
    }
    nk_free(zmq);
    *zmq_p = NULL;
}

void env_zmq_register(struct env_zmq *zmq, struct nk_registry *metrics)
{
    nk_registry_counter(metrics, "norikv_bus_frames_received_total",
                        "Frames that arrived from other processes.", &zmq->received);
    nk_registry_counter(metrics, "norikv_bus_frames_sent_total",
                        "Frames that were handed over for other processes.", &zmq->sent);
    nk_registry_counter(metrics, "norikv_bus_frames_refused_total",
                        "Frames not sent because the partner was away or its queue was full.",
                        &zmq->refused);
    nk_registry_counter(metrics, "norikv_bus_messages_malformed_total",
                        "Messages dropped because they were not one frame.", &zmq->malformed);
    nk_registry_gauge(metrics, "norikv_bus_links", "Links to other processes that are wanted.",
                      &zmq->links_open);
    nk_registry_gauge(metrics, "norikv_bus_links_connected", "Talk links that are connected now.",
                      &zmq->links_connected);
}

/* ---- The slots of nk_net ---- */

static enum nk_err net_open(void *ctx, const char *address, enum nk_link_kind kind,
                            nk_peer *out_peer)
{
    struct env_zmq *zmq = ctx;
    struct channel *channel;
    char memory[NK_ADDRESS_BYTES_MAX + 128]; /* the caller knows the address; it wants the code */
    struct nk_text reason;
    nk_text_init(&reason, memory, sizeof memory);
    if (strlen(address) > NK_ADDRESS_BYTES_MAX) {
        return NK_INVALID;
    }
    if (zmq->link_count == NK_PEERS_MAX) {
        return NK_BUSY;
    }
    enum nk_err err =
        channel_open(zmq->context, kind == NK_LINK_TALK ? CHANNEL_TALK_LINK : CHANNEL_LISTEN_LINK,
                     address, &channel, &reason);
    if (err != NK_OK) {
        return err;
    }
    if (!watch(zmq, channel->fd, (uint64_t)(uintptr_t)channel) ||
        (channel->monitor != NULL &&
         !watch(zmq, channel->monitor_fd, (uint64_t)(uintptr_t)channel | EVENT_MONITOR))) {
        channel_close(&channel); /* its descriptors leave the epoll set by being closed */
        return NK_BUSY;
    }
    *out_peer = new_peer(zmq, channel, nk_bytes_of(NULL, 0))->number;
    return NK_OK;
}

static void net_close(void *ctx, nk_peer number)
{
    struct env_zmq *zmq = ctx;
    struct peer *peer = nk_map_get(&zmq->peers, nk_map_key_u64(&number));
    if (peer != NULL) {
        forget(zmq, peer);
    }
}

static enum nk_err net_send(void *ctx, nk_peer number, struct nk_bytes frame)
{
    struct env_zmq *zmq = ctx;
    struct peer *peer = nk_map_get(&zmq->peers, nk_map_key_u64(&number));
    NK_ASSERT(frame.size <= NK_FRAME_BYTES_MAX);
    enum nk_err err = NK_UNAVAILABLE;
    if (peer != NULL && peer->channel->kind != CHANNEL_LISTEN_LINK) {
        mark_hot(zmq, peer->channel);
        err = send_frame(zmq, peer, frame); /* may forget the peer */
    }
    nk_counter_add(err == NK_OK ? &zmq->sent : &zmq->refused, 1);
    return err;
}

static void net_publish(void *ctx, struct nk_bytes frame)
{
    struct env_zmq *zmq = ctx;
    NK_ASSERT(frame.size <= NK_FRAME_BYTES_MAX);
    if (zmq->publisher != NULL && send_part(zmq->publisher, frame, 0)) {
        nk_counter_add(&zmq->sent, 1);
    }
}

static const char *net_talk_address(void *ctx)
{
    struct env_zmq *zmq = ctx;
    return zmq->talk_address;
}

static const char *net_listen_address(void *ctx)
{
    struct env_zmq *zmq = ctx;
    return zmq->listen_address;
}

struct nk_net env_zmq_net(struct env_zmq *zmq)
{
    static const struct nk_net_ops ops = {
        .open = net_open,
        .close = net_close,
        .send = net_send,
        .publish = net_publish,
        .talk_address = net_talk_address,
        .listen_address = net_listen_address,
    };
    return (struct nk_net){&ops, zmq};
}

/* ---- The loop's side ---- */

enum nk_err env_zmq_watch(struct env_zmq *zmq, int fd, enum env_zmq_wake wake)
{
    return watch(zmq, fd, (uint64_t)wake << 8 | EVENT_WATCHED) ? NK_OK : NK_IO;
}

void env_zmq_unwatch(struct env_zmq *zmq, int fd)
{
    int failed = epoll_ctl(zmq->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
    NK_ASSERT(failed == 0);
}

size_t env_zmq_pump(struct env_zmq *zmq, env_zmq_sink sink, void *ctx)
{
    /* One turn for each channel that is hot now; those that stay or become so come next time. */
    struct nk_list turn;
    nk_list_init(&turn);
    nk_list_append(&zmq->hot, &turn);
    size_t count = 0;
    while (zmq->hot.next != &turn) {
        struct channel *channel = NK_CONTAINER_OF(zmq->hot.next, struct channel, hot);
        nk_list_remove(&channel->hot);
        count += drain(zmq, channel, sink, ctx);
    }
    nk_list_remove(&turn);
    bury_closed(zmq);
    return count;
}

bool env_zmq_pending(const struct env_zmq *zmq)
{
    return !nk_list_empty(&zmq->hot);
}

unsigned env_zmq_wait(struct env_zmq *zmq, int timeout_ms)
{
    struct epoll_event events[EVENTS_PER_WAIT];
    unsigned wakes = 0;
    int count = epoll_wait(zmq->epoll_fd, events, EVENTS_PER_WAIT, timeout_ms);
    for (int i = 0; i < count; i++) {
        uint64_t data = events[i].data.u64;
        struct channel *channel = (struct channel *)(uintptr_t)(data & ~EVENT_MONITOR);
        if ((data & EVENT_WATCHED) != 0) {
            wakes |= (unsigned)(data >> 8);
        } else if ((data & EVENT_MONITOR) != 0) {
            refresh_connected(zmq, channel);
        } else {
            mark_hot(zmq, channel);
        }
    }
    return wakes;
}

/* ---- Statics ---- */

static enum nk_err open_bound(struct env_zmq *zmq, enum channel_kind kind, const char *address,
                              const char *host, struct nk_text *reason)
{
    bool router = kind == CHANNEL_ROUTER;
    struct channel **channel = router ? &zmq->router : &zmq->publisher;
    enum nk_err err = channel_open(zmq->context, kind, address, channel, reason);
    if (err != NK_OK) {
        return err;
    }
    err = channel_address(*channel, host, router ? zmq->talk_address : zmq->listen_address);
    if (err != NK_OK) {
        nk_text_add(reason, address);
        nk_text_add(reason, ": the address is too long");
        return err;
    }
    if (router && !watch(zmq, (*channel)->fd, (uint64_t)(uintptr_t)*channel)) {
        nk_text_add(reason, "too many open files");
        return NK_IO;
    }
    return NK_OK;
}

static bool watch(struct env_zmq *zmq, int fd, uint64_t data)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = data};
    return epoll_ctl(zmq->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

/* The second part cannot fail once the first was taken: a message goes whole or not at all. */
static enum nk_err send_frame(struct env_zmq *zmq, struct peer *peer, struct nk_bytes frame)
{
    struct channel *channel = peer->channel;
    if (peer->routing_id_size == 0) {
        if (send_part(channel, frame, 0)) {
            return NK_OK;
        }
        NK_ASSERT(errno == EAGAIN);
        refresh_connected(zmq, channel);
        return channel->connected ? NK_BUSY : NK_UNAVAILABLE;
    }
    if (!send_part(channel, nk_bytes_of(peer->routing_id, peer->routing_id_size), ZMQ_SNDMORE)) {
        if (errno == EAGAIN) {
            return NK_BUSY;
        }
        NK_ASSERT(errno == EHOSTUNREACH);
        forget(zmq, peer);
        return NK_UNAVAILABLE;
    }
    bool sent = send_part(channel, frame, 0);
    NK_ASSERT(sent);
    touch(zmq, peer);
    return NK_OK;
}

static bool send_part(struct channel *channel, struct nk_bytes bytes, int flags)
{
    int sent;
    do {
        sent = zmq_send(channel->socket, bytes.data, bytes.size, flags | ZMQ_DONTWAIT);
    } while (sent < 0 && errno == EINTR);
    return sent >= 0;
}

/* One turn of a channel.  The frame's bytes stay ZeroMQ's: they are lent to the sink and not
 * copied. */
static size_t drain(struct env_zmq *zmq, struct channel *channel, env_zmq_sink sink, void *ctx)
{
    zmq_msg_t routing_id;
    zmq_msg_t frame;
    (void)zmq_msg_init(&routing_id);
    (void)zmq_msg_init(&frame);
    size_t count = 0;
    enum got got = GOT_FRAME;
    for (size_t i = 0; i < FRAMES_PER_TURN && !channel->closed && got != GOT_NOTHING; i++) {
        got = receive_message(channel, &routing_id, &frame);
        if (got == GOT_GARBAGE) {
            nk_counter_add(&zmq->malformed, 1);
        } else if (got == GOT_FRAME) {
            nk_peer from = channel->peer;
            if (channel->kind == CHANNEL_ROUTER) {
                from = caller_of(zmq,
                                 nk_bytes_of(zmq_msg_data(&routing_id), zmq_msg_size(&routing_id)))
                           ->number;
            }
            count++;
            sink(ctx, from, nk_bytes_of(zmq_msg_data(&frame), zmq_msg_size(&frame)));
        }
    }
    (void)zmq_msg_close(&routing_id);
    (void)zmq_msg_close(&frame);
    nk_counter_add(&zmq->received, count);
    if (channel->closed || got == GOT_NOTHING) {
        nk_list_remove(
            &channel->hot); /* what was sent meanwhile hid nothing from the last receive */
    } else {
        mark_hot(zmq, channel);
    }
    return count;
}

static enum got receive_message(struct channel *channel, zmq_msg_t *routing_id, zmq_msg_t *frame)
{
    bool whole = true;
    if (channel->kind == CHANNEL_ROUTER) {
        if (!receive_part(channel, routing_id)) {
            return GOT_NOTHING;
        }
        whole = zmq_msg_more(routing_id) != 0;
    }
    /* Parts of one message arrive together: only the first receive can find nothing. */
    if (whole && !receive_part(channel, frame)) {
        NK_ASSERT(channel->kind != CHANNEL_ROUTER);
        return GOT_NOTHING;
    }
    while (whole && zmq_msg_more(frame) != 0) {
        bool received = receive_part(channel, frame);
        NK_ASSERT(received);
        whole = zmq_msg_more(frame) != 0;
    }
    return whole ? GOT_FRAME : GOT_GARBAGE;
}

static bool receive_part(struct channel *channel, zmq_msg_t *part)
{
    int size;
    do {
        size = zmq_msg_recv(part, channel->socket, ZMQ_DONTWAIT);
    } while (size < 0 && errno == EINTR);
    if (size < 0) {
        NK_ASSERT(errno == EAGAIN);
    }
    return size >= 0;
}

/* The caller with that routing id, known or new.  Beyond NK_PEERS_MAX the one that was silent for
 * the longest time is forgotten; should it speak again, it is a new peer. */
static struct peer *caller_of(struct env_zmq *zmq, struct nk_bytes routing_id)
{
    struct peer *caller = nk_map_get(&zmq->callers_by_id, routing_id);
    if (caller != NULL) {
        touch(zmq, caller);
        return caller;
    }
    if (zmq->caller_count == NK_PEERS_MAX) {
        forget(zmq, NK_CONTAINER_OF(zmq->callers.next, struct peer, age));
    }
    return new_peer(zmq, zmq->router, routing_id);
}

static struct peer *new_peer(struct env_zmq *zmq, struct channel *channel,
                             struct nk_bytes routing_id)
{
    struct peer *peer = nk_alloc_zero(1, sizeof *peer + routing_id.size);
    zmq->last_peer++;
    peer->number = zmq->last_peer;
    peer->channel = channel;
    peer->routing_id_size = routing_id.size;
    nk_list_init(&peer->age);
    void *before = nk_map_put(&zmq->peers, nk_map_key_u64(&peer->number), peer);
    NK_ASSERT(before == NULL);
    if (routing_id.size > 0) {
        memcpy(peer->routing_id, routing_id.data, routing_id.size);
        before = nk_map_put(&zmq->callers_by_id, routing_id, peer);
        NK_ASSERT(before == NULL);
        nk_list_append(&zmq->callers, &peer->age);
        zmq->caller_count++;
    } else {
        channel->peer = peer->number;
        zmq->link_count++;
        nk_gauge_set(&zmq->links_open, (int64_t)zmq->link_count);
    }
    return peer;
}

/* A link's socket may be the one that the pump is draining; it is closed when the pump is through.
 */
static void forget(struct env_zmq *zmq, struct peer *peer)
{
    struct channel *channel = peer->channel;
    (void)nk_map_remove(&zmq->peers, nk_map_key_u64(&peer->number));
    if (peer->routing_id_size > 0) {
        (void)nk_map_remove(&zmq->callers_by_id,
                            nk_bytes_of(peer->routing_id, peer->routing_id_size));
        nk_list_remove(&peer->age);
        zmq->caller_count--;
    } else {
        env_zmq_unwatch(zmq, channel->fd);
        if (channel->monitor != NULL) {
            env_zmq_unwatch(zmq, channel->monitor_fd);
            nk_gauge_add(&zmq->links_connected, channel->connected ? -1 : 0);
        }
        nk_list_remove(&channel->hot);
        nk_list_append(&zmq->graves, &channel->grave);
        channel->closed = true;
        zmq->link_count--;
        nk_gauge_set(&zmq->links_open, (int64_t)zmq->link_count);
    }
    nk_free(peer);
}

static void touch(struct env_zmq *zmq, struct peer *caller)
{
    nk_list_remove(&caller->age);
    nk_list_append(&zmq->callers, &caller->age);
}

static void mark_hot(struct env_zmq *zmq, struct channel *channel)
{
    if (!nk_list_linked(&channel->hot)) {
        nk_list_append(&zmq->hot, &channel->hot);
    }
}

static void refresh_connected(struct env_zmq *zmq, struct channel *channel)
{
    bool before = channel->connected;
    channel_read_monitor(channel);
    nk_gauge_add(&zmq->links_connected, (int64_t)channel->connected - (int64_t)before);
}

static void bury_closed(struct env_zmq *zmq)
{
    while (!nk_list_empty(&zmq->graves)) {
        struct channel *channel = NK_CONTAINER_OF(zmq->graves.next, struct channel, grave);
        channel_close(&channel);
    }
}
