#include "wire.h"

#include "common/base/assert.h"
#include "proto/frame.h"

#include "registry.h"

enum nk_err gossip_wire_read_register(struct nk_bytes message, struct nk_arena *arena,
                                      struct gossip_wire_register *out_register)
{
    const Norikv__Internal__V1__Register *unpacked =
        (const Norikv__Internal__V1__Register *)nk_unpack(
            &norikv__internal__v1__register__descriptor, message, arena);
    if (unpacked == NULL || unpacked->member == NULL) {
        return NK_INVALID;
    }
    /* Whether it lives is ours to say. */
    unpacked->member->state = NORIKV__INTERNAL__V1__MEMBER_STATE__MEMBER_STATE_ALIVE;
    if (nk_cluster_member_read(unpacked->member, &out_register->member) != NK_OK ||
        strcmp(out_register->member.role, "gossip") == 0) {
        return NK_INVALID;
    }
    out_register->epoch_seen = unpacked->epoch_seen;
    return NK_OK;
}

enum nk_err gossip_wire_read_heartbeat(struct nk_bytes message, struct nk_arena *arena,
                                       struct gossip_wire_heartbeat *out_heartbeat)
{
    const Norikv__Internal__V1__Heartbeat *unpacked =
        (const Norikv__Internal__V1__Heartbeat *)nk_unpack(
            &norikv__internal__v1__heartbeat__descriptor, message, arena);
    if (unpacked == NULL || !nk_cluster_node_id_valid(unpacked->node_id) ||
        !nk_cluster_role_valid(unpacked->role)) {
        return NK_INVALID;
    }
    *out_heartbeat = (struct gossip_wire_heartbeat){unpacked->node_id,   unpacked->role,
                                                    unpacked->session,   unpacked->epoch_seen,
                                                    unpacked->publisher, unpacked->reports};
    return NK_OK;
}

enum nk_err gossip_wire_read_report(struct nk_bytes message, struct nk_arena *arena,
                                    struct gossip_wire_report *out_report)
{
    const Norikv__Internal__V1__ShardReport *unpacked =
        (const Norikv__Internal__V1__ShardReport *)nk_unpack(
            &norikv__internal__v1__shard_report__descriptor, message, arena);
    if (unpacked == NULL || !nk_cluster_node_id_valid(unpacked->node_id)) {
        return NK_INVALID;
    }
    struct nk_cluster_shard *shards = nk_arena_try(arena, unpacked->n_shards * sizeof *shards);
    if (shards == NULL) {
        return NK_INVALID;
    }
    for (size_t i = 0; i < unpacked->n_shards; i++) {
        if (nk_cluster_shard_read(unpacked->shards[i], &shards[i]) != NK_OK) {
            return NK_INVALID;
        }
    }
    *out_report = (struct gossip_wire_report){
        unpacked->node_id,  unpacked->session,  shards,
        unpacked->n_shards, unpacked->sequence, unpacked->first_of_all != 0};
    return NK_OK;
}

/* For people; the number says the same. */
static const char *explanation(enum nk_err err)
{
    switch (err) {
    case NK_CONFLICT:
        return "another process with this node_id and role is alive";
    case NK_BUSY:
        return "too many processes are registered";
    default:
        return "";
    }
}

void gossip_wire_write_registered(const struct gossip_wire_registered *registered,
                                  struct nk_buf *out)
{
    Norikv__Internal__V1__Registered message;
    norikv__internal__v1__registered__init(&message);
    message.session = registered->session;
    message.lease_ms = GOSSIP_LEASE_MS;
    message.listen_address = (char *)registered->listen_address;
    message.publisher = registered->publisher;
    message.sequence = registered->sequence;
    message.err = (uint32_t)registered->err;
    message.message = (char *)explanation(registered->err);
    message.report_missing = registered->report_missing;
    nk_frame_pack(out, NK_FRAME_REGISTERED, &message.base);
}

void gossip_wire_write_member(const struct nk_cluster_member *member, struct nk_buf *out)
{
    Norikv__Internal__V1__Member message;
    nk_cluster_member_write(member, &message);
    size_t size = norikv__internal__v1__member__get_packed_size(&message);
    size_t packed = norikv__internal__v1__member__pack(&message, nk_buf_extend(out, size));
    NK_ASSERT(packed == size);
}

enum nk_err gossip_wire_read_member(struct nk_bytes bytes, struct nk_arena *arena,
                                    struct nk_cluster_member *out_member)
{
    const Norikv__Internal__V1__Member *unpacked = (const Norikv__Internal__V1__Member *)nk_unpack(
        &norikv__internal__v1__member__descriptor, bytes, arena);
    return unpacked != NULL ? nk_cluster_member_read(unpacked, out_member) : NK_INVALID;
}
