#include "tests/sim/circle.h"

#include <stdio.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/hash.h"
#include "common/base/list.h"
#include "common/base/map.h"
#include "common/base/units.h"

#define SCHEME    "circle://"
#define LINKS_MAX 8
#define TURNS_MAX 10000 /* a circle that has more to say never stops */

struct link {
    nk_peer peer; /* as its owner names it */
    bool listens;
    char address[64];
};

/* A conversation that another one began. */
struct inbound {
    nk_peer peer;
    struct seat *from; /* NULL: a stranger */
    nk_peer from_peer; /* the link of `from`, or the stranger's number */
    struct nk_list list;
};

struct seat {
    struct circle *circle;
    const struct nk_role_ops *ops;
    void *role;
    struct nk_env env;
    struct nk_service_context context;
    struct nk_registry *metrics;
    struct nk_health *health;
    char talk_address[64];
    char listen_address[64];
    struct link links[LINKS_MAX];
    size_t link_count;
    struct nk_list inbounds;
    nk_peer peer_next;
    struct nk_map facts; /* meta: key -> struct nk_buf * */
};

struct frame {
    struct nk_list list;
    struct seat *to;
    nk_peer from; /* as `to` names it */
    size_t size;
    uint8_t data[];
};

struct circle {
    struct circle_options options;
    struct seat seats[CIRCLE_ROLES_MAX];
    size_t seat_count;
    struct nk_list frames; /* under way, in order */
    struct nk_mpsc jobs;   /* submitted, where there is no worker */
    bool awake;            /* somebody asked for a tick */
    bool ending;
};

/* ---- Frames ---- */

static void hand_over(struct seat *to, nk_peer from, struct nk_bytes bytes)
{
    struct frame *frame = nk_alloc(sizeof *frame + bytes.size);
    nk_list_init(&frame->list);
    frame->to = to;
    frame->from = from;
    frame->size = bytes.size;
    if (bytes.size > 0) {
        memcpy(frame->data, bytes.data, bytes.size);
    }
    nk_list_append(&to->circle->frames, &frame->list);
}

static nk_peer inbound_peer(struct seat *seat, struct seat *from, nk_peer from_peer)
{
    for (struct nk_list *at = seat->inbounds.next; at != &seat->inbounds; at = at->next) {
        struct inbound *inbound = NK_CONTAINER_OF(at, struct inbound, list);
        if (inbound->from == from && inbound->from_peer == from_peer) {
            return inbound->peer;
        }
    }
    struct inbound *inbound = nk_alloc(sizeof *inbound);
    *inbound = (struct inbound){.peer = seat->peer_next++, .from = from, .from_peer = from_peer};
    nk_list_init(&inbound->list);
    nk_list_append(&seat->inbounds, &inbound->list);
    return inbound->peer;
}

static struct link *link_of(struct seat *seat, nk_peer peer)
{
    for (size_t i = 0; i < seat->link_count; i++) {
        if (seat->links[i].peer == peer) {
            return &seat->links[i];
        }
    }
    return NULL;
}

static struct inbound *inbound_of(struct seat *seat, nk_peer peer)
{
    for (struct nk_list *at = seat->inbounds.next; at != &seat->inbounds; at = at->next) {
        struct inbound *inbound = NK_CONTAINER_OF(at, struct inbound, list);
        if (inbound->peer == peer) {
            return inbound;
        }
    }
    return NULL;
}

static struct seat *seat_at(struct circle *circle, const char *talk_address)
{
    for (size_t i = 0; i < circle->seat_count; i++) {
        if (strcmp(circle->seats[i].talk_address, talk_address) == 0) {
            return &circle->seats[i];
        }
    }
    return NULL;
}

static void show(struct seat *seat, nk_peer to, struct nk_bytes frame)
{
    const struct circle_options *options = &seat->circle->options;
    if (options->sent != NULL) {
        options->sent(options->ctx, seat->ops->name, to, frame);
    }
}

/* ---- The contract of common/env/net.h ---- */

