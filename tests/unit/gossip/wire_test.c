/* Frames of gossip: what is read has been checked. */

#include <criterion/criterion.h>
#include <stdio.h>

#include "common/base/units.h"
#include "proto/frame.h"
#include "services/gossip/registry.h"
#include "services/gossip/wire.h"

TestSuite(gossip_wire, .timeout = 10);

static char *text(const char *constant)
{
    return (char *)(uintptr_t)constant; /* protobuf-c has no const texts */
}

static void pack(const ProtobufCMessage *message, struct nk_buf *out)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    (void)protobuf_c_message_pack(message, nk_buf_extend(out, size));
}

Test(gossip_wire, a_registration_is_taken_as_alive_whatever_it_claims)
{
    Norikv__Internal__V1__Member member = NORIKV__INTERNAL__V1__MEMBER__INIT;
    member.node_id = text("n1");
    member.role = text("gateway");
    member.session = 9;
    member.state = NORIKV__INTERNAL__V1__MEMBER_STATE__MEMBER_STATE_FAILED;
    Norikv__Internal__V1__Register message = NORIKV__INTERNAL__V1__REGISTER__INIT;
    message.member = &member;
    message.epoch_seen = 77;
    struct nk_buf packed = {0};
    pack(&message.base, &packed);
    struct nk_arena arena;
    nk_arena_init(&arena, 4096, 0);
    struct gossip_wire_register out;
    cr_assert_eq(gossip_wire_read_register(nk_buf_bytes(&packed), &arena, &out), NK_OK);
    cr_expect_str_eq(out.member.node_id, "n1");
    cr_expect_eq(out.member.session, 9);
    cr_expect_eq(out.member.state, NK_MEMBER_ALIVE);
    cr_expect_eq(out.epoch_seen, 77);
    nk_arena_deinit(&arena);
    nk_buf_deinit(&packed);
}

Test(gossip_wire, a_senseless_registration_is_refused)
{
    static const struct {
        bool member;
        const char *node_id;
        const char *role;
        uint64_t session;
        enum nk_err err;
    } cases[] = {
        {true, "n1", "gateway", 1, NK_OK},
        {false, "", "", 0, NK_INVALID},
        {true, "", "gateway", 1, NK_INVALID},
        {true, "n1", "", 1, NK_INVALID},
        {true, "n1", "gateway", 0, NK_INVALID},
        {true, "n1", "gossip", 1, NK_INVALID}, /* they have swim */
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        Norikv__Internal__V1__Member member = NORIKV__INTERNAL__V1__MEMBER__INIT;
        member.node_id = text(cases[i].node_id);
        member.role = text(cases[i].role);
        member.session = cases[i].session;
        Norikv__Internal__V1__Register message = NORIKV__INTERNAL__V1__REGISTER__INIT;
        message.member = cases[i].member ? &member : NULL;
        struct nk_buf packed = {0};
        pack(&message.base, &packed);
        struct nk_arena arena;
        nk_arena_init(&arena, 4096, 0);
        struct gossip_wire_register out;
        cr_expect_eq(gossip_wire_read_register(nk_buf_bytes(&packed), &arena, &out), cases[i].err,
                     "case %zu", i);
        nk_arena_deinit(&arena);
        nk_buf_deinit(&packed);
    }
}

Test(gossip_wire, a_heartbeat_needs_a_name)
{
    static const struct {
        const char *node_id;
        const char *role;
        enum nk_err err;
    } cases[] = {
        {"n1", "gateway", NK_OK},       {"", "gateway", NK_INVALID},   {"n1", "", NK_INVALID},
        {"n 1", "gateway", NK_INVALID}, {"n1", "Gateway", NK_INVALID},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        Norikv__Internal__V1__Heartbeat message = NORIKV__INTERNAL__V1__HEARTBEAT__INIT;
        message.node_id = text(cases[i].node_id);
        message.role = text(cases[i].role);
        message.session = 3;
        message.epoch_seen = 4;
        message.publisher = 5;
        struct nk_buf packed = {0};
        pack(&message.base, &packed);
        struct nk_arena arena;
        nk_arena_init(&arena, 4096, 0);
        struct gossip_wire_heartbeat out = {0};
        cr_expect_eq(gossip_wire_read_heartbeat(nk_buf_bytes(&packed), &arena, &out), cases[i].err,
                     "case %zu", i);
        if (cases[i].err == NK_OK) {
            cr_expect_str_eq(out.node_id, "n1");
            cr_expect_str_eq(out.role, "gateway");
            cr_expect_eq(out.session, 3);
            cr_expect_eq(out.epoch_seen, 4);
            cr_expect_eq(out.publisher, 5);
        }
        nk_arena_deinit(&arena);
        nk_buf_deinit(&packed);
    }
}

