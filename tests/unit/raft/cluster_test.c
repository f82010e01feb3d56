/* Whole groups under faults drawn from a seed: safety in every step (cluster.h), then, when the
 * faults end, progress. */

#include <criterion/criterion.h>

#include "common/base/prng.h"
#include "common/base/units.h"

#include "cluster.h"

TestSuite(raft_cluster, .timeout = 120);

#define SEED_COUNT ((uint64_t)1000)
#define ACTIONS    ((size_t)250)

enum action {
    ACTION_PROPOSE,
    ACTION_READ_EVERYWHERE,
    ACTION_CRASH,
    ACTION_CRASH_LEADER,
    ACTION_RESTART,
    ACTION_ISOLATE,
    ACTION_ISOLATE_LEADER,
    ACTION_CUT,
    ACTION_HEAL,
    ACTION_CAMPAIGN,
    ACTION_DISK_HOLD,
    ACTION_DISK_RELEASE,
    ACTION_COUNT,
};

struct run {
    struct cluster *cluster;
    struct nk_prng prng;
    size_t node_count;
    uint64_t weights[ACTION_COUNT]; /* how often each action is drawn */
    uint64_t weight_sum;
    uint64_t proposal_next;
    uint64_t read_next;
};

static raft_id any_node(struct run *run)
{
    return 1 + nk_prng_below(&run->prng, run->node_count);
}

static enum action any_action(struct run *run)
{
    uint64_t drawn = nk_prng_below(&run->prng, run->weight_sum);
    size_t action = 0;
    while (drawn >= run->weights[action]) {
        drawn -= run->weights[action];
        action++;
    }
    return (enum action)action;
}

/* Each kind of fault is off in some seeds and wild in others. */
static uint32_t fault_rate(struct run *run, uint32_t per_million_max)
{
    uint64_t strength = nk_prng_below(&run->prng, 4);
    return (uint32_t)(per_million_max * strength / 3);
}

static void run_open(struct run *run, uint64_t seed)
{
    static const size_t node_counts[] = {1, 2, 3, 3, 3, 4, 5, 5, 7};
    nk_prng_init(&run->prng, seed);
    run->node_count = node_counts[nk_prng_below(&run->prng, NK_COUNT_OF(node_counts))];
    struct cluster_options options = cluster_options_calm(run->node_count, seed);
    options.delay_ms_min = 1;
    options.delay_ms_max = 1 + fault_rate(run, 150);
    options.disk_ms_min = 1;
    options.disk_ms_max = 1 + fault_rate(run, 120);
    options.apply_ms_max = fault_rate(run, 30);
    options.drop_per_million = fault_rate(run, 200000);
    options.duplicate_per_million = fault_rate(run, 200000);
    options.flush_per_million = fault_rate(run, 300000);
    options.entries_per_append_max = (uint32_t)nk_prng_between(&run->prng, 1, 8);
    options.unapplied_bytes_max = (size_t)nk_prng_between(&run->prng, 2, 32) * 1024;
    run->cluster = cluster_open(&options);
    run->proposal_next = 1;
    run->read_next = 1;
    run->weight_sum = 0;
    for (size_t i = 0; i < ACTION_COUNT; i++) {
        static const uint64_t weights[] = {0, 1, 4};
        run->weights[i] = weights[nk_prng_below(&run->prng, NK_COUNT_OF(weights))];
        if (i == ACTION_PROPOSE || i == ACTION_RESTART || i == ACTION_HEAL) {
            run->weights[i] += 4;
        }
        run->weight_sum += run->weights[i];
    }
}

static void propose_some(struct run *run, raft_id id)
{
    uint64_t count = nk_prng_between(&run->prng, 1, 5);
    for (uint64_t i = 0; i < count && cluster_alive(run->cluster, id); i++) {
        uint8_t bytes[CLUSTER_PAYLOAD_BYTES_MAX] = {0};
        memcpy(bytes, &run->proposal_next, sizeof run->proposal_next);
        size_t size = (size_t)nk_prng_between(&run->prng, 8, sizeof bytes);
        run->proposal_next++;
        enum nk_err err = cluster_propose(run->cluster, id, nk_bytes_of(bytes, size));
        cr_assert(err == NK_OK || err == NK_NOT_LEADER || err == NK_BUSY);
    }
}

/* An isolated leader of the past is asked like everybody else. */
static void read_everywhere(struct run *run)
{
    for (raft_id id = 1; id <= run->node_count; id++) {
        if (cluster_alive(run->cluster, id)) {
            enum nk_err err = cluster_read(run->cluster, id, run->read_next++);
            cr_assert(err == NK_OK || err == NK_NOT_LEADER);
        }
    }
}

