/* Members and shards to and from messages: only what makes sense is taken. */

#include <criterion/criterion.h>

#include "common/base/alloc.h"
#include "common/base/units.h"

#include "telling.h"

TestSuite(service_cluster_wire, .timeout = 10);

#define LONG_NAME_64 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

Test(service_cluster_wire, a_node_id_is_1_to_64_of_the_allowed_characters)
{
    static const struct {
        const char *node_id;
        bool valid;
    } cases[] = {
        {"a", true},          {"Node-1_x.Z", true}, {LONG_NAME_64, true}, {LONG_NAME_64 "a", false},
        {"", false},          {"a b", false},       {"a/b", false},       {"a\n", false},
        {"n\xc3\xb6", false}, {"a:1", false},       {"\"", false},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        cr_expect_eq(nk_cluster_node_id_valid(cases[i].node_id), cases[i].valid, "case %zu", i);
    }
}

Test(service_cluster_wire, a_role_is_1_to_15_small_letters)
{
    static const struct {
        const char *role;
        bool valid;
    } cases[] = {
        {"a", true},
        {"shardhost", true},
        {"abcdefghijklmno", true},
        {"abcdefghijklmnop", false},
        {"", false},
        {"Gateway", false},
        {"a1", false},
        {"a/b", false},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        cr_expect_eq(nk_cluster_role_valid(cases[i].role), cases[i].valid, "case %zu", i);
    }
}

static struct nk_cluster_member whole_member(void)
{
    struct nk_cluster_member member = {
        .node_id = "n1",
        .role = "gateway",
        .session = 77,
        .talk_address = "ipc:///d/run/gateway.bus",
        .rpc_address = "127.0.0.1:7447",
        .http_address = "[::1]:8080",
        .state = NK_MEMBER_SUSPECT,
        .total_shards = NK_SHARDS_MAX,
        .cluster_id = {1, 2, 3},
    };
    return member;
}

Test(service_cluster_wire, a_member_comes_back_as_it_was)
{
    struct nk_cluster_member members[] = {whole_member(), whole_member()};
    members[1].cluster_id[0] = members[1].cluster_id[1] = members[1].cluster_id[2] = 0;
    members[1].rpc_address[0] = '\0';
    memset(members[1].rpc_address, 0, sizeof members[1].rpc_address);
    for (size_t i = 0; i < NK_COUNT_OF(members); i++) {
        Norikv__Internal__V1__Member message;
        nk_cluster_member_write(&members[i], &message);
        cr_expect_eq(message.cluster_id.len, i == 0 ? 16 : 0, "case %zu", i);
        struct nk_cluster_member back;
        memset(&back, 0xff, sizeof back);
        cr_assert_eq(nk_cluster_member_read(&message, &back), NK_OK, "case %zu", i);
        cr_expect_eq(memcmp(&back, &members[i], sizeof back), 0, "case %zu", i);
    }
}

/* What a test does to an otherwise good member. */
static void spoil_member(Norikv__Internal__V1__Member *message, size_t how, char *long_text)
{
    static uint8_t id[17];
    switch (how) {
    case 0:
        message->node_id = (char *)"";
        break;
    case 1:
        message->role = (char *)"no role";
        break;
    case 2:
        message->session = 0;
        break;
    case 3:
        message->talk_address = (char *)"tcp://a\nb";
        break;
    case 4:
        message->rpc_address = (char *)"a\x7f";
        break;
    case 5:
        message->http_address = long_text;
        break;
    case 6:
        message->state = NORIKV__INTERNAL__V1__MEMBER_STATE__MEMBER_STATE_NONE;
        break;
    case 7:
        message->state = (Norikv__Internal__V1__MemberState)4;
        break;
    case 8:
        message->total_shards = NK_SHARDS_MAX + 1;
        break;
    case 9:
        message->cluster_id = (ProtobufCBinaryData){15, id};
        break;
    case 10:
        message->cluster_id = (ProtobufCBinaryData){17, id};
        break;
    default:
        cr_assert_fail();
    }
}

Test(service_cluster_wire, a_member_with_one_wrong_field_is_refused)
{
    char long_text[NK_ADDRESS_BYTES_MAX + 2];
    memset(long_text, 'a', sizeof long_text);
    long_text[NK_ADDRESS_BYTES_MAX + 1] = '\0';
    struct nk_cluster_member member = whole_member();
    for (size_t i = 0; i <= 10; i++) {
        Norikv__Internal__V1__Member message;
        nk_cluster_member_write(&member, &message);
        spoil_member(&message, i, long_text);
        struct nk_cluster_member out;
        cr_expect_eq(nk_cluster_member_read(&message, &out), NK_INVALID, "case %zu", i);
    }
    long_text[NK_ADDRESS_BYTES_MAX] = '\0'; /* as long as it may be */
    Norikv__Internal__V1__Member message;
    nk_cluster_member_write(&member, &message);
    spoil_member(&message, 5, long_text);
    struct nk_cluster_member out;
    cr_expect_eq(nk_cluster_member_read(&message, &out), NK_OK);
}

Test(service_cluster_wire, a_shard_comes_back_as_it_was)
{
    struct nk_cluster_shard shard = {
        .shard = NK_SHARDS_MAX - 1,
        .term = UINT64_MAX,
        .leader_node = "n2",
        .replica_nodes = {"n1", "n2", "n3", "n4", "n5", "n6", "n7"},
        .replica_count = NK_CLUSTER_REPLICAS_MAX,
    };
    char *replicas[NK_CLUSTER_REPLICAS_MAX];
    Norikv__Internal__V1__ShardState message;
    nk_cluster_shard_write(&shard, replicas, &message);
    struct nk_cluster_shard back;
    memset(&back, 0xff, sizeof back);
    cr_assert_eq(nk_cluster_shard_read(&message, &back), NK_OK);
    cr_expect_eq(memcmp(&back, &shard, sizeof back), 0);
}

Test(service_cluster_wire, a_shard_with_one_wrong_field_is_refused)
{
    static const char *const replicas[] = {"n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8"};
    static const char *const wrong_replicas[] = {"n1", ""};
    static const struct {
        uint32_t shard;
        const char *leader;
        const char *const *replicas;
        size_t replica_count;
        enum nk_err err;
    } cases[] = {
        {0, "", replicas, 7, NK_OK},
        {0, "n1", NULL, 0, NK_OK},
        {NK_SHARDS_MAX, "n1", replicas, 1, NK_INVALID},
        {NK_SHARD_SYSTEM, "n1", replicas, 1, NK_INVALID},
        {0, "n 1", replicas, 1, NK_INVALID},
        {0, "n1", replicas, 8, NK_INVALID},
        {0, "n1", wrong_replicas, 2, NK_INVALID},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        Norikv__Internal__V1__ShardState message = NORIKV__INTERNAL__V1__SHARD_STATE__INIT;
        message.shard = cases[i].shard;
        message.leader_node = (char *)(uintptr_t)cases[i].leader;
        message.replica_nodes = (char **)(uintptr_t)cases[i].replicas;
        message.n_replica_nodes = cases[i].replica_count;
        struct nk_cluster_shard out;
        cr_expect_eq(nk_cluster_shard_read(&message, &out), cases[i].err, "case %zu", i);
    }
}
