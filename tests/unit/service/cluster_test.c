/* The replica of gossip's state: what is taken, in which order, and what is refused. */

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>

#include "common/base/alloc.h"
#include "common/base/units.h"

#include "telling.h"

TestSuite(service_cluster, .timeout = 10);

/* Two nodes and a gateway, shards 2 and 5; publisher 50, number 10, epoch 100. */
static struct nk_cluster *known(void)
{
    struct nk_cluster *cluster;
    nk_cluster_new(&cluster);
    struct telling *telling = telling_new(50, 10, 100, true);
    telling_member(telling, "n2", "shardhost")->total_shards = 16;
    (void)telling_member(telling, "n1", "shardhost");
    (void)telling_member(telling, "n1", "gateway");
    (void)telling_shard(telling, 5, 3, "n2");
    (void)telling_shard(telling, 2, 7, "n1");
    cr_assert_eq(telling_tell(telling, cluster), NK_OK);
    return cluster;
}

Test(service_cluster, a_new_one_knows_nothing)
{
    struct nk_cluster *cluster;
    nk_cluster_new(&cluster);
    cr_expect_eq(nk_cluster_publisher(cluster), 0);
    cr_expect_eq(nk_cluster_epoch(cluster), 0);
    cr_expect_eq(nk_cluster_member_count(cluster), 0);
    cr_expect_eq(nk_cluster_shard_count(cluster), 0);
    cr_expect_null(nk_cluster_member(cluster, "n1", "shardhost"));
    cr_expect_null(nk_cluster_shard(cluster, 0));
    cr_expect_null(nk_cluster_shard(cluster, UINT32_MAX));
    cr_expect_eq(nk_cluster_total_shards(cluster), 0);
    nk_cluster_free(&cluster);
    cr_expect_null(cluster);
    nk_cluster_free(&cluster);
    nk_cluster_free(NULL);
}

Test(service_cluster, members_are_sorted_by_node_and_role_and_shards_by_number)
{
    struct nk_cluster *cluster = known();
    static const char *const members[][2] = {
        {"n1", "gateway"}, {"n1", "shardhost"}, {"n2", "shardhost"}};
    cr_assert_eq(nk_cluster_member_count(cluster), NK_COUNT_OF(members));
    for (size_t i = 0; i < NK_COUNT_OF(members); i++) {
        const struct nk_cluster_member *member = nk_cluster_member_at(cluster, i);
        cr_expect_str_eq(member->node_id, members[i][0], "case %zu", i);
        cr_expect_str_eq(member->role, members[i][1], "case %zu", i);
        cr_expect_eq(nk_cluster_member(cluster, members[i][0], members[i][1]), member, "case %zu",
                     i);
    }
    cr_assert_eq(nk_cluster_shard_count(cluster), 2);
    cr_expect_eq(nk_cluster_shard_at(cluster, 0)->shard, 2);
    cr_expect_eq(nk_cluster_shard_at(cluster, 1)->shard, 5);
    cr_expect_eq(nk_cluster_shard(cluster, 5), nk_cluster_shard_at(cluster, 1));
    cr_expect_null(nk_cluster_shard(cluster, 3));
    nk_cluster_free(&cluster);
}

Test(service_cluster, a_snapshot_replaces_everything)
{
    struct nk_cluster *cluster = known();
    struct telling *telling = telling_new(50, 11, 101, true);
    (void)telling_member(telling, "n3", "admin");
    (void)telling_shard(telling, 6, 1, "n3");
    cr_assert_eq(telling_tell(telling, cluster), NK_OK);
    cr_expect_eq(nk_cluster_member_count(cluster), 1);
    cr_expect_not_null(nk_cluster_member(cluster, "n3", "admin"));
    cr_expect_eq(nk_cluster_shard_count(cluster), 1);
    cr_expect_null(nk_cluster_shard(cluster, 5));
    cr_expect_eq(nk_cluster_shard(cluster, 6)->term, 1);
    nk_cluster_free(&cluster);
}

Test(service_cluster, a_delta_changes_only_what_it_names)
{
    struct nk_cluster *cluster = known();
    struct telling *telling = telling_new(50, 11, 101, false);
    telling_removed(telling, "n1", "gateway");
    telling_removed(telling, "n9", "gateway"); /* not here: nothing to do */
    telling_member(telling, "n2", "shardhost")->session = 8;
    (void)telling_member(telling, "n3", "shardhost");
    (void)telling_shard(telling, 5, 4, "n1");
    (void)telling_shard(telling, 3, 1, "n3");
    cr_assert_eq(telling_tell(telling, cluster), NK_OK);
    cr_expect_eq(nk_cluster_member_count(cluster), 3);
    cr_expect_null(nk_cluster_member(cluster, "n1", "gateway"));
    cr_expect_eq(nk_cluster_member(cluster, "n2", "shardhost")->session, 8);
    cr_expect_not_null(nk_cluster_member(cluster, "n3", "shardhost"));
    cr_expect_eq(nk_cluster_shard_count(cluster), 3);
    cr_expect_str_eq(nk_cluster_shard(cluster, 5)->leader_node, "n1");
    cr_expect_eq(nk_cluster_shard(cluster, 2)->term, 7);
    cr_expect_eq(nk_cluster_sequence(cluster), 11);
    cr_expect_eq(nk_cluster_epoch(cluster), 101);
    nk_cluster_free(&cluster);
}