static void act(struct run *run)
{
    struct cluster *cluster = run->cluster;
    raft_id id = any_node(run);
    raft_id leader = cluster_leader(cluster) != 0 ? cluster_leader(cluster) : id;
    bool alive = cluster_alive(cluster, id);
    switch (any_action(run)) {
    case ACTION_PROPOSE:
        propose_some(run, nk_prng_below(&run->prng, 4) > 0 ? leader : id);
        break;
    case ACTION_READ_EVERYWHERE:
        read_everywhere(run);
        break;
    case ACTION_CRASH:
        if (alive) {
            cluster_crash(cluster, id);
        }
        break;
    case ACTION_CRASH_LEADER:
        if (cluster_alive(cluster, leader)) {
            cluster_crash(cluster, leader);
        }
        break;
    case ACTION_RESTART:
        if (!alive) {
            cluster_restart(cluster, id);
        }
        break;
    case ACTION_ISOLATE:
        cluster_isolate(cluster, id);
        break;
    case ACTION_ISOLATE_LEADER:
        cluster_isolate(cluster, leader);
        break;
    case ACTION_CUT:
        cluster_cut(cluster, id, any_node(run));
        break;
    case ACTION_HEAL:
        cluster_heal(cluster);
        break;
    case ACTION_CAMPAIGN:
        if (alive) {
            cluster_campaign(cluster, id);
        }
        break;
    case ACTION_DISK_HOLD:
        cluster_disk_hold(cluster, id, true);
        break;
    case ACTION_DISK_RELEASE:
        cluster_disk_hold(cluster, id, false);
        break;
    case ACTION_COUNT:
        break;
    }
    /* Mostly within an election or an append, now and then past a timeout. */
    uint64_t span_ms = nk_prng_below(&run->prng, 8) == 0 ? 3000 : 60;
    cluster_advance(cluster, nk_prng_below(&run->prng, span_ms));
}

/* Faults end: a leader, a commit in its term, and everybody has applied it. */
static void expect_progress(struct run *run, uint64_t seed)
{
    struct cluster *cluster = run->cluster;
    cluster_heal(cluster);
    cluster_calm(cluster);
    for (raft_id id = 1; id <= run->node_count; id++) {
        if (!cluster_alive(cluster, id)) {
            cluster_restart(cluster, id);
        }
    }
    cluster_advance(cluster, 20000);
    raft_id leader = cluster_leader(cluster);
    cr_assert_neq(leader, 0, "seed %llu: no leader", (unsigned long long)seed);
    raft_index before = cluster_commit_max(cluster);
    cr_assert_eq(cluster_propose(cluster, leader, nk_bytes_of_string("the end")), NK_OK,
                 "seed %llu: the leader accepts nothing", (unsigned long long)seed);
    cr_assert_eq(cluster_read(cluster, leader, run->read_next++), NK_OK);
    cluster_advance(cluster, 5000);
    cr_assert_gt(cluster_commit_max(cluster), before, "seed %llu: no commit",
                 (unsigned long long)seed);
    cr_assert(cluster_converged(cluster), "seed %llu: members differ", (unsigned long long)seed);
    cr_assert_eq(cluster_reads_open(cluster), 0, "seed %llu: unanswered reads",
                 (unsigned long long)seed);
}

static uint64_t run_seed(uint64_t seed, raft_index *out_commits)
{
    struct run run;
    run_open(&run, seed);
    for (size_t i = 0; i < ACTIONS; i++) {
        act(&run);
        cr_assert_null(cluster_violation(run.cluster), "seed %llu: %s", (unsigned long long)seed,
                       cluster_violation(run.cluster));
    }
    expect_progress(&run, seed);
    cr_assert_null(cluster_violation(run.cluster), "seed %llu: %s", (unsigned long long)seed,
                   cluster_violation(run.cluster));
    uint64_t hash = cluster_trace_hash(run.cluster);
    *out_commits += cluster_commit_max(run.cluster);
    cluster_close(&run.cluster);
    return hash;
}

Test(raft_cluster, safety_holds_under_faults_and_progress_returns_after_them)
{
    raft_index commits = 0;
    for (uint64_t seed = 1; seed <= SEED_COUNT; seed++) {
        (void)run_seed(seed, &commits);
    }
    /* A run in which nothing is ever committed would prove nothing. */
    cr_assert_gt(commits, 20 * SEED_COUNT);
}

Test(raft_cluster, the_same_seed_gives_the_same_run)
{
    raft_index commits = 0;
    uint64_t first = run_seed(91733, &commits);
    cr_assert_eq(run_seed(91733, &commits), first);
    cr_assert_neq(run_seed(91734, &commits), first);
}
