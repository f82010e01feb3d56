/* Registrations and reports in, numbered updates out: whoever applies them has what the view has.
 */

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>

#include "common/base/prng.h"
#include "common/base/units.h"
#include "proto/frame.h"
#include "services/gossip/view.h"

TestSuite(gossip_view, .timeout = 60);

#define PUBLISHER ((uint64_t)50)

static struct nk_cluster_member process(const char *node_id, const char *role,
                                        enum nk_member_state state)
{
    struct nk_cluster_member member = {.session = 1, .state = state};
    (void)snprintf(member.node_id, sizeof member.node_id, "%s", node_id);
    (void)snprintf(member.role, sizeof member.role, "%s", role);
    return member;
}

static void put(struct gossip_view *view, const char *node_id, const char *role,
                enum nk_member_state state)
{
    struct nk_cluster_member member = process(node_id, role, state);
    cr_assert_eq(gossip_view_put_member(view, &member), NK_OK);
}

static struct nk_cluster_shard shard_of(uint32_t number, uint64_t term, const char *leader,
                                        const char *replica)
{
    struct nk_cluster_shard shard = {.shard = number, .term = term, .replica_count = 1};
    (void)snprintf(shard.leader_node, sizeof shard.leader_node, "%s", leader);
    (void)snprintf(shard.replica_nodes[0], sizeof shard.replica_nodes[0], "%s", replica);
    return shard;
}

/* Three live shardhosts and one dead. */
static struct gossip_view *opened(void)
{
    struct gossip_view *view;
    gossip_view_new(PUBLISHER, &view);
    put(view, "n1", "shardhost", NK_MEMBER_ALIVE);
    put(view, "n2", "shardhost", NK_MEMBER_ALIVE);
    put(view, "n3", "shardhost", NK_MEMBER_ALIVE);
    put(view, "dead", "shardhost", NK_MEMBER_FAILED);
    return view;
}

/* Applies a frame as a receiver would. */
static enum nk_err apply(struct nk_cluster *cluster, struct nk_bytes frame)
{
    enum nk_frame_type type;
    struct nk_bytes message;
    cr_assert_eq(nk_frame_parse(frame, &type, &message), NK_OK);
    cr_assert_eq(type, NK_FRAME_STATE_UPDATE);
    struct nk_arena arena;
    nk_arena_init(&arena, 64 * NK_KIB, 0);
    const Norikv__Internal__V1__StateUpdate *update =
        (const Norikv__Internal__V1__StateUpdate *)nk_unpack(
            &norikv__internal__v1__state_update__descriptor, message, &arena);
    cr_assert_not_null(update);
    enum nk_err err = nk_cluster_update(cluster, update);
    nk_arena_deinit(&arena);
    return err;
}

static void expect_same(const struct nk_cluster *is, const struct nk_cluster *ought)
{
    cr_assert_eq(nk_cluster_publisher(is), nk_cluster_publisher(ought));
    cr_assert_eq(nk_cluster_sequence(is), nk_cluster_sequence(ought));
    cr_assert_eq(nk_cluster_epoch(is), nk_cluster_epoch(ought));
    cr_assert_eq(nk_cluster_member_count(is), nk_cluster_member_count(ought));
    for (size_t i = 0; i < nk_cluster_member_count(is); i++) {
        cr_assert_eq(memcmp(nk_cluster_member_at(is, i), nk_cluster_member_at(ought, i),
                            sizeof(struct nk_cluster_member)),
                     0);
    }
    cr_assert_eq(nk_cluster_shard_count(is), nk_cluster_shard_count(ought));
    for (size_t i = 0; i < nk_cluster_shard_count(is); i++) {
        cr_assert_eq(memcmp(nk_cluster_shard_at(is, i), nk_cluster_shard_at(ought, i),
                            sizeof(struct nk_cluster_shard)),
                     0);
    }
}

/* Tells everything that is new; returns in how many deltas. */
static size_t tell(struct gossip_view *view, uint64_t *epoch, struct nk_cluster *receiver)
{
    size_t count = 0;
    while (gossip_view_changed(view)) {
        struct nk_buf frame = {0};
        gossip_view_delta(view, ++*epoch, &frame);
        cr_assert_eq(apply(receiver, nk_buf_bytes(&frame)), NK_OK);
        nk_buf_deinit(&frame);
        count++;
    }
    return count;
}

