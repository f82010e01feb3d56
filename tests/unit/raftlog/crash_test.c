/* The log against its model, with the power going off and calls failing at every point. */

#include <criterion/criterion.h>

#include "model.h"

TestSuite(raftlog_crash, .timeout = 400);

static const struct raftlog_options small = {.segment_bytes = 6 * 512, .recycled_max = 2};

/* The directory above the log's exists and is durable. */
static struct sim_fs *new_sim(uint64_t seed)
{
    struct sim_fs *sim = sim_fs_new(seed);
    struct nk_fs fs = sim_fs_handle(sim);
    cr_assert_eq(nk_fs_mkdir(&fs, "data"), NK_OK);
    cr_assert_eq(nk_fs_sync_dir(&fs, ""), NK_OK);
    return sim;
}

static void expect_few_spares(const struct sim_fs *sim, const struct raftlog_options *options)
{
    struct nk_buf names = {0};
    sim_fs_list(sim, "data/raft", &names);
    nk_buf_append_u8(&names, 0);
    size_t spares = 0;
    for (const char *at = strchr((const char *)names.data, '.'); at != NULL;
         at = strchr(at + 1, '.')) {
        spares += strncmp(at, ".old", 4) == 0 || strncmp(at, ".new", 4) == 0 ? 1 : 0;
    }
    cr_assert_leq(spares, options->recycled_max);
    nk_buf_deinit(&names);
}

/* Steps until one fails or `steps` are done.  NK_NO_SPACE is no failure: the round is written
 * again. */
static enum nk_err run_steps(struct model *model, size_t steps)
{
    for (size_t i = 0; i < steps; i++) {
        enum nk_err err = model_step(model);
        while (err == NK_NO_SPACE) {
            err = model_write(model);
        }
        if (err != NK_OK) {
            return err;
        }
    }
    return NK_OK;
}

static void arm(struct sim_fs *sim, struct nk_prng *prng, uint64_t operations_max)
{
    uint64_t operation = nk_prng_between(prng, 1, operations_max);
    switch (nk_prng_below(prng, 4)) {
    case 0:
        sim_fs_fail_at(sim, operation, NK_IO);
        break;
    case 1:
        sim_fs_fail_at(sim, operation, NK_NO_SPACE);
        break;
    default:
        sim_fs_cut_power_after(sim, operation);
        break;
    }
}

static void end_process(struct sim_fs *sim, struct nk_prng *prng)
{
    if (nk_prng_chance(prng, 700000)) {
        sim_fs_crash(sim, prng);
    } else {
        sim_fs_kill(sim);
    }
}

/* One log through many lives, each ended by a fault at a random place. */
static void live(uint64_t seed, const struct raftlog_options *options, size_t lives,
                 size_t payload_bytes_max)
{
    static struct model model;
    model_init(&model, seed, options);
    model.payload_bytes_max = payload_bytes_max;
    struct nk_prng prng;
    nk_prng_init(&prng, seed + 1);
    struct sim_fs *sim = new_sim(seed);
    for (size_t life = 0; life < lives; life++) {
        arm(sim, &prng, nk_prng_chance(&prng, 300000) ? 20 : 150);
        if (model_open(&model, sim) == NK_OK) {
            (void)run_steps(&model, 300);
        }
        model_close(&model);
        end_process(sim, &prng);
        if (nk_prng_chance(&prng, 500000)) {
            cr_assert_eq(model_open(&model, sim), NK_OK, "seed %zu life %zu", (size_t)seed, life);
            expect_few_spares(sim, options);
            model_close(&model);
        }
    }
    cr_assert_eq(model_open(&model, sim), NK_OK, "seed %zu", (size_t)seed);
    model_close(&model);
    sim_fs_free(&sim);
}

Test(raftlog_crash, many_lives_with_small_segments)
{
    for (uint64_t seed = 0; seed < 150; seed++) {
        live(seed, &small, 40, 3000);
    }
}

