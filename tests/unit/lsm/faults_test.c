/* Writing, flushing, compacting, dropping and opening again with the 1st, 2nd, 3rd ... call to the
 * file system failing: what was promised is there, and nothing else than what was written. */

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>

#include "common/base/prng.h"
#include "common/base/units.h"
#include "tests/unit/lsm/rig.h"

TestSuite(lsm_faults, .timeout = 120);

#define KEYS    23
#define ENTRIES 260

struct scenario {
    uint64_t durable; /* promised */
    uint64_t written; /* entries that may be there */
    bool goes_on;     /* after a full disk, without a restart */
    size_t failures;  /* that were met and survived */
};

static struct lsm_options scenario_options(void)
{
    struct lsm_options options = rig_options();
    options.memtable_bytes = 6 * NK_KIB;
    options.table_bytes = NK_KIB;
    options.fanout = 2;
    options.block_cache_bytes = 0;
    return options;
}

static void key_of(uint64_t entry, char out[16])
{
    (void)snprintf(out, 16, "key-%02u", (unsigned)(entry * 7 % KEYS));
}

static void write_entry(struct rig *rig, uint64_t entry)
{
    char key[16];
    char value[64];
    key_of(entry, key);
    (void)snprintf(value, sizeof value, "value of entry %u", (unsigned)entry);
    if (entry % 5 == 0) {
        rig_delete(rig, entry, key);
    } else {
        rig_put(rig, entry, key, value);
    }
}

/* The last entry up to `applied` that wrote the key of `entry`. */
static uint64_t last_writer(uint64_t entry, uint64_t applied)
{
    uint64_t last = 0;
    for (uint64_t i = 1; i <= applied; i++) {
        if (i * 7 % KEYS == entry * 7 % KEYS) {
            last = i;
        }
    }
    return last;
}

static void check_contents(struct rig *rig, uint64_t applied)
{
    for (uint64_t entry = 1; entry <= KEYS; entry++) {
        char key[16];
        char expected[64];
        key_of(entry, key);
        uint64_t last = last_writer(entry, applied);
        (void)snprintf(expected, sizeof expected, "value of entry %u", (unsigned)last);
        const char *found = rig_get(rig, key);
        bool gone = strcmp(found, "") == 0 || strcmp(found, "-") == 0;
        bool right = last == 0 || last % 5 == 0 ? gone : strcmp(found, expected) == 0;
        cr_assert(right, "at %u: %s is \"%s\"", (unsigned)applied, key, found);
    }
}

/* Work in slices until nothing is left; false: the run ends here. */
static bool work(struct scenario *scenario, struct rig *rig)
{
    enum nk_err err = rig_work(rig, 700);
    scenario->durable = lsm_durable_index(rig->db);
    if (err == NK_NO_SPACE && scenario->goes_on) {
        scenario->failures++;
        check_contents(rig, scenario->written);
        err = rig_work(rig, 700);
        scenario->durable = lsm_durable_index(rig->db);
    }
    return err == NK_OK;
}

static bool open_again(struct scenario *scenario, struct rig *rig)
{
    rig_close(rig);
    if (rig_open(rig, NULL) != NK_OK) {
        return false;
    }
    struct lsm_version applied;
    struct nk_bytes state;
    lsm_applied(rig->db, &applied, &state);
    for (uint64_t entry = applied.index + 1; entry <= scenario->written; entry++) {
        write_entry(rig, entry);
    }
    return true;
}

static void run(void *ctx, struct sim_fs *sim)
{
    struct scenario *scenario = ctx;
    scenario->durable = 0;
    scenario->written = 0;
    scenario->failures = 0;
    struct rig rig;
    struct lsm_options options = scenario_options();
    rig_init_on(&rig, sim, &options);
    bool goes_on = rig_open(&rig, NULL) == NK_OK;
    struct lsm_view *view = NULL;
    while (goes_on && scenario->written < ENTRIES) {
        write_entry(&rig, ++scenario->written);
        if (scenario->written % 10 == 0) {
            lsm_request_flush(rig.db);
            goes_on = work(scenario, &rig);
        }
        if (goes_on && scenario->written % 90 == 35) {
            view = lsm_view_acquire(rig.db);
        } else if (goes_on && scenario->written % 90 == 75) {
            lsm_view_release(&view);
            goes_on = open_again(scenario, &rig);
        }
    }
    lsm_view_release(&view);
    rig_deinit(&rig);
}

