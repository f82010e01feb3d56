/* Who has registered: sessions, leases, and what a registration means. */

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>

#include "services/gossip/registry.h"

TestSuite(gossip_registry, .timeout = 10);

#define LEASE_US  (GOSSIP_LEASE_MS * NK_US_PER_MS)
#define FORGET_US (GOSSIP_FORGET_AFTER_MS * NK_US_PER_MS)

static struct nk_cluster_member process(const char *node_id, const char *role, uint64_t session)
{
    struct nk_cluster_member member = {.session = session, .state = NK_MEMBER_ALIVE};
    (void)snprintf(member.node_id, sizeof member.node_id, "%s", node_id);
    (void)snprintf(member.role, sizeof member.role, "%s", role);
    return member;
}

/* What expire() said, in words. */
struct changes {
    char text[256];
    size_t size;
};

static void note(void *ctx, const struct gossip_registration *registration, bool forgotten)
{
    struct changes *changes = ctx;
    cr_expect_eq(registration->member.state, NK_MEMBER_FAILED);
    int size = snprintf(changes->text + changes->size, sizeof changes->text - changes->size,
                        "%s/%s %s;", registration->member.node_id, registration->member.role,
                        forgotten ? "forgotten" : "failed");
    changes->size += (size_t)size;
}

static void expect_expired(struct gossip_registry *registry, uint64_t now_us, const char *text)
{
    struct changes changes = {.text = ""};
    gossip_registry_expire(registry, now_us, note, &changes);
    cr_expect_str_eq(changes.text, text);
}

/* A known registration, and what a registration of session `session` is then. */
Test(gossip_registry, a_registration_means_what_it_changes)
{
    static const struct {
        uint64_t session;
        bool other_address;
        bool expired;
        enum nk_err err;
        enum gossip_registered what;
    } cases[] = {
        {10, false, false, NK_OK, GOSSIP_REGISTERED_SAME},
        {10, true, false, NK_OK, GOSSIP_REGISTERED_CHANGED},
        {11, false, false, NK_OK, GOSSIP_REGISTERED_REBORN},
        {11, true, true, NK_OK, GOSSIP_REGISTERED_REBORN},
        {10, false, true, NK_OK, GOSSIP_REGISTERED_BACK},
        {9, false, false, NK_CONFLICT, GOSSIP_REGISTERED_SAME},
        {9, false, true, NK_OK, GOSSIP_REGISTERED_REBORN}, /* the dead cannot defend itself */
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct gossip_registry registry;
        gossip_registry_init(&registry);
        struct nk_cluster_member member = process("n1", "shardhost", 10);
        enum gossip_registered what;
        cr_assert_eq(gossip_registry_register(&registry, &member, 0, &what), NK_OK);
        cr_expect_eq(what, GOSSIP_REGISTERED_NEW);
        uint64_t now_us = cases[i].expired ? LEASE_US : 1;
        expect_expired(&registry, now_us, cases[i].expired ? "n1/shardhost failed;" : "");
        struct gossip_registration *registration =
            gossip_registry_find(&registry, "n1", "shardhost");
        registration->unsaved = false;
        registration->reported = true;

        member.session = cases[i].session;
        member.talk_address[0] = cases[i].other_address ? 'x' : '\0';
        what = GOSSIP_REGISTERED_SAME;
        cr_expect_eq(gossip_registry_register(&registry, &member, now_us, &what), cases[i].err,
                     "case %zu", i);
        cr_expect_eq(what, cases[i].what, "case %zu", i);
        bool taken = cases[i].err == NK_OK;
        bool reborn = taken && cases[i].what == GOSSIP_REGISTERED_REBORN;
        cr_expect_eq(registration->member.session, taken ? cases[i].session : 10, "case %zu", i);
        cr_expect_eq(registration->member.state, NK_MEMBER_ALIVE, "case %zu", i);
        cr_expect_eq(registration->due_us, (taken ? now_us : 0) + LEASE_US, "case %zu", i);
        cr_expect_eq(registration->reported, !reborn, "case %zu", i);
        cr_expect_eq(registration->unsaved, reborn || cases[i].what == GOSSIP_REGISTERED_CHANGED,
                     "case %zu", i);
        gossip_registry_deinit(&registry);
    }
}