Test(raftlog_crash, many_lives_with_segments_of_one_record)
{
    static const struct raftlog_options tiny = {.segment_bytes = 2 * 512, .recycled_max = 1};
    for (uint64_t seed = 1000; seed < 1080; seed++) {
        live(seed, &tiny, 30, 3000);
    }
}

Test(raftlog_crash, many_lives_with_segments_that_are_never_full)
{
    static const struct raftlog_options large = {.segment_bytes = 1 << 20, .recycled_max = 0};
    for (uint64_t seed = 2000; seed < 2060; seed++) {
        live(seed, &large, 40, 3000);
    }
}

Test(raftlog_crash, many_lives_with_rounds_of_several_batches)
{
    static const struct raftlog_options large = {.segment_bytes = 64 << 20, .recycled_max = 1};
    for (uint64_t seed = 3000; seed < 3015; seed++) {
        live(seed, &large, 10, 1500000);
    }
}

/* The same life, its power going off after every single operation. */
Test(raftlog_crash, power_off_at_every_operation)
{
    static struct model model;
    for (uint64_t seed = 0; seed < 25; seed++) {
        for (uint64_t operation = 0;; operation++) {
            struct nk_prng prng;
            nk_prng_init(&prng, seed * 100003 + operation);
            struct sim_fs *sim = new_sim(seed);
            model_init(&model, seed, &small);
            sim_fs_cut_power_after(sim, operation);
            bool lived = model_open(&model, sim) == NK_OK && run_steps(&model, 150) == NK_OK;
            model_close(&model);
            sim_fs_crash(sim, &prng);
            cr_assert_eq(model_open(&model, sim), NK_OK);
            cr_assert_eq(run_steps(&model, 50), NK_OK);
            model_close(&model);
            sim_fs_crash(sim, &prng);
            cr_assert_eq(model_open(&model, sim), NK_OK);
            model_close(&model);
            sim_fs_free(&sim);
            if (lived) {
                break;
            }
        }
    }
}

/* The same, but only the process dies: what its successor saw and built on must survive the power
 * loss that comes next. */
Test(raftlog_crash, killed_at_every_operation)
{
    static struct model model;
    for (uint64_t seed = 0; seed < 15; seed++) {
        for (uint64_t operation = 0;; operation++) {
            struct nk_prng prng;
            nk_prng_init(&prng, seed * 100003 + operation);
            struct sim_fs *sim = new_sim(seed);
            model_init(&model, seed, &small);
            sim_fs_cut_power_after(sim, operation);
            bool lived = model_open(&model, sim) == NK_OK && run_steps(&model, 150) == NK_OK;
            model_close(&model);
            sim_fs_kill(sim);
            cr_assert_eq(model_open(&model, sim), NK_OK);
            model_state(&model, 0);
            cr_assert(model_begin(&model));
            cr_assert_eq(model_write(&model), NK_OK);
            model_close(&model);
            sim_fs_crash(sim, &prng);
            cr_assert_eq(model_open(&model, sim), NK_OK);
            model_close(&model);
            sim_fs_free(&sim);
            if (lived) {
                break;
            }
        }
    }
}

/* A disk that is full for one moment costs nothing but another attempt. */
Test(raftlog_crash, no_space_at_every_operation)
{
    static struct model model;
    for (uint64_t seed = 0; seed < 15; seed++) {
        uint64_t operations = UINT64_MAX;
        for (uint64_t n = 1; n <= operations; n++) {
            struct sim_fs *sim = new_sim(seed);
            model_init(&model, seed, &small);
            uint64_t before = sim_fs_operations(sim);
            sim_fs_fail_at(sim, n, NK_NO_SPACE);
            enum nk_err err = model_open(&model, sim);
            if (err == NK_NO_SPACE) {
                err = model_open(&model, sim);
            }
            cr_assert_eq(err, NK_OK);
            cr_assert_eq(run_steps(&model, 150), NK_OK, "seed %zu n %zu", (size_t)seed, (size_t)n);
            operations = sim_fs_operations(sim) - before;
            model_close(&model);
            sim_fs_kill(sim);
            cr_assert_eq(model_open(&model, sim), NK_OK);
            model_close(&model);
            sim_fs_free(&sim);
        }
    }
}