static enum nk_err net_open(void *ctx, const char *address, enum nk_link_kind kind,
                            nk_peer *out_peer)
{
    struct seat *seat = ctx;
    struct link link = {.peer = seat->peer_next, .listens = kind == NK_LINK_LISTEN};
    if (strncmp(address, SCHEME, strlen(SCHEME)) != 0 || strlen(address) >= sizeof link.address) {
        return NK_INVALID;
    }
    if (seat->link_count == LINKS_MAX) {
        return NK_BUSY;
    }
    memcpy(link.address, address, strlen(address) + 1);
    seat->links[seat->link_count++] = link;
    seat->peer_next++;
    *out_peer = link.peer;
    return NK_OK;
}

static void net_close(void *ctx, nk_peer peer)
{
    struct seat *seat = ctx;
    struct link *link = link_of(seat, peer);
    if (link != NULL) {
        *link = seat->links[--seat->link_count];
    }
}

static enum nk_err net_send(void *ctx, nk_peer peer, struct nk_bytes frame)
{
    struct seat *seat = ctx;
    struct link *link = link_of(seat, peer);
    if (link != NULL) {
        struct seat *to = seat_at(seat->circle, link->address);
        bool stranger = strncmp(link->address, CIRCLE_STRANGER, strlen(CIRCLE_STRANGER)) == 0;
        if (link->listens || (to == NULL && !stranger)) {
            return NK_UNAVAILABLE;
        }
        show(seat, peer, frame);
        if (to != NULL) {
            hand_over(to, inbound_peer(to, seat, peer), frame);
        }
        return NK_OK;
    }
    struct inbound *inbound = inbound_of(seat, peer);
    if (inbound == NULL || seat->circle->ending) {
        return NK_UNAVAILABLE;
    }
    show(seat, peer, frame);
    if (inbound->from != NULL) {
        hand_over(inbound->from, inbound->from_peer, frame);
    }
    return NK_OK;
}

static void net_publish(void *ctx, struct nk_bytes frame)
{
    struct seat *seat = ctx;
    struct circle *circle = seat->circle;
    show(seat, 0, frame);
    for (size_t i = 0; i < circle->seat_count; i++) {
        struct seat *to = &circle->seats[i];
        for (size_t l = 0; l < to->link_count; l++) {
            if (to->links[l].listens && strcmp(to->links[l].address, seat->listen_address) == 0) {
                hand_over(to, to->links[l].peer, frame);
            }
        }
    }
}

static const char *net_talk_address(void *ctx)
{
    const struct seat *seat = ctx;
    return seat->talk_address;
}

static const char *net_listen_address(void *ctx)
{
    const struct seat *seat = ctx;
    return seat->listen_address;
}

static const struct nk_net_ops net_ops = {
    .open = net_open,
    .close = net_close,
    .send = net_send,
    .publish = net_publish,
    .talk_address = net_talk_address,
    .listen_address = net_listen_address,
};

/* ---- Jobs, where the caller has no worker ---- */

static enum nk_err submit(void *ctx, enum nk_lane lane, struct nk_job *job)
{
    struct circle *circle = ctx;
    (void)lane; /* one after the other, in order of submission: right for every lane */
    (void)nk_mpsc_push(&circle->jobs, &job->node);
    return NK_OK;
}

static void wake(void *ctx)
{
    struct circle *circle = ctx;
    circle->awake = true;
}

static const struct nk_worker_ops worker_ops = {submit, wake};

static bool run_jobs(struct circle *circle)
{
    struct nk_mpsc_node *node = nk_mpsc_take_all(&circle->jobs);
    bool any = node != NULL;
    while (node != NULL) {
        struct nk_job *job = NK_CONTAINER_OF(node, struct nk_job, node);
        node = node->next;
        job->run(job);
        job->done(job);
    }
    return any;
}

/* ---- Meta and log ---- */

static enum nk_err meta_get(void *ctx, struct nk_bytes key, struct nk_buf *out_value)
{
    struct seat *seat = ctx;
    struct nk_buf *value = nk_map_get(&seat->facts, key);
    if (value == NULL) {
        return NK_NOT_FOUND;
    }
    nk_buf_clear(out_value);
    nk_buf_append(out_value, nk_buf_bytes(value));
    return NK_OK;
}

static void free_fact(struct nk_buf *value)
{
    if (value != NULL) {
        nk_buf_deinit(value);
        nk_free(value);
    }
}

