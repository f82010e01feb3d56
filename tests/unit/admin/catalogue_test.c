/* What admin knows for good about its cluster. */

#include <criterion/criterion.h>

#include "services/admin/catalogue.h"
#include "tests/unit/stage/stage.h"

TestSuite(admin_catalogue, .timeout = 10);

static void put(struct nk_cluster *cluster, const char *node_id, const char *role,
                enum nk_member_state state, uint8_t id, uint32_t total_shards)
{
    struct nk_cluster_member member = {.session = 1, .state = state, .total_shards = total_shards};
    memcpy(member.node_id, node_id, strlen(node_id));
    memcpy(member.role, role, strlen(role));
    member.cluster_id[15] = id;
    cr_assert_eq(nk_cluster_put_member(cluster, &member), NK_OK);
}

Test(admin_catalogue, only_a_live_shardhost_that_knows_its_cluster_tells)
{
    static const struct {
        const char *role;
        enum nk_member_state state;
        uint8_t id;
        uint32_t total_shards;
        bool known;
    } cases[] = {
        {"shardhost", NK_MEMBER_ALIVE, 7, 16, true},
        {"shardhost", NK_MEMBER_SUSPECT, 7, 16, false},
        {"shardhost", NK_MEMBER_FAILED, 7, 16, false},
        {"shardhost", NK_MEMBER_ALIVE, 0, 16, false},
        {"shardhost", NK_MEMBER_ALIVE, 7, 0, false},
        {"gateway", NK_MEMBER_ALIVE, 7, 16, false},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct stage stage;
        stage_open(&stage);
        struct admin_catalogue catalogue;
        cr_assert_eq(admin_catalogue_open(&catalogue, &stage.env.meta), NK_OK);
        cr_expect(!catalogue.known);
        struct nk_cluster *cluster;
        nk_cluster_new(&cluster);
        put(cluster, "n1", cases[i].role, cases[i].state, cases[i].id, cases[i].total_shards);
        cr_expect_eq(admin_catalogue_learn(&catalogue, cluster), NK_OK, "case %zu", i);
        cr_expect_eq(catalogue.known, cases[i].known, "case %zu", i);
        cr_expect_eq(stage.calls[STAGE_META_PUT], cases[i].known ? 1 : 0, "case %zu", i);
        cr_expect_eq(catalogue.total_shards, cases[i].known ? 16 : 0, "case %zu", i);
        nk_cluster_free(&cluster);
        stage_close(&stage);
    }
}

Test(admin_catalogue, what_was_learnt_survives_and_another_cluster_is_a_conflict)
{
    static const struct {
        uint8_t id;
        uint32_t total_shards;
        enum nk_err err;
    } cases[] = {{7, 16, NK_OK}, {8, 16, NK_CONFLICT}, {7, 32, NK_CONFLICT}};
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct stage stage;
        stage_open(&stage);
        struct admin_catalogue catalogue;
        cr_assert_eq(admin_catalogue_open(&catalogue, &stage.env.meta), NK_OK);
        struct nk_cluster *cluster;
        nk_cluster_new(&cluster);
        put(cluster, "n1", "shardhost", NK_MEMBER_ALIVE, 7, 16);
        cr_assert_eq(admin_catalogue_learn(&catalogue, cluster), NK_OK);
        cr_assert_eq(admin_catalogue_open(&catalogue, &stage.env.meta), NK_OK);
        cr_expect(catalogue.known);
        cr_expect_eq(catalogue.cluster_id[15], 7);
        cr_expect_eq(catalogue.total_shards, 16);
        put(cluster, "n2", "shardhost", NK_MEMBER_ALIVE, cases[i].id, cases[i].total_shards);
        cr_expect_eq(admin_catalogue_learn(&catalogue, cluster), cases[i].err, "case %zu", i);
        cr_expect_eq(catalogue.cluster_id[15], 7, "case %zu", i);
        cr_expect_eq(stage.calls[STAGE_META_PUT], 1, "case %zu", i);
        nk_cluster_free(&cluster);
        stage_close(&stage);
    }
}

Test(admin_catalogue, what_could_not_be_saved_is_not_known_yet)
{
    static const enum nk_err errs[] = {NK_NO_SPACE, NK_IO};
    for (size_t i = 0; i < NK_COUNT_OF(errs); i++) {
        struct stage stage;
        stage_open(&stage);
        struct admin_catalogue catalogue;
        cr_assert_eq(admin_catalogue_open(&catalogue, &stage.env.meta), NK_OK);
        struct nk_cluster *cluster;
        nk_cluster_new(&cluster);
        put(cluster, "n1", "shardhost", NK_MEMBER_ALIVE, 7, 16);
        stage_fail(&stage, STAGE_META_PUT, 1, errs[i]);
        cr_expect_eq(admin_catalogue_learn(&catalogue, cluster), errs[i], "case %zu", i);
        cr_expect(!catalogue.known, "case %zu", i);
        cr_expect_eq(admin_catalogue_learn(&catalogue, cluster), NK_OK, "case %zu", i);
        cr_expect(catalogue.known, "case %zu", i);
        nk_cluster_free(&cluster);
        stage_close(&stage);
    }
}

Test(admin_catalogue, what_is_stored_and_no_catalogue_is_refused)
{
    static const struct {
        const char *bytes;
        size_t size;
        enum nk_err err;
    } cases[] = {
        {"\1\0\0\0"
         "0123456789abcdef"
         "\x10\0\0\0",
         24, NK_OK},
        {"\1\0\0\0"
         "0123456789abcdef"
         "\x10\0\0",
         23, NK_CORRUPT},
        {"\1\0\0\0"
         "0123456789abcdef"
         "\x10\0\0\0",
         25, NK_CORRUPT}, /* with its NUL */
        {"\1\0\0\0"
         "0123456789abcdef"
         "\0\0\0\0",
         24, NK_CORRUPT},
        {"\1\0\0\0"
         "0123456789abcdef"
         "\1\0\1\0",
         24, NK_CORRUPT}, /* 65537 shards */
        {"\0\0\0\0"
         "0123456789abcdef"
         "\x10\0\0\0",
         24, NK_CORRUPT},
        {"\2\0\0\0"
         "later",
         9, NK_FORMAT_TOO_NEW},
        {"\2\0\0", 3, NK_CORRUPT},
        {"", 0, NK_CORRUPT},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct stage stage;
        stage_open(&stage);
        const struct nk_meta *meta = &stage.env.meta;
        cr_assert_eq(meta->ops->put(meta->ctx, nk_bytes_of_string("cluster"),
                                    nk_bytes_of(cases[i].bytes, cases[i].size)),
                     NK_OK);
        struct admin_catalogue catalogue;
        cr_expect_eq(admin_catalogue_open(&catalogue, meta), cases[i].err, "case %zu", i);
        cr_expect_eq(catalogue.known, cases[i].err == NK_OK, "case %zu", i);
        stage_close(&stage);
    }
}

Test(admin_catalogue, a_failed_read_is_passed_up)
{
    struct stage stage;
    stage_open(&stage);
    stage_fail(&stage, STAGE_META_GET, 1, NK_IO);
    struct admin_catalogue catalogue;
    cr_expect_eq(admin_catalogue_open(&catalogue, &stage.env.meta), NK_IO);
    stage_close(&stage);
}