/* The power goes off at every operation of a recovery, again and again. */
Test(raftlog_crash, power_off_at_every_operation_of_recovery)
{
    static struct model model;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct nk_prng prng;
        nk_prng_init(&prng, seed);
        struct sim_fs *sim = new_sim(seed);
        model_init(&model, seed, &small);
        sim_fs_cut_power_after(sim, nk_prng_between(&prng, 10, 60));
        if (model_open(&model, sim) == NK_OK) {
            (void)run_steps(&model, 300);
        }
        model_close(&model);
        sim_fs_crash(sim, &prng);
        for (uint64_t operation = 0;; operation++) {
            sim_fs_cut_power_after(sim, operation);
            if (model_open(&model, sim) == NK_OK) {
                break;
            }
            sim_fs_crash(sim, &prng);
        }
        model_close(&model);
        sim_fs_free(&sim);
    }
}

/* Open, stage, write, roll, release, recycle, forget, close; the same at each run. */
static void run_tour(void *ctx, struct sim_fs *sim)
{
    struct model *model = ctx;
    model_init(model, 5, &small);
    struct nk_fs fs = sim_fs_handle(sim);
    if (nk_fs_mkdir(&fs, "data") != NK_OK || nk_fs_sync_dir(&fs, "") != NK_OK) {
        return;
    }
    if (model_open(model, sim) == NK_OK) {
        for (uint64_t i = 1; i <= 60; i++) {
            model_entry(model, 0, i);
            model_entry(model, 1, i);
            if (i % 7 == 0) {
                model_state(model, 2);
            }
            if (i % 10 == 0) {
                model_release(model, 0, i - 3);
                model_release(model, 1, i);
            }
            if (i == 30) {
                model_forget(model, 1);
                model_entry(model, 1, i);
            }
            enum nk_err err = NK_OK;
            if (i % 2 == 0 && model_begin(model)) {
                err = model_write(model);
            }
            if (err == NK_NO_SPACE) {
                err = model_write(model);
            }
            if (err != NK_OK) {
                break;
            }
        }
    }
    model_close(model);
}

static void check_tour(void *ctx, struct sim_fs *sim)
{
    struct model *model = ctx;
    struct nk_fs fs = sim_fs_handle(sim);
    if (!sim_fs_exists(sim, "data")) {
        cr_assert_eq(nk_fs_mkdir(&fs, "data"), NK_OK);
    }
    cr_assert_eq(model_open(model, sim), NK_OK);
    for (uint32_t i = 0; i < MODEL_SHARDS; i++) {
        model_entry(model, i, model->latest.shards[i].last + 1);
        cr_assert(model_begin(model));
        cr_assert_eq(model_write(model), NK_OK);
    }
    model_close(model);
    cr_assert_eq(model_open(model, sim), NK_OK);
    model_close(model);
}

Test(raftlog_crash, every_nth_failure)
{
    static struct model model;
    struct sim_fs_scenario scenario = {run_tour, check_tour, &model};
    for (uint64_t seed = 0; seed < 10; seed++) {
        cr_assert_gt(sim_fs_every_nth_failure(&scenario, SIM_FS_FAULT_IO, seed), 100);
        cr_assert_gt(sim_fs_every_nth_failure(&scenario, SIM_FS_FAULT_NO_SPACE, seed), 100);
        cr_assert_gt(sim_fs_every_nth_failure(&scenario, SIM_FS_FAULT_POWER_CUT, seed), 100);
    }
}