static enum nk_err meta_put(void *ctx, struct nk_bytes key, struct nk_bytes bytes)
{
    struct seat *seat = ctx;
    struct nk_buf *value = nk_alloc_zero(1, sizeof *value);
    nk_buf_append(value, bytes);
    free_fact(nk_map_put(&seat->facts, key, value));
    return NK_OK;
}

static enum nk_err meta_remove(void *ctx, struct nk_bytes key)
{
    struct seat *seat = ctx;
    free_fact(nk_map_remove(&seat->facts, key));
    return NK_OK;
}

/* In the order of insertion: what reads it at a start finds nothing. */
static enum nk_err
meta_list(void *ctx, struct nk_bytes prefix,
          void (*visit)(void *visitor, struct nk_bytes key, struct nk_bytes value), void *visitor)
{
    struct seat *seat = ctx;
    size_t position = 0;
    struct nk_map_entry *entry;
    while ((entry = nk_map_next(&seat->facts, &position)) != NULL) {
        struct nk_bytes key = nk_bytes_of(entry->key, entry->key_size);
        if (nk_bytes_starts_with(key, prefix)) {
            visit(visitor, key, nk_buf_bytes(entry->value));
        }
    }
    return NK_OK;
}

static const struct nk_meta_ops meta_ops = {meta_get, meta_put, meta_remove, meta_list};

static void log_event(void *ctx, enum nk_log_level level, const char *target, const char *message,
                      const struct nk_log_field *fields, size_t field_count)
{
    (void)ctx;
    (void)level;
    NK_ASSERT(target[0] != '\0');
    NK_ASSERT(message[0] != '\0');
    for (size_t i = 0; i < field_count; i++) {
        NK_ASSERT(fields[i].name[0] != '\0');
    }
}

static const struct nk_log_ops log_ops = {log_event};

/* ---- Life ---- */

void circle_new(const struct circle_options *options, struct circle **out_circle)
{
    struct circle *circle = nk_alloc_zero(1, sizeof *circle);
    circle->options = *options;
    nk_list_init(&circle->frames);
    nk_mpsc_init(&circle->jobs);
    if (circle->options.worker.ops == NULL) {
        circle->options.worker = (struct nk_worker){&worker_ops, circle, 1};
    }
    *out_circle = circle;
}

void *circle_add(struct circle *circle, const struct nk_role_ops *ops, uint64_t session)
{
    NK_ASSERT(circle->seat_count < CIRCLE_ROLES_MAX);
    struct seat *seat = &circle->seats[circle->seat_count];
    const struct circle_options *options = &circle->options;
    seat->circle = circle;
    seat->ops = ops;
    seat->peer_next = 1;
    nk_list_init(&seat->inbounds);
    nk_map_init(&seat->facts);
    (void)snprintf(seat->talk_address, sizeof seat->talk_address, SCHEME "%s", ops->name);
    (void)snprintf(seat->listen_address, sizeof seat->listen_address, SCHEME "%s/state", ops->name);
    seat->env = (struct nk_env){
        .clock = options->clock,
        .fs = options->fs,
        .net = {&net_ops, seat},
        .worker = options->worker,
        .log = {&log_ops, seat, NK_LOG_INFO},
        .meta = {&meta_ops, seat},
        .random_seed = session,
    };
    nk_registry_open(&seat->metrics);
    nk_health_open(&seat->env.clock, ops->name, options->config->node_id,
                   options->config->cluster.total_shards, &seat->health);
    seat->context = (struct nk_service_context){
        .env = &seat->env,
        .config = options->config,
        .metrics = seat->metrics,
        .health = seat->health,
        .session = session,
        .rpc_address = "127.0.0.1:7447",
        .http_address = "127.0.0.1:8080",
    };
    char memory[512];
    struct nk_text reason;
    nk_text_init(&reason, memory, sizeof memory);
    enum nk_err err = ops->init(&seat->context, &seat->role, &reason);
    NK_ASSERT(err == NK_OK);
    circle->seat_count++;
    return seat->role;
}