Test(service_cluster, updates_are_taken_in_their_order_and_epochs_never_go_back)
{
    static const struct {
        uint64_t publisher;
        uint64_t sequence;
        uint64_t epoch;
        bool snapshot;
        enum nk_err err;
    } cases[] = {
        {50, 11, 101, false, NK_OK},
        {50, 11, 900, false, NK_OK},
        {50, 11, 100, false, NK_INVALID}, /* a change without a higher epoch */
        {50, 11, 99, false, NK_INVALID},
        {50, 12, 102, false, NK_NOT_FOUND}, /* one is missing */
        {50, 10, 101, false, NK_CONFLICT},  /* had it */
        {50, 9, 101, false, NK_CONFLICT},
        {51, 11, 101, false, NK_NOT_FOUND}, /* a delta to a state of somebody else */
        {50, 10, 100, true, NK_OK},         /* the same again */
        {50, 13, 103, true, NK_OK},
        {50, 9, 99, true, NK_CONFLICT},
        {50, 11, 99, true, NK_INVALID},
        {51, 1, 101, true, NK_OK},
        {51, 1, 100, true, NK_CONFLICT}, /* it must first learn our epoch */
        {49, 99, 99, true, NK_CONFLICT},
        {0, 11, 101, true, NK_INVALID},
        {50, 0, 101, true, NK_INVALID},
        {50, 11, 0, false, NK_INVALID},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct nk_cluster *cluster = known();
        struct telling *telling =
            telling_new(cases[i].publisher, cases[i].sequence, cases[i].epoch, cases[i].snapshot);
        (void)telling_member(telling, "new", "admin");
        cr_expect_eq(telling_tell(telling, cluster), cases[i].err, "case %zu", i);
        bool taken = cases[i].err == NK_OK;
        cr_expect_eq(nk_cluster_member(cluster, "new", "admin") != NULL, taken, "case %zu", i);
        cr_expect_eq(nk_cluster_epoch(cluster), taken ? cases[i].epoch : 100, "case %zu", i);
        cr_expect_eq(nk_cluster_publisher(cluster), taken ? cases[i].publisher : 50, "case %zu", i);
        nk_cluster_free(&cluster);
    }
}

Test(service_cluster, an_update_with_one_senseless_entry_is_not_taken_at_all)
{
    for (size_t i = 0; i < 4; i++) {
        struct nk_cluster *cluster = known();
        struct telling *telling = telling_new(50, 11, 101, i % 2 == 0);
        (void)telling_member(telling, "new", "admin");
        (void)telling_shard(telling, 2, 9, "n2");
        if (i < 2) {
            telling_member(telling, "new2", "admin")->session = 0;
        } else {
            telling_shard(telling, 3, 9, "n2")->shard = NK_SHARDS_MAX;
        }
        cr_expect_eq(telling_tell(telling, cluster), NK_INVALID, "case %zu", i);
        cr_expect_null(nk_cluster_member(cluster, "new", "admin"), "case %zu", i);
        cr_expect_eq(nk_cluster_shard(cluster, 2)->term, 7, "case %zu", i);
        cr_expect_eq(nk_cluster_sequence(cluster), 10, "case %zu", i);
        nk_cluster_free(&cluster);
    }
}

/* A cluster with as many members as there may be: "m0" .. */
static struct nk_cluster *full(char names[][8])
{
    struct nk_cluster *cluster;
    nk_cluster_new(&cluster);
    struct telling *telling = telling_new(50, 10, 100, true);
    for (size_t i = 0; i < NK_MEMBERS_MAX; i++) {
        (void)snprintf(names[i], sizeof names[i], "m%zu", i);
        (void)telling_member(telling, names[i], "admin");
    }
    cr_assert_eq(telling_tell(telling, cluster), NK_OK);
    return cluster;
}

/* Whatever an update says, the table stays within its bounds: a name that is removed twice, or
 * removed and put, leaves less room than it seems. */