Test(gossip_registry, other_data_replaces_a_process_only_when_its_lease_has_ended)
{
    struct gossip_registry registry;
    gossip_registry_init(&registry);
    struct nk_cluster_member serves = process("n1", "shardhost", 10);
    struct nk_cluster_member empty = process("n1", "shardhost", 11);
    memcpy(serves.cluster_id, "the data of ever", sizeof serves.cluster_id);
    memcpy(empty.cluster_id, "a new directory.", sizeof empty.cluster_id);
    enum gossip_registered what;
    cr_assert_eq(gossip_registry_register(&registry, &serves, 0, &what), NK_OK);
    cr_expect_eq(gossip_registry_register(&registry, &empty, 1, &what), NK_CONFLICT);
    cr_expect_eq(gossip_registry_heartbeat(&registry, "n1", "shardhost", 10, 2), NK_OK);
    serves.session = 12; /* started anew */
    cr_expect_eq(gossip_registry_register(&registry, &serves, 3, &what), NK_OK);
    cr_expect_eq(what, GOSSIP_REGISTERED_REBORN);
    expect_expired(&registry, 3 + LEASE_US, "n1/shardhost failed;");
    cr_expect_eq(gossip_registry_register(&registry, &empty, 3 + LEASE_US, &what), NK_OK);
    cr_expect_eq(what, GOSSIP_REGISTERED_REBORN);
    gossip_registry_deinit(&registry);
}

Test(gossip_registry, node_and_role_together_are_the_name)
{
    static const char *const names[][2] = {
        {"n1", "gateway"}, {"n1", "shardhost"}, {"n2", "gateway"}, {"n1.gateway", "admin"}};
    struct gossip_registry registry;
    gossip_registry_init(&registry);
    for (size_t i = 0; i < NK_COUNT_OF(names); i++) {
        struct nk_cluster_member member = process(names[i][0], names[i][1], 10 + i);
        enum gossip_registered what;
        cr_assert_eq(gossip_registry_register(&registry, &member, 0, &what), NK_OK);
        cr_expect_eq(what, GOSSIP_REGISTERED_NEW, "case %zu", i);
    }
    for (size_t i = 0; i < NK_COUNT_OF(names); i++) {
        struct gossip_registration *registration =
            gossip_registry_find(&registry, names[i][0], names[i][1]);
        cr_assert_not_null(registration, "case %zu", i);
        cr_expect_eq(registration->member.session, 10 + i, "case %zu", i);
    }
    cr_expect_null(gossip_registry_find(&registry, "n2", "shardhost"));
    gossip_registry_deinit(&registry);
}

Test(gossip_registry, a_heartbeat_renews_only_the_lease_of_the_living)
{
    static const struct {
        const char *node_id;
        uint64_t session;
        bool expired;
        enum nk_err err;
    } cases[] = {
        {"n1", 10, false, NK_OK},        {"n1", 9, false, NK_CONFLICT},
        {"n1", 11, false, NK_NOT_FOUND}, /* we know only its former life */
        {"n2", 10, false, NK_NOT_FOUND}, {"n1", 10, true, NK_NOT_FOUND},
        {"n1", 9, true, NK_NOT_FOUND},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct gossip_registry registry;
        gossip_registry_init(&registry);
        struct nk_cluster_member member = process("n1", "gateway", 10);
        enum gossip_registered what;
        cr_assert_eq(gossip_registry_register(&registry, &member, 0, &what), NK_OK);
        uint64_t now_us = cases[i].expired ? LEASE_US : 1000;
        expect_expired(&registry, now_us, cases[i].expired ? "n1/gateway failed;" : "");
        uint64_t due_us = gossip_registry_next_us(&registry);
        cr_expect_eq(gossip_registry_heartbeat(&registry, cases[i].node_id, "gateway",
                                               cases[i].session, now_us),
                     cases[i].err, "case %zu", i);
        cr_expect_eq(gossip_registry_next_us(&registry),
                     cases[i].err == NK_OK ? now_us + LEASE_US : due_us, "case %zu", i);
        gossip_registry_deinit(&registry);
    }
}

Test(gossip_registry, a_process_fails_with_its_lease_and_is_forgotten_a_while_later)
{
    struct gossip_registry registry;
    gossip_registry_init(&registry);
    cr_expect_eq(gossip_registry_next_us(&registry), UINT64_MAX);
    enum gossip_registered what;
    struct nk_cluster_member first = process("n1", "gateway", 10);
    struct nk_cluster_member second = process("n2", "gateway", 10);
    cr_assert_eq(gossip_registry_register(&registry, &first, 0, &what), NK_OK);
    cr_assert_eq(gossip_registry_register(&registry, &second, 500, &what), NK_OK);
    cr_expect_eq(gossip_registry_next_us(&registry), LEASE_US);
    expect_expired(&registry, LEASE_US - 1, "");
    expect_expired(&registry, LEASE_US, "n1/gateway failed;");
    expect_expired(&registry, LEASE_US, "");
    expect_expired(&registry, LEASE_US + 500, "n2/gateway failed;");
    cr_expect_eq(gossip_registry_next_us(&registry), LEASE_US + FORGET_US);
    expect_expired(&registry, LEASE_US + FORGET_US, "n1/gateway forgotten;");
    cr_expect_null(gossip_registry_find(&registry, "n1", "gateway"));
    cr_expect_not_null(gossip_registry_find(&registry, "n2", "gateway"));
    expect_expired(&registry, LEASE_US + FORGET_US + 500, "n2/gateway forgotten;");
    cr_expect_eq(gossip_registry_next_us(&registry), UINT64_MAX);
    gossip_registry_deinit(&registry);
}