Test(gossip_wire, a_report_is_taken_whole_or_not_at_all)
{
    static const struct {
        const char *node_id;
        uint32_t second_shard;
        size_t arena_bytes_max;
        enum nk_err err;
    } cases[] = {
        {"n1", 4, 0, NK_OK},
        {"", 4, 0, NK_INVALID},
        {"n1", NK_SHARDS_MAX, 0, NK_INVALID},
        {"n1", 4, 512, NK_INVALID}, /* it would unpack to more than it may */
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        Norikv__Internal__V1__ShardState shards[2] = {NORIKV__INTERNAL__V1__SHARD_STATE__INIT,
                                                      NORIKV__INTERNAL__V1__SHARD_STATE__INIT};
        Norikv__Internal__V1__ShardState *list[] = {&shards[0], &shards[1]};
        shards[0].shard = 3;
        shards[0].term = 7;
        shards[0].leader_node = text("n1");
        shards[1].shard = cases[i].second_shard;
        Norikv__Internal__V1__ShardReport message = NORIKV__INTERNAL__V1__SHARD_REPORT__INIT;
        message.node_id = text(cases[i].node_id);
        message.session = 9;
        message.shards = list;
        message.n_shards = 2;
        struct nk_buf packed = {0};
        pack(&message.base, &packed);
        struct nk_arena arena;
        nk_arena_init(&arena, 256, cases[i].arena_bytes_max);
        struct gossip_wire_report out = {0};
        cr_expect_eq(gossip_wire_read_report(nk_buf_bytes(&packed), &arena, &out), cases[i].err,
                     "case %zu", i);
        if (cases[i].err == NK_OK) {
            cr_expect_str_eq(out.node_id, "n1");
            cr_expect_eq(out.session, 9);
            cr_assert_eq(out.shard_count, 2);
            cr_expect_eq(out.shards[0].term, 7);
            cr_expect_str_eq(out.shards[0].leader_node, "n1");
            cr_expect_eq(out.shards[1].shard, 4);
        }
        nk_arena_deinit(&arena);
        nk_buf_deinit(&packed);
    }
}

Test(gossip_wire, what_is_no_message_is_refused)
{
    static const uint8_t garbage[] = {0xff, 0xff, 0xff};
    struct nk_bytes bytes = nk_bytes_of(garbage, sizeof garbage);
    struct nk_arena arena;
    nk_arena_init(&arena, 4096, 0);
    struct gossip_wire_register registration;
    struct gossip_wire_heartbeat heartbeat;
    struct gossip_wire_report report;
    struct nk_cluster_member member;
    cr_expect_eq(gossip_wire_read_register(bytes, &arena, &registration), NK_INVALID);
    cr_expect_eq(gossip_wire_read_heartbeat(bytes, &arena, &heartbeat), NK_INVALID);
    cr_expect_eq(gossip_wire_read_report(bytes, &arena, &report), NK_INVALID);
    cr_expect_eq(gossip_wire_read_member(bytes, &arena, &member), NK_INVALID);
    nk_arena_deinit(&arena);
}

Test(gossip_wire, an_answer_says_what_was_decided_and_for_how_long)
{
    static const struct {
        enum nk_err err;
        const char *message;
    } cases[] = {
        {NK_OK, ""},
        {NK_NOT_FOUND, ""},
        {NK_CONFLICT, "another process with this node_id and role is alive"},
        {NK_BUSY, "too many processes are registered"},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct gossip_wire_registered registered = {
            .session = 9,
            .listen_address = "ipc:///d/run/gossip.bus.out",
            .publisher = 50,
            .sequence = 12,
            .err = cases[i].err,
        };
        struct nk_buf frame = {0};
        gossip_wire_write_registered(&registered, &frame);
        enum nk_frame_type type;
        struct nk_bytes bytes;
        cr_assert_eq(nk_frame_parse(nk_buf_bytes(&frame), &type, &bytes), NK_OK);
        cr_expect_eq(type, NK_FRAME_REGISTERED);
        struct nk_arena arena;
        nk_arena_init(&arena, 4096, 0);
        const Norikv__Internal__V1__Registered *message =
            (const Norikv__Internal__V1__Registered *)nk_unpack(
                &norikv__internal__v1__registered__descriptor, bytes, &arena);
        cr_assert_not_null(message);
        cr_expect_eq(message->session, 9);
        cr_expect_eq(message->lease_ms, GOSSIP_LEASE_MS);
        cr_expect_str_eq(message->listen_address, "ipc:///d/run/gossip.bus.out");
        cr_expect_eq(message->publisher, 50);
        cr_expect_eq(message->sequence, 12);
        cr_expect_eq(message->err, (uint32_t)cases[i].err, "case %zu", i);
        cr_expect_str_eq(message->message, cases[i].message, "case %zu", i);
        nk_arena_deinit(&arena);
        nk_buf_deinit(&frame);
    }
}

Test(gossip_wire, a_saved_member_comes_back_as_it_was)
{
    struct nk_cluster_member member = {
        .node_id = "n1",
        .role = "shardhost",
        .session = 9,
        .talk_address = "ipc:///d/run/shardhost.bus",
        .state = NK_MEMBER_ALIVE,
        .total_shards = 16,
        .cluster_id = {1},
    };
    struct nk_buf saved = {0};
    gossip_wire_write_member(&member, &saved);
    struct nk_arena arena;
    nk_arena_init(&arena, 4096, 0);
    struct nk_cluster_member back;
    memset(&back, 0xff, sizeof back);
    cr_assert_eq(gossip_wire_read_member(nk_buf_bytes(&saved), &arena, &back), NK_OK);
    cr_expect_eq(memcmp(&back, &member, sizeof back), 0);
    nk_arena_deinit(&arena);
    nk_buf_deinit(&saved);
}