static void free_seat(struct seat *seat)
{
    seat->ops->deinit(&seat->role);
    nk_registry_close(&seat->metrics);
    nk_health_close(&seat->health);
    while (!nk_list_empty(&seat->inbounds)) {
        struct inbound *inbound = NK_CONTAINER_OF(seat->inbounds.next, struct inbound, list);
        nk_list_remove(&inbound->list);
        nk_free(inbound);
    }
    size_t position = 0;
    struct nk_map_entry *entry;
    while ((entry = nk_map_next(&seat->facts, &position)) != NULL) {
        free_fact(entry->value);
    }
    nk_map_deinit(&seat->facts);
}

void circle_free(struct circle **circle_p)
{
    struct circle *circle = *circle_p;
    if (circle == NULL) {
        return;
    }
    circle->ending = true;
    while (run_jobs(circle)) {
    }
    while (circle->seat_count > 0) {
        free_seat(&circle->seats[circle->seat_count - 1]);
        circle->seat_count--;
    }
    while (!nk_list_empty(&circle->frames)) {
        struct frame *frame = NK_CONTAINER_OF(circle->frames.next, struct frame, list);
        nk_list_remove(&frame->list);
        nk_free(frame);
    }
    nk_free(circle);
    *circle_p = NULL;
}

/* ---- Going round ---- */

static nk_peer stranger_peer(struct seat *seat, const char *stranger)
{
    for (size_t i = 0; i < seat->link_count; i++) {
        if (strcmp(seat->links[i].address, stranger) == 0) {
            return seat->links[i].peer;
        }
    }
    return inbound_peer(seat, NULL, nk_xxh64(nk_bytes_of_string(stranger), 0));
}

void circle_inject(struct circle *circle, const char *role, const char *stranger,
                   struct nk_bytes frame)
{
    for (size_t i = 0; i < circle->seat_count; i++) {
        struct seat *seat = &circle->seats[i];
        if (strcmp(seat->ops->name, role) == 0) {
            hand_over(seat, stranger_peer(seat, stranger), frame);
        }
    }
}

/* All that is under way now; what it makes its receivers say comes with the next round. */
static bool deliver(struct circle *circle)
{
    struct nk_list now;
    nk_list_init(&now);
    while (!nk_list_empty(&circle->frames)) {
        struct nk_list *node = circle->frames.next;
        nk_list_remove(node);
        nk_list_append(&now, node);
    }
    bool any = !nk_list_empty(&now);
    while (!nk_list_empty(&now)) {
        struct frame *frame = NK_CONTAINER_OF(now.next, struct frame, list);
        struct seat *to = frame->to;
        nk_list_remove(&frame->list);
        bool link_closed = link_of(to, frame->from) == NULL && inbound_of(to, frame->from) == NULL;
        if (!link_closed) {
            to->ops->receive(to->role, frame->from, nk_bytes_of(frame->data, frame->size));
        }
        nk_free(frame);
    }
    return any;
}

uint64_t circle_turn(struct circle *circle)
{
    uint64_t next_us = UINT64_MAX;
    bool more = true;
    for (size_t i = 0; more; i++) {
        NK_ASSERT(i < TURNS_MAX);
        circle->awake = false;
        more = deliver(circle);
        more = run_jobs(circle) || more;
        next_us = UINT64_MAX;
        for (size_t s = 0; s < circle->seat_count; s++) {
            struct seat *seat = &circle->seats[s];
            next_us = nk_min_u64(next_us, seat->ops->tick(seat->role));
        }
        more = more || circle->awake || !nk_list_empty(&circle->frames);
    }
    return next_us;
}

void circle_stop(struct circle *circle)
{
    for (size_t i = 0; i < circle->seat_count; i++) {
        circle->seats[i].ops->stop(circle->seats[i].role);
    }
}

enum nk_err circle_fault(struct circle *circle)
{
    for (size_t i = 0; i < circle->seat_count; i++) {
        char memory[512];
        struct nk_text reason;
        nk_text_init(&reason, memory, sizeof memory);
        enum nk_err err = circle->seats[i].ops->fault(circle->seats[i].role, &reason);
        if (err != NK_OK) {
            NK_ASSERT(reason.size > 0);
            return err;
        }
    }
    return NK_OK;
}
