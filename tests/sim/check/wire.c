/* What shardhosts hear and say, as it passes.
 *
 * Claims of proto/norikv/internal/v1/shard.proto: a batch that names another incarnation is dropped
 * whole; every reply answers a request that this incarnation has got from that partner; a request
 * is answered as often as it was asked, at most (a gateway that has given up a shardhost may come
 * back to it with what may be asked twice). */

#include "common/base/alloc.h"
#include "proto/frame.h"
#include "proto/norikv/internal/v1/gossip.pb-c.h"
#include "proto/norikv/internal/v1/shard.pb-c.h"
#include "tests/sim/sim.h"

#define ARENA_BYTES_MAX ((size_t)(64 * NK_MIB))

struct sim_wire {
    struct nk_map
        open; /* partner, id -> how often it was delivered and not answered, as a pointer */
    struct nk_map leaders; /* shard, term -> session of who led, as a pointer */
    struct nk_arena arena;
};

void sim_wire_open(struct sim_world *world)
{
    struct sim_wire *wire = nk_alloc_zero(1, sizeof *wire);
    nk_map_init(&wire->open);
    nk_map_init(&wire->leaders);
    nk_arena_init(&wire->arena, 16 * NK_KIB, ARENA_BYTES_MAX);
    world->wire = wire;
}

void sim_wire_close(struct sim_world *world)
{
    nk_map_deinit(&world->wire->open);
    nk_map_deinit(&world->wire->leaders);
    nk_arena_deinit(&world->wire->arena);
    nk_free(world->wire);
    world->wire = NULL;
}

void sim_wire_forget(struct sim_world *world)
{
    if (world->wire != NULL) {
        nk_map_deinit(&world->wire->open);
        nk_map_init(&world->wire->open);
    }
}

static const ProtobufCMessage *unpack(struct sim_wire *wire, struct nk_bytes frame,
                                      enum nk_frame_type wanted,
                                      const ProtobufCMessageDescriptor *descriptor)
{
    enum nk_frame_type type;
    struct nk_bytes message;
    nk_arena_reset(&wire->arena);
    if (nk_frame_parse(frame, &type, &message) != NK_OK || type != wanted) {
        return NULL;
    }
    return nk_unpack(descriptor, message, &wire->arena);
}

void sim_wire_delivered(struct sim_process *to, nk_peer peer, struct nk_bytes frame)
{
    if (to->which != SIM_SHARDHOST) {
        return;
    }
    struct sim_wire *wire = to->world->wire;
    const Norikv__Internal__V1__ShardRequests *batch =
        (const Norikv__Internal__V1__ShardRequests *)unpack(
            wire, frame, NK_FRAME_SHARD_REQUESTS,
            &norikv__internal__v1__shard_requests__descriptor);
    if (batch == NULL || batch->session != to->context.session) {
        return;
    }
    for (size_t i = 0; i < batch->n_requests; i++) {
        uint64_t id[2] = {peer, batch->requests[i]->id};
        struct nk_bytes key = nk_bytes_of(id, sizeof id);
        uintptr_t count = (uintptr_t)nk_map_get(&wire->open, key) + 1;
        (void)nk_map_put(&wire->open, key, (void *)count);
    }
}

static void see_replies(struct sim_process *from, nk_peer peer,
                        const Norikv__Internal__V1__ShardReplies *batch)
{
    struct sim_world *world = from->world;
    if (batch->session != from->context.session) {
        sim_fail(world, SIM_CHECK_WIRE, "a reply names another incarnation than its sender");
    }
    for (size_t i = 0; i < batch->n_replies; i++) {
        uint64_t id[2] = {peer, batch->replies[i]->id};
        struct nk_bytes key = nk_bytes_of(id, sizeof id);
        uintptr_t count = (uintptr_t)nk_map_remove(&world->wire->open, key);
        if (count > 1) {
            (void)nk_map_put(&world->wire->open, key, (void *)(count - 1));
        } else if (count == 0) {
            sim_fail(world, SIM_CHECK_WIRE,
                     "a reply to %llu.%llu, which was not asked of this incarnation, or is "
                     "answered already",
                     (unsigned long long)peer, (unsigned long long)id[1]);
        }
    }
}

static void see_report(struct sim_world *world, const Norikv__Internal__V1__ShardReport *report)
{
    for (size_t i = 0; i < report->n_shards; i++) {
        const Norikv__Internal__V1__ShardState *shard = report->shards[i];
        if (strcmp(shard->leader_node, report->node_id) != 0) {
            continue;
        }
        uint64_t id[2] = {shard->shard, shard->term};
        uintptr_t session = (uintptr_t)report->session;
        uintptr_t before = (uintptr_t)nk_map_put(&world->wire->leaders, nk_bytes_of(id, sizeof id),
                                                 (void *)session);
        if (before != 0 && before != session) {
            sim_fail(world, SIM_CHECK_TERM,
                     "term %llu of shard %u was led by two incarnations, %llu and %llu",
                     (unsigned long long)shard->term, shard->shard, (unsigned long long)before,
                     (unsigned long long)session);
        }
    }
}

void sim_wire_sent(struct sim_process *from, nk_peer peer, struct nk_bytes frame)
{
    if (from->which != SIM_SHARDHOST) {
        return;
    }
    struct sim_wire *wire = from->world->wire;
    const ProtobufCMessage *replies = unpack(wire, frame, NK_FRAME_SHARD_REPLIES,
                                             &norikv__internal__v1__shard_replies__descriptor);
    if (replies != NULL) {
        see_replies(from, peer, (const Norikv__Internal__V1__ShardReplies *)replies);
        return;
    }
    const ProtobufCMessage *report =
        unpack(wire, frame, NK_FRAME_SHARD_REPORT, &norikv__internal__v1__shard_report__descriptor);
    if (report != NULL) {
        see_report(from->world, (const Norikv__Internal__V1__ShardReport *)report);
    }
}