/* A receiver that has the first snapshot. */
static struct nk_cluster *follow(struct gossip_view *view, uint64_t *epoch)
{
    struct nk_buf frame = {0};
    gossip_view_delta(view, ++*epoch, &frame);
    nk_buf_clear(&frame);
    cr_assert_eq(gossip_view_snapshot(view, &frame), 0);
    struct nk_cluster *cluster;
    nk_cluster_new(&cluster);
    cr_assert_eq(apply(cluster, nk_buf_bytes(&frame)), NK_OK);
    nk_buf_deinit(&frame);
    return cluster;
}

/* Known: term 5, leader "n1" (or none), replica n1.  A report by `by`; then the term and leader. */
Test(gossip_view, the_highest_term_wins_and_within_a_term_the_leaders_own_word)
{
    static const struct {
        const char *known_leader;
        uint64_t term;
        const char *leader;
        const char *by;
        uint64_t term_after;
        const char *leader_after;
    } cases[] = {
        {"n1", 6, "n2", "n2", 6, "n2"},
        {"n1", 6, "n2", "n3", 6, "n2"},
        {"n1", 6, "", "n2", 6, ""}, /* a newer term ends the leadership of the former */
        {"n1", 4, "n2", "n2", 5, "n1"},
        {"n1", 5, "n2", "n3", 5, "n1"}, /* hearsay against the leader's own word */
        {"n1", 5, "", "n1", 5, ""},     /* the leader itself steps down */
        {"n1", 5, "", "n2", 5, "n1"},   /* others know less */
        {"n1", 5, "n2", "n2", 5, "n2"}, /* a leader speaks for itself */
        {"", 5, "n2", "n3", 5, "n2"},   /* better hearsay than nothing */
        {"", 5, "n2", "n2", 5, "n2"},
        {"n1", 6, "dead", "n2", 6, ""}, /* only who lives can lead */
        {"n1", 6, "absent", "n2", 6, ""},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct gossip_view *view = opened();
        struct nk_cluster_shard known = shard_of(3, 5, cases[i].known_leader, "n1");
        gossip_view_report(view, "n1", &known);
        struct nk_cluster_shard report = shard_of(3, cases[i].term, cases[i].leader, "n1");
        gossip_view_report(view, cases[i].by, &report);
        const struct nk_cluster_shard *after = nk_cluster_shard(gossip_view_cluster(view), 3);
        cr_expect_eq(after->term, cases[i].term_after, "case %zu", i);
        cr_expect_str_eq(after->leader_node, cases[i].leader_after, "case %zu", i);
        gossip_view_free(&view);
    }
}

Test(gossip_view, a_report_that_tells_nothing_new_is_no_change)
{
    struct gossip_view *view = opened();
    struct nk_cluster_shard shard = shard_of(3, 5, "n1", "n1");
    gossip_view_report(view, "n1", &shard);
    uint64_t epoch = 0;
    struct nk_cluster *receiver = follow(view, &epoch);
    cr_expect(!gossip_view_changed(view));
    gossip_view_report(view, "n1", &shard);
    shard.term = 4;
    gossip_view_report(view, "n1", &shard);
    cr_expect(!gossip_view_changed(view));
    nk_cluster_free(&receiver);
    gossip_view_free(&view);
}

Test(gossip_view, a_failed_node_leads_nothing_and_its_terms_stay)
{
    struct gossip_view *view = opened();
    struct nk_cluster_shard own = shard_of(3, 5, "n1", "n1");
    struct nk_cluster_shard other = shard_of(4, 6, "n2", "n1");
    gossip_view_report(view, "n1", &own);
    gossip_view_report(view, "n2", &other);
    gossip_view_node_failed(view, "n1");
    const struct nk_cluster *cluster = gossip_view_cluster(view);
    cr_expect_str_eq(nk_cluster_shard(cluster, 3)->leader_node, "");
    cr_expect_eq(nk_cluster_shard(cluster, 3)->term, 5);
    cr_expect_str_eq(nk_cluster_shard(cluster, 4)->leader_node, "n2");
    gossip_view_free(&view);
}

