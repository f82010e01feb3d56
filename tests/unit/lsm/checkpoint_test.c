#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>

#include "common/base/prng.h"
#include "common/base/units.h"
#include "tests/unit/lsm/rig.h"

TestSuite(lsm_checkpoint, .timeout = 120);

#define CHECKPOINT "lsm/checkpoint"
#define OTHER      "lsm/shard-8"
#define KEYS       11

/* Entry n writes "value n" to key n % KEYS; so the contents at an index are known. */
static void write_entries(struct rig *rig, uint64_t first, uint64_t last)
{
    for (uint64_t n = first; n <= last; n++) {
        char key[16];
        char value[32];
        (void)snprintf(key, sizeof key, "key-%02u", (unsigned)(n % KEYS));
        (void)snprintf(value, sizeof value, "value %u", (unsigned)n);
        rig_put(rig, n, key, value);
    }
}

static void flush_entries(struct rig *rig, uint64_t first, uint64_t last)
{
    write_entries(rig, first, last);
    rig_flush(rig);
}

static uint64_t applied_of(const struct lsm_db *db)
{
    struct lsm_version applied;
    struct nk_bytes state;
    lsm_applied(db, &applied, &state);
    return applied.index;
}

static void check_contents(struct rig *rig, uint64_t index)
{
    cr_assert_eq(applied_of(rig->db), index);
    for (uint64_t n = 1; n <= KEYS; n++) {
        char key[16];
        char expected[32] = "";
        (void)snprintf(key, sizeof key, "key-%02u", (unsigned)(n % KEYS));
        for (uint64_t last = n; last <= index; last += KEYS) {
            (void)snprintf(expected, sizeof expected, "value %u", (unsigned)last);
        }
        cr_assert_str_eq(rig_get(rig, key), expected);
    }
}

static enum nk_err make_checkpoint(struct rig *rig)
{
    struct lsm_checkpoint *checkpoint = lsm_checkpoint_begin(rig->db);
    enum nk_err err = lsm_checkpoint_write(checkpoint, CHECKPOINT);
    lsm_checkpoint_end(&checkpoint);
    return err;
}

static enum nk_err open_at(struct rig *rig, const char *directory)
{
    rig_close(rig);
    return lsm_open(rig->engine, directory, &rig->db, NULL);
}

static struct rig rig;

static void setup(void)
{
    struct lsm_options options = rig_options();
    rig_init(&rig, 1, &options);
    rig_must_open(&rig);
}

static void teardown(void)
{
    rig_deinit(&rig);
}

Test(lsm_checkpoint, it_is_a_database_of_its_own, .init = setup, .fini = teardown)
{
    flush_entries(&rig, 1, 20);
    write_entries(&rig, 21, 25);
    cr_assert_eq(make_checkpoint(&rig), NK_OK);
    flush_entries(&rig, 26, 60);
    cr_assert_eq(open_at(&rig, CHECKPOINT), NK_OK);
    check_contents(&rig, 20);
    flush_entries(&rig, 21, 30);
    check_contents(&rig, 30);
    rig_reopen(&rig);
    check_contents(&rig, 60);
    cr_assert_eq(lsm_remove(rig.engine, CHECKPOINT), NK_OK);
    check_contents(&rig, 60);
}

Test(lsm_checkpoint, an_empty_database_has_one_too, .init = setup, .fini = teardown)
{
    cr_assert_eq(make_checkpoint(&rig), NK_OK);
    cr_assert_eq(open_at(&rig, CHECKPOINT), NK_OK);
    check_contents(&rig, 0);
}

Test(lsm_checkpoint, what_is_taken_in_replaces_everything, .init = setup, .fini = teardown)
{
    flush_entries(&rig, 1, 40);
    cr_assert_eq(make_checkpoint(&rig), NK_OK);
    cr_assert_eq(open_at(&rig, OTHER), NK_OK);
    rig_put(&rig, 3, "only here", "gone after");
    rig_flush(&rig);
    rig_put(&rig, 5, "not durable", "gone too");
    lsm_ingest(rig.db, CHECKPOINT);
    cr_expect(lsm_ingesting(rig.db));
    cr_assert_eq(rig_work(&rig, SIZE_MAX), NK_OK);
    cr_expect_not(lsm_ingesting(rig.db));
    check_contents(&rig, 40);
    cr_expect_str_eq(rig_get(&rig, "only here"), "");
    cr_expect_str_eq(rig_get(&rig, "not durable"), "");
    cr_assert_eq(lsm_remove(rig.engine, CHECKPOINT), NK_OK);
    flush_entries(&rig, 41, 50);
    cr_assert_eq(open_at(&rig, OTHER), NK_OK);
    check_contents(&rig, 50);
}