Test(service_cluster, no_update_makes_more_members_than_there_may_be)
{
    static const struct {
        const char *removed[2];
        const char *put[3];
        enum nk_err err;
    } cases[] = {
        {{NULL}, {"new"}, NK_INVALID},
        {{NULL}, {"m0"}, NK_OK},
        {{"m0"}, {"new"}, NK_OK},
        {{"m0"}, {"new", "new2"}, NK_INVALID},
        {{"m0", "m1"}, {"new", "new2"}, NK_OK},
        {{"m0", "m0"}, {"new", "new2"}, NK_INVALID},
        {{"m0"}, {"m0", "new"}, NK_INVALID},
        {{"m0", "absent"}, {"new", "new2"}, NK_INVALID},
    };
    static char names[NK_MEMBERS_MAX][8];
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct nk_cluster *cluster = full(names);
        struct telling *telling = telling_new(50, 11, 101, false);
        for (size_t j = 0; j < 2 && cases[i].removed[j] != NULL; j++) {
            telling_removed(telling, cases[i].removed[j], "admin");
        }
        for (size_t j = 0; j < 3 && cases[i].put[j] != NULL; j++) {
            (void)telling_member(telling, cases[i].put[j], "admin");
        }
        cr_expect_eq(telling_tell(telling, cluster), cases[i].err, "case %zu", i);
        cr_expect_leq(nk_cluster_member_count(cluster), NK_MEMBERS_MAX, "case %zu", i);
        nk_cluster_free(&cluster);
    }
}

Test(service_cluster, a_snapshot_of_more_members_than_there_may_be_is_refused)
{
    struct nk_cluster *cluster = known();
    struct telling *telling = telling_new(50, 11, 101, true);
    static char names[NK_MEMBERS_MAX + 1][8];
    for (size_t i = 0; i < NK_COUNT_OF(names); i++) {
        (void)snprintf(names[i], sizeof names[i], "m%zu", i);
        (void)telling_member(telling, names[i], "admin");
    }
    cr_expect_eq(telling_tell(telling, cluster), NK_INVALID);
    cr_expect_eq(nk_cluster_member_count(cluster), 3);
    nk_cluster_free(&cluster);
}

Test(service_cluster, a_publisher_cannot_put_more_members_than_there_may_be)
{
    static char names[NK_MEMBERS_MAX][8];
    struct nk_cluster *cluster = full(names);
    struct nk_cluster_member member = *nk_cluster_member(cluster, "m7", "admin");
    member.session = 9;
    cr_expect_eq(nk_cluster_put_member(cluster, &member), NK_OK);
    cr_expect_eq(nk_cluster_member(cluster, "m7", "admin")->session, 9);
    memcpy(member.node_id, "new", sizeof "new");
    cr_expect_eq(nk_cluster_put_member(cluster, &member), NK_BUSY);
    nk_cluster_remove_member(cluster, "m7", "admin");
    cr_expect_eq(nk_cluster_put_member(cluster, &member), NK_OK);
    nk_cluster_free(&cluster);
}

Test(service_cluster, total_shards_is_what_a_live_shardhost_says)
{
    static const struct {
        enum nk_member_state state;
        const char *role;
        uint32_t total_shards;
        uint32_t known;
    } cases[] = {
        {NK_MEMBER_ALIVE, "shardhost", 64, 64},  {NK_MEMBER_ALIVE, "shardhost", 0, 0},
        {NK_MEMBER_SUSPECT, "shardhost", 64, 0}, {NK_MEMBER_FAILED, "shardhost", 64, 0},
        {NK_MEMBER_ALIVE, "gateway", 64, 0},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct nk_cluster *cluster;
        nk_cluster_new(&cluster);
        struct nk_cluster_member member = {.node_id = "n1", .session = 1};
        memcpy(member.role, cases[i].role, strlen(cases[i].role));
        member.state = cases[i].state;
        member.total_shards = cases[i].total_shards;
        cr_assert_eq(nk_cluster_put_member(cluster, &member), NK_OK);
        cr_expect_eq(nk_cluster_total_shards(cluster), cases[i].known, "case %zu", i);
        nk_cluster_free(&cluster);
    }
}

Test(service_cluster, every_number_of_a_shard_finds_its_own_entry)
{
    static const uint32_t numbers[] = {NK_SHARDS_MAX - 1, 0, 64, 63, 65, 4096, 1};
    struct nk_cluster *cluster;
    nk_cluster_new(&cluster);
    for (size_t i = 0; i < NK_COUNT_OF(numbers); i++) {
        struct nk_cluster_shard shard = {.shard = numbers[i], .term = 100 + i};
        nk_cluster_put_shard(cluster, &shard);
    }
    for (size_t i = 0; i < NK_COUNT_OF(numbers); i++) {
        cr_expect_eq(nk_cluster_shard(cluster, numbers[i])->term, 100 + i, "case %zu", i);
    }
    for (size_t i = 1; i < nk_cluster_shard_count(cluster); i++) {
        cr_expect_lt(nk_cluster_shard_at(cluster, i - 1)->shard,
                     nk_cluster_shard_at(cluster, i)->shard);
    }
    nk_cluster_free(&cluster);
}

Test(service_cluster, the_publishers_epoch_never_goes_back, .signal = SIGABRT)
{
    struct nk_cluster *cluster = known();
    nk_cluster_stamp(cluster, 50, 11, 99);
}

Test(service_cluster, a_position_behind_the_last_member_is_a_programmer_error, .signal = SIGABRT)
{
    struct nk_cluster *cluster = known();
    (void)nk_cluster_member_at(cluster, 3);
}