/* Its data may be another one: a disk that was replaced, a backup that was restored. */
Test(gossip_view, of_a_reborn_node_a_lower_term_is_believed_where_only_it_has_the_shard)
{
    struct gossip_view *view = opened();
    struct nk_cluster_shard alone = shard_of(3, 50, "n1", "n1");
    struct nk_cluster_shard shared = shard_of(4, 50, "n1", "n1");
    shared.replica_count = 2;
    memcpy(shared.replica_nodes[1], "n2", 3);
    gossip_view_report(view, "n1", &alone);
    gossip_view_report(view, "n1", &shared);
    gossip_view_node_reborn(view, "n1");
    alone.term = 2;
    shared.term = 2;
    gossip_view_report(view, "n1", &alone);
    gossip_view_report(view, "n1", &shared);
    const struct nk_cluster *cluster = gossip_view_cluster(view);
    cr_expect_eq(nk_cluster_shard(cluster, 3)->term, 2);
    cr_expect_str_eq(nk_cluster_shard(cluster, 3)->leader_node, "n1");
    cr_expect_eq(nk_cluster_shard(cluster, 4)->term, 50);
    cr_expect_str_eq(nk_cluster_shard(cluster, 4)->leader_node, "");
    gossip_view_free(&view);
}

Test(gossip_view, a_delta_has_the_next_number_and_the_given_epoch)
{
    struct gossip_view *view = opened();
    struct nk_buf frame = {0};
    gossip_view_delta(view, 77, &frame);
    const struct nk_cluster *cluster = gossip_view_cluster(view);
    cr_expect_eq(nk_cluster_publisher(cluster), PUBLISHER);
    cr_expect_eq(nk_cluster_sequence(cluster), 1);
    cr_expect_eq(nk_cluster_epoch(cluster), 77);
    put(view, "n4", "admin", NK_MEMBER_ALIVE);
    gossip_view_delta(view, 80, &frame);
    cr_expect_eq(nk_cluster_sequence(cluster), 2);
    cr_expect_eq(nk_cluster_epoch(cluster), 80);
    nk_buf_deinit(&frame);
    gossip_view_free(&view);
}

Test(gossip_view, a_member_that_came_and_went_between_two_deltas_is_told_as_removed)
{
    struct gossip_view *view = opened();
    uint64_t epoch = 0;
    struct nk_cluster *receiver = follow(view, &epoch);
    put(view, "n4", "admin", NK_MEMBER_ALIVE);
    gossip_view_remove_member(view, "n4", "admin");
    gossip_view_remove_member(view, "n3", "shardhost");
    put(view, "n3", "shardhost", NK_MEMBER_SUSPECT);
    cr_expect_eq(tell(view, &epoch, receiver), 1);
    cr_expect_null(nk_cluster_member(receiver, "n4", "admin"));
    cr_expect_eq(nk_cluster_member(receiver, "n3", "shardhost")->state, NK_MEMBER_SUSPECT);
    expect_same(receiver, gossip_view_cluster(view));
    nk_cluster_free(&receiver);
    gossip_view_free(&view);
}

Test(gossip_view, very_many_shards_take_several_deltas)
{
    struct gossip_view *view = opened();
    uint64_t epoch = 0;
    struct nk_cluster *receiver = follow(view, &epoch);
    for (uint32_t i = 0; i < 10000; i++) {
        struct nk_cluster_shard shard = shard_of(i, 1, "n1", "n1");
        gossip_view_report(view, "n1", &shard);
    }
    cr_expect_eq(tell(view, &epoch, receiver), 3);
    expect_same(receiver, gossip_view_cluster(view));
    nk_cluster_free(&receiver);
    gossip_view_free(&view);
}