Test(lsm_checkpoint, one_that_is_older_changes_nothing, .init = setup, .fini = teardown)
{
    flush_entries(&rig, 1, 20);
    cr_assert_eq(make_checkpoint(&rig), NK_OK);
    flush_entries(&rig, 21, 40);
    lsm_ingest(rig.db, CHECKPOINT);
    cr_expect_eq(rig_work(&rig, SIZE_MAX), NK_CONFLICT);
    cr_expect_not(lsm_ingesting(rig.db));
    check_contents(&rig, 40);
    flush_entries(&rig, 41, 60);
    check_contents(&rig, 60);
}

Test(lsm_checkpoint, one_that_is_damaged_changes_nothing, .init = setup, .fini = teardown)
{
    struct nk_buf names = {0};
    flush_entries(&rig, 1, 20);
    cr_assert_eq(make_checkpoint(&rig), NK_OK);
    cr_assert_eq(open_at(&rig, OTHER), NK_OK);
    flush_entries(&rig, 1, 5);
    const char *const damages[] = {"/manifest", "/0000000001.sst"};
    for (size_t i = 0; i < NK_COUNT_OF(damages); i++) {
        char path[64];
        (void)snprintf(path, sizeof path, CHECKPOINT "%s", damages[i]);
        uint64_t offset = i == 0 ? 1030 : 0; /* in its first record; of a table the footer */
        if (i == 1) {
            struct nk_buf bytes = {0};
            sim_fs_read(rig.sim, path, &bytes);
            offset = bytes.size - 40;
            nk_buf_deinit(&bytes);
        }
        sim_fs_flip(rig.sim, path, offset, 1);
        lsm_ingest(rig.db, CHECKPOINT);
        cr_expect_eq(rig_work(&rig, SIZE_MAX), NK_CORRUPT, "%s", damages[i]);
        cr_expect_not(lsm_ingesting(rig.db));
        check_contents(&rig, 5);
        sim_fs_flip(rig.sim, path, offset, 1);
    }
    lsm_ingest(rig.db, "lsm/nowhere");
    cr_expect_eq(rig_work(&rig, SIZE_MAX), NK_CORRUPT);
    cr_expect_eq(rig_work(&rig, SIZE_MAX), NK_OK);
    sim_fs_list(rig.sim, OTHER, &names);
    nk_buf_append_u8(&names, 0);
    cr_expect_str_eq((const char *)names.data, "0000000001.sst\nmanifest\n", "nothing is left");
    nk_buf_deinit(&names);
    check_contents(&rig, 5);
}

/* Nothing comes after it that would sync a directory for it. */
Test(lsm_checkpoint, one_that_was_made_is_there_after_a_power_loss)
{
    for (uint64_t seed = 1; seed <= 32; seed++) {
        struct nk_prng prng;
        nk_prng_init(&prng, seed);
        setup();
        flush_entries(&rig, 1, 20);
        flush_entries(&rig, 21, 40);
        cr_assert_eq(make_checkpoint(&rig), NK_OK);
        rig_close(&rig);
        sim_fs_crash(rig.sim, &prng);
        cr_assert_eq(open_at(&rig, CHECKPOINT), NK_OK, "seed %u", (unsigned)seed);
        check_contents(&rig, 40);
        teardown();
    }
}

Test(lsm_checkpoint, a_removed_database_is_empty_when_it_is_opened_again, .init = setup,
     .fini = teardown)
{
    flush_entries(&rig, 1, 20);
    rig_close(&rig);
    cr_expect_eq(lsm_remove(rig.engine, RIG_DIRECTORY), NK_OK);
    cr_expect_eq(lsm_remove(rig.engine, RIG_DIRECTORY), NK_OK, "there is none");
    cr_expect_not(sim_fs_exists(rig.sim, RIG_DIRECTORY));
    rig_must_open(&rig);
    check_contents(&rig, 0);
}

/* ---- Any call fails ---- */

#define BEFORE 24 /* what the taking database holds, durable */
#define AFTER  60 /* what the checkpoint holds */

struct scenario {
    bool removed_asked; /* source and checkpoint were to be removed, and nothing said not */
    bool made;          /* the checkpoint: told so */
    bool ingested;      /* told so */
};