Test(gossip_registry, many_leases_may_end_and_be_forgotten_at_once)
{
    struct gossip_registry registry;
    gossip_registry_init(&registry);
    static const char *const nodes[] = {"a", "b", "c"};
    for (size_t i = 0; i < NK_COUNT_OF(nodes); i++) {
        struct nk_cluster_member member = process(nodes[i], "admin", 1);
        enum gossip_registered what;
        cr_assert_eq(gossip_registry_register(&registry, &member, i, &what), NK_OK);
    }
    expect_expired(&registry, LEASE_US + 2, "a/admin failed;b/admin failed;c/admin failed;");
    expect_expired(&registry, UINT64_MAX - FORGET_US,
                   "a/admin forgotten;b/admin forgotten;c/admin forgotten;");
    gossip_registry_deinit(&registry);
}

Test(gossip_registry, what_is_remembered_counts_as_alive_for_one_lease_and_must_register)
{
    struct gossip_registry registry;
    gossip_registry_init(&registry);
    struct nk_cluster_member member = process("n1", "shardhost", 10);
    cr_assert_eq(gossip_registry_remember(&registry, &member, 1000), NK_OK);
    cr_expect_eq(gossip_registry_next_us(&registry), 1000 + LEASE_US);
    cr_expect_eq(gossip_registry_heartbeat(&registry, "n1", "shardhost", 10, 1001), NK_NOT_FOUND);
    /* It does not know of a session below: the data may have been restored. */
    member.session = 9;
    enum gossip_registered what;
    cr_assert_eq(gossip_registry_register(&registry, &member, 1001, &what), NK_OK);
    cr_expect_eq(what, GOSSIP_REGISTERED_REBORN);
    cr_expect_eq(gossip_registry_heartbeat(&registry, "n1", "shardhost", 9, 1002), NK_OK);
    gossip_registry_deinit(&registry);
}

Test(gossip_registry, it_is_incomplete_until_every_shardhost_has_registered_and_reported)
{
    struct gossip_registry registry;
    gossip_registry_init(&registry);
    cr_expect(!gossip_registry_incomplete(&registry));
    struct nk_cluster_member gateway = process("n1", "gateway", 10);
    cr_assert_eq(gossip_registry_remember(&registry, &gateway, 0), NK_OK);
    cr_expect(!gossip_registry_incomplete(&registry));
    struct nk_cluster_member shardhost = process("n1", "shardhost", 10);
    cr_assert_eq(gossip_registry_remember(&registry, &shardhost, 0), NK_OK);
    cr_expect(gossip_registry_incomplete(&registry));
    enum gossip_registered what;
    cr_assert_eq(gossip_registry_register(&registry, &shardhost, 0, &what), NK_OK);
    cr_expect_eq(what, GOSSIP_REGISTERED_SAME);
    cr_expect(gossip_registry_incomplete(&registry));
    gossip_registry_find(&registry, "n1", "shardhost")->reported = true;
    cr_expect(!gossip_registry_incomplete(&registry));
    gossip_registry_deinit(&registry);
}

Test(gossip_registry, there_is_room_for_all_processes_but_gossip_itself)
{
    struct gossip_registry registry;
    gossip_registry_init(&registry);
    enum gossip_registered what;
    for (size_t i = 0; i < NK_MEMBERS_MAX - 1; i++) {
        char node_id[16];
        (void)snprintf(node_id, sizeof node_id, "n%zu", i);
        struct nk_cluster_member member = process(node_id, "admin", 1);
        cr_assert_eq(gossip_registry_register(&registry, &member, 0, &what), NK_OK);
    }
    struct nk_cluster_member more = process("more", "admin", 1);
    cr_expect_eq(gossip_registry_register(&registry, &more, 0, &what), NK_BUSY);
    cr_expect_eq(gossip_registry_remember(&registry, &more, 0), NK_BUSY);
    struct nk_cluster_member known = process("n7", "admin", 2);
    cr_expect_eq(gossip_registry_register(&registry, &known, 0, &what), NK_OK);
    gossip_registry_deinit(&registry);
}

Test(gossip_registry, registering_a_dead_process_is_a_programmer_error, .signal = SIGABRT)
{
    struct gossip_registry registry;
    gossip_registry_init(&registry);
    struct nk_cluster_member member = process("n1", "admin", 1);
    member.state = NK_MEMBER_FAILED;
    enum gossip_registered what;
    cr_expect_eq(gossip_registry_register(&registry, &member, 0, &what), NK_OK);
}