Test(gossip_view, a_state_that_does_not_fit_a_frame_is_cut_and_says_by_how_much)
{
    struct gossip_view *view = opened();
    char long_id[NK_NODE_ID_BYTES_MAX + 1];
    memset(long_id, 'a', NK_NODE_ID_BYTES_MAX);
    long_id[NK_NODE_ID_BYTES_MAX] = '\0';
    put(view, long_id, "shardhost", NK_MEMBER_ALIVE);
    struct nk_cluster_shard shard = {.term = UINT64_MAX, .replica_count = NK_CLUSTER_REPLICAS_MAX};
    memcpy(shard.leader_node, long_id, sizeof shard.leader_node);
    for (size_t i = 0; i < NK_CLUSTER_REPLICAS_MAX; i++) {
        memcpy(shard.replica_nodes[i], long_id, sizeof shard.replica_nodes[i]);
    }
    for (uint32_t i = 0; i < NK_SHARDS_MAX; i += 2) {
        shard.shard = i;
        gossip_view_report(view, long_id, &shard);
    }
    struct nk_buf frame = {0};
    uint64_t epoch = 0;
    while (gossip_view_changed(view)) {
        nk_buf_clear(&frame);
        gossip_view_delta(view, ++epoch, &frame);
        cr_expect_leq(frame.size, NK_FRAME_BYTES_MAX);
    }
    nk_buf_clear(&frame);
    size_t missing = gossip_view_snapshot(view, &frame);
    cr_expect_gt(missing, 0);
    cr_expect_leq(frame.size, NK_FRAME_BYTES_MAX);
    struct nk_cluster *receiver;
    nk_cluster_new(&receiver);
    cr_assert_eq(apply(receiver, nk_buf_bytes(&frame)), NK_OK);
    cr_expect_eq(nk_cluster_shard_count(receiver) + missing,
                 nk_cluster_shard_count(gossip_view_cluster(view)));
    nk_cluster_free(&receiver);
    nk_buf_deinit(&frame);
    gossip_view_free(&view);
}

/* Anything at all, in any order: after every delta the receiver has what the view has, and so has
 * one that begins with a snapshot. */
Test(gossip_view, random_changes_reach_every_receiver)
{
    static const char *const roles[] = {"shardhost", "gateway"};
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct nk_prng prng;
        nk_prng_init(&prng, seed);
        struct gossip_view *view = opened();
        uint64_t epoch = 0;
        struct nk_cluster *receiver = follow(view, &epoch);
        for (size_t step = 0; step < 300; step++) {
            char node_id[8];
            (void)snprintf(node_id, sizeof node_id, "n%u", (unsigned)nk_prng_below(&prng, 6));
            const char *role = roles[nk_prng_below(&prng, 2)];
            struct nk_cluster_shard shard =
                shard_of((uint32_t)nk_prng_below(&prng, 20), nk_prng_below(&prng, 9), node_id,
                         nk_prng_below(&prng, 2) == 0 ? node_id : "n1");
            switch (nk_prng_below(&prng, 7)) {
            case 0:
                put(view, node_id, role, (enum nk_member_state)nk_prng_between(&prng, 1, 3));
                break;
            case 1:
                gossip_view_remove_member(view, node_id, role);
                break;
            case 2:
                gossip_view_node_failed(view, node_id);
                break;
            case 3:
                gossip_view_node_reborn(view, node_id);
                break;
            default:
                gossip_view_report(view, nk_prng_below(&prng, 2) == 0 ? node_id : "n2", &shard);
                break;
            }
            if (nk_prng_below(&prng, 4) == 0) {
                (void)tell(view, &epoch, receiver);
                expect_same(receiver, gossip_view_cluster(view));
            }
        }
        (void)tell(view, &epoch, receiver);
        struct nk_buf frame = {0};
        cr_assert_eq(gossip_view_snapshot(view, &frame), 0);
        struct nk_cluster *late;
        nk_cluster_new(&late);
        cr_assert_eq(apply(late, nk_buf_bytes(&frame)), NK_OK);
        expect_same(late, gossip_view_cluster(view));
        nk_cluster_free(&late);
        nk_buf_deinit(&frame);
        nk_cluster_free(&receiver);
        gossip_view_free(&view);
    }
}

Test(gossip_view, a_snapshot_of_what_was_not_told_is_a_programmer_error, .signal = SIGABRT)
{
    struct gossip_view *view = opened();
    struct nk_buf frame = {0};
    (void)gossip_view_snapshot(view, &frame);
}

Test(gossip_view, an_epoch_that_does_not_grow_is_a_programmer_error, .signal = SIGABRT)
{
    struct gossip_view *view = opened();
    struct nk_buf frame = {0};
    gossip_view_delta(view, 5, &frame);
    put(view, "n4", "admin", NK_MEMBER_ALIVE);
    gossip_view_delta(view, 5, &frame);
}