static void check(void *ctx, struct sim_fs *sim)
{
    struct scenario *scenario = ctx;
    struct rig rig;
    struct lsm_options options = scenario_options();
    rig_init_on(&rig, sim, &options);
    rig_must_open(&rig);
    struct lsm_version applied;
    struct nk_bytes state;
    lsm_applied(rig.db, &applied, &state);
    cr_assert_geq(applied.index, scenario->durable);
    cr_assert_leq(applied.index, scenario->written);
    check_contents(&rig, applied.index);
    /* And it goes on from there. */
    for (uint64_t entry = applied.index + 1; entry <= ENTRIES; entry++) {
        write_entry(&rig, entry);
        if (entry % 10 == 0) {
            rig_flush(&rig);
        }
    }
    check_contents(&rig, ENTRIES);
    rig_deinit(&rig);
}

static void run_all(enum sim_fs_fault fault, bool goes_on)
{
    struct scenario scenario = {.goes_on = goes_on};
    struct sim_fs_scenario fs_scenario = {.run = run, .check = check, .ctx = &scenario};
    for (uint64_t seed = 1; seed <= 2; seed++) {
        uint64_t operations = sim_fs_every_nth_failure(&fs_scenario, fault, seed);
        cr_expect_gt(operations, 200);
    }
}

Test(lsm_faults, any_call_fails)
{
    run_all(SIM_FS_FAULT_IO, false);
}

Test(lsm_faults, the_disk_is_full_at_any_call)
{
    run_all(SIM_FS_FAULT_NO_SPACE, false);
}

Test(lsm_faults, the_disk_is_full_for_a_moment)
{
    run_all(SIM_FS_FAULT_NO_SPACE, true);
}

Test(lsm_faults, the_power_goes_at_any_call)
{
    run_all(SIM_FS_FAULT_POWER_CUT, false);
}

/* ---- What an open finds ---- */

static uint64_t applied_of(struct rig *rig)
{
    struct lsm_version applied;
    struct nk_bytes state;
    lsm_applied(rig->db, &applied, &state);
    return applied.index;
}

/* Twenty entries, of which the flush of the last ten fails at its n-th call; then the process dies.
 * `fresh`: the flush writes a new manifest, otherwise it appends.  False: it did not fail. */
static bool leave_half_done(struct rig *rig, uint64_t n, bool fresh)
{
    for (uint64_t entry = 1; entry <= 20; entry++) {
        write_entry(rig, entry);
        if (entry == 10) {
            rig_flush(rig);
        }
        if (entry == 10 && fresh) {
            rig_reopen(rig);
        }
    }
    uint64_t faults = sim_fs_io_faults(rig->sim);
    sim_fs_fail_at(rig->sim, n, NK_IO);
    lsm_request_flush(rig->db);
    (void)rig_work(rig, SIZE_MAX);
    rig_close(rig);
    sim_fs_kill(rig->sim);
    return sim_fs_io_faults(rig->sim) > faults;
}

/* Its owner drops his log up to where an open says it is: no power loss may take it back. */
Test(lsm_faults, what_an_open_finds_stays)
{
    size_t found[2] = {0}; /* of flushes that failed, how many an open found nevertheless */
    for (uint64_t seed = 1; seed <= 32; seed++) {
        bool fresh = seed % 2 == 0;
        bool failed = true;
        for (uint64_t n = 1; failed; n++) {
            struct rig rig;
            struct nk_prng prng;
            struct lsm_options options = scenario_options();
            nk_prng_init(&prng, seed);
            rig_init(&rig, seed, &options);
            rig_must_open(&rig);
            failed = leave_half_done(&rig, n, fresh);
            rig_must_open(&rig);
            uint64_t applied = applied_of(&rig);
            cr_assert(applied == 20 || (applied == 10 && failed));
            found[fresh] += applied == 20 && failed;
            rig_close(&rig);
            sim_fs_crash(rig.sim, &prng);
            rig_must_open(&rig);
            cr_assert_geq(applied_of(&rig), applied, "seed %u call %u", (unsigned)seed,
                          (unsigned)n);
            check_contents(&rig, applied_of(&rig));
            rig_deinit(&rig);
        }
    }
    cr_expect_gt(found[false], 0);
    cr_expect_gt(found[true], 0);
}
