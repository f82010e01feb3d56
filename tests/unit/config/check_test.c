/* Contradictions. */

#include <criterion/criterion.h>

#include "common/base/units.h"
#include "common/config/config.h"

#include "loading.h"

TestSuite(config_check, .timeout = 5);

struct check_case {
    const char *yaml;
    const char *line; /* NULL: accepted */
};

static void check(const struct check_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (cases[i].line != NULL) {
            expect_refused(cases[i].yaml, cases[i].line);
        } else {
            struct loading loading = {0};
            loading_yaml(&loading, cases[i].yaml);
            loading_end(&loading);
        }
    }
}

Test(config_check, timers_have_an_order)
{
    static const struct check_case cases[] = {
        {"raft: {heartbeat_ms: 50, election_timeout_min_ms: 150, election_timeout_max_ms: 300, "
         "lease_ms: 135}",
         NULL},
        {"raft: {heartbeat_ms: 500, election_timeout_min_ms: 2000, election_timeout_max_ms: 4000, "
         "lease_ms: 1800}",
         NULL},
        {"raft: {election_timeout_max_ms: 1000}",
         "n.yaml:3: raft.election_timeout_max_ms 1000 contradicts raft.election_timeout_min_ms "
         "1000 "
         "(default): the maximum must be greater than the minimum"},
        {"raft:\n  election_timeout_min_ms: 3000\n  election_timeout_max_ms: 2500\n",
         "n.yaml:5: raft.election_timeout_max_ms 2500 contradicts raft.election_timeout_min_ms "
         "3000 "
         "(n.yaml:4): the maximum must be greater than the minimum"},
        {"raft: {heartbeat_ms: 1000}", "n.yaml:3: raft.heartbeat_ms 1000 contradicts "
                                       "raft.election_timeout_min_ms 1000 (default): "
                                       "the heartbeat must be shorter than the election timeout"},
        {"raft: {heartbeat_ms: 999}", NULL},
    };
    check(cases, NK_COUNT_OF(cases));
}

Test(config_check, a_lease_is_clearly_shorter_than_an_election)
{
    static const struct check_case cases[] = {
        {"raft: {lease_ms: 900}", NULL},
        {"raft: {lease_ms: 901}",
         "n.yaml:3: raft.lease_ms 901 contradicts raft.election_timeout_min_ms 1000 (default): the "
         "lease must be at most 90 % of the minimum election timeout, or two leaders could answer"},
        /* The public defaults of NoriKV. */
        {"raft: {lease_ms: 2000, election_timeout_min_ms: 300, election_timeout_max_ms: 600}",
         "n.yaml:3: raft.lease_ms 2000 contradicts raft.election_timeout_min_ms 300 (n.yaml:3): "
         "the "
         "lease must be at most 90 % of the minimum election timeout, or two leaders could answer"},
        /* Only the election timeout was set: the line blames what somebody wrote. */
        {"raft: {election_timeout_min_ms: 500}",
         "n.yaml:3: raft.election_timeout_min_ms 500 contradicts raft.lease_ms 900 (default): the "
         "lease must be at most 90 % of the minimum election timeout, or two leaders could answer"},
    };
    check(cases, NK_COUNT_OF(cases));
}

Test(config_check, sizes_fit_into_each_other)
{
    static const struct check_case cases[] = {
        {"lsm: {l0_slowdown_files: 12}",
         "n.yaml:3: lsm.l0_slowdown_files 12 contradicts lsm.l0_stop_files 12 (default): the stop "
         "must be greater than the slowdown"},
        {"lsm: {memtable_bytes: 256MiB}", NULL},
        {"lsm: {memtable_bytes: 257MiB}",
         "n.yaml:3: lsm.memtable_bytes 257MiB contradicts lsm.write_buffer_total_bytes 256MiB "
         "(default): one memtable must fit into the budget of all"},
        {"limits: {request_max_bytes: 1MiB}",
         "n.yaml:3: limits.request_max_bytes 1MiB contradicts limits.max_value_bytes 1MiB "
         "(default): "
         "the longest key and value together must fit into a request"},
        {"limits: {request_max_bytes: 1MiB, max_value_bytes: 1023KiB}", NULL},
    };
    check(cases, NK_COUNT_OF(cases));
}

Test(config_check, joining_a_cluster_is_refused)
{
    static const struct check_case cases[] = {
        {"cluster: {seed_nodes: []}", NULL},
        {"cluster:\n  seed_nodes: [\"a:1\"]\n", "n.yaml:4: \"cluster.seed_nodes\" must be empty: "
                                                "this version serves single nodes, joining "
                                                "a cluster is not supported yet"},
        {"cluster:\n  seed_nodes: [\"a\"]\n", "n.yaml:4: cluster.seed_nodes: \"a\" is refused; it "
                                              "must be a list of up to 64 host:port or "
                                              "[ipv6]:port, port from 1 to 65535"},
    };
    check(cases, NK_COUNT_OF(cases));
}

Test(config_check, a_flag_can_put_a_contradiction_of_the_file_right)
{
    static const char *const flags[] = {"--set", "raft.lease_ms=100", NULL};
    struct loading loading = {.flags = flags};
    loading_yaml(&loading, "raft: {lease_ms: 5000}");
    cr_expect_eq(loading.config->raft.lease_ms, 100);
    loading_end(&loading);
}

Test(config_check, data_dir_leaves_room_for_the_paths_of_sockets)
{
    char path[100] = "/";
    memset(path + 1, 'd', sizeof path - 1);
    path[88] = '\0';
    const char *const flags[] = {"--node-id=n", "--data-dir", path, NULL};
    const char *const tcp_flags[] = {"--node-id=n", "--data-dir", path,
                                     "--set=bus.addr=127.0.0.1:1", NULL};
    struct loading fits = {.flags = flags};
    loading_run(&fits);
    cr_expect_eq(fits.err, NK_OK, "%s", fits.error.text);
    loading_end(&fits);
    path[88] = 'd';
    path[89] = '\0';
    struct loading too_long = {.flags = flags};
    loading_run(&too_long);
    cr_expect_eq(too_long.err, NK_INVALID);
    cr_expect_not_null(strstr(too_long.error.text, "flag --data-dir: \"/ddd"));
    cr_expect_not_null(strstr(too_long.error.text, "is too long for data_dir"));
    cr_expect_not_null(strstr(too_long.error.text, "at most 88 bytes"));
    loading_end(&too_long);
    struct loading tcp = {.flags = tcp_flags};
    loading_run(&tcp);
    cr_expect_eq(tcp.err, NK_OK, "%s", tcp.error.text);
    loading_end(&tcp);
}