static void run(void *ctx, struct sim_fs *sim)
{
    struct scenario *scenario = ctx;
    memset(scenario, 0, sizeof *scenario);
    struct rig r;
    struct lsm_options options = rig_options();
    rig_init_on(&r, sim, &options);
    bool good = rig_open(&r, NULL) == NK_OK;
    for (uint64_t n = 1; good && n <= AFTER; n += 12) {
        write_entries(&r, n, n + 11);
        lsm_request_flush(r.db);
        good = rig_work(&r, 2000) == NK_OK;
    }
    good = good && make_checkpoint(&r) == NK_OK;
    scenario->made = good;
    good = good && open_at(&r, OTHER) == NK_OK;
    if (good) {
        write_entries(&r, 1, BEFORE);
        lsm_request_flush(r.db);
        good = rig_work(&r, SIZE_MAX) == NK_OK;
    }
    if (good) {
        lsm_ingest(r.db, CHECKPOINT);
        good = rig_work(&r, SIZE_MAX) == NK_OK;
        scenario->ingested = !lsm_ingesting(r.db) && good;
    }
    if (good) {
        scenario->removed_asked = true;
        rig_close(&r);
        good = lsm_remove(r.engine, RIG_DIRECTORY) == NK_OK &&
               lsm_remove(r.engine, CHECKPOINT) == NK_OK;
    }
    rig_deinit(&r);
}

static void check_source(struct rig *r, const struct scenario *scenario)
{
    cr_assert_eq(open_at(r, RIG_DIRECTORY), NK_OK);
    uint64_t index = applied_of(r->db);
    cr_assert(index == 0 || index % 12 == 0);
    bool complete = scenario->ingested && !scenario->removed_asked;
    cr_assert(index == AFTER || !complete);
    check_contents(r, index);
}

static void check_taker(struct rig *r, const struct scenario *scenario)
{
    cr_assert_eq(open_at(r, OTHER), NK_OK);
    uint64_t index = applied_of(r->db);
    cr_assert(index == AFTER || ((index == 0 || index == BEFORE) && !scenario->ingested));
    check_contents(r, index);
    flush_entries(r, index + 1, AFTER + 5);
    check_contents(r, AFTER + 5);
}

/* One with a manifest is whole, as one is that was made.  One that was not finished is no database;
 * it can be removed. */
static void check_checkpoint(struct rig *r, const struct sim_fs *sim,
                             const struct scenario *scenario)
{
    bool whole = sim_fs_exists(sim, CHECKPOINT "/manifest");
    cr_assert(whole || !scenario->made || scenario->removed_asked);
    enum nk_err err = open_at(r, CHECKPOINT);
    if (whole) {
        cr_assert_eq(err, NK_OK);
        check_contents(r, AFTER);
    } else if (err == NK_OK) {
        cr_assert_eq(applied_of(r->db), 0);
    } else {
        cr_assert_eq(err, NK_CORRUPT);
    }
    rig_close(r);
    cr_assert_eq(lsm_remove(r->engine, CHECKPOINT), NK_OK);
    cr_assert_eq(lsm_open(r->engine, CHECKPOINT, &r->db, NULL), NK_OK);
    cr_assert_eq(applied_of(r->db), 0);
}

static void check(void *ctx, struct sim_fs *sim)
{
    const struct scenario *scenario = ctx;
    struct rig r;
    struct lsm_options options = rig_options();
    rig_init_on(&r, sim, &options);
    check_source(&r, scenario);
    check_checkpoint(&r, sim, scenario);
    check_taker(&r, scenario);
    rig_deinit(&r);
}

static void run_all(enum sim_fs_fault fault)
{
    struct scenario scenario;
    struct sim_fs_scenario fs_scenario = {.run = run, .check = check, .ctx = &scenario};
    for (uint64_t seed = 1; seed <= 4; seed++) {
        cr_expect_gt(sim_fs_every_nth_failure(&fs_scenario, fault, seed), 60);
    }
}

Test(lsm_checkpoint, any_call_fails)
{
    run_all(SIM_FS_FAULT_IO);
}

Test(lsm_checkpoint, the_disk_is_full_at_any_call)
{
    run_all(SIM_FS_FAULT_NO_SPACE);
}

Test(lsm_checkpoint, the_power_goes_at_any_call)
{
    run_all(SIM_FS_FAULT_POWER_CUT);
}
