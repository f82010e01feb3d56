#include <criterion/criterion.h>
#include <signal.h>

#include "common/base/units.h"
#include "tests/sim/fs.h"

TestSuite(simfs, .timeout = 30);

#define CRASHES 500

static struct nk_file *must_open(const struct nk_fs *fs, const char *name, enum nk_fs_open mode)
{
    struct nk_file *file = NULL;
    cr_assert_eq(nk_fs_open(fs, name, mode, &file), NK_OK, "%s", name);
    return file;
}

static void must_write(const struct nk_fs *fs, struct nk_file *file, uint64_t offset,
                       const char *text)
{
    cr_assert_eq(nk_fs_pwrite(fs, file, offset, nk_bytes_of_string(text)), NK_OK);
}

static void make_file(const struct nk_fs *fs, const char *name, const char *text)
{
    struct nk_file *file = must_open(fs, name, NK_FS_CREATE);
    must_write(fs, file, 0, text);
    cr_assert_eq(nk_fs_sync(fs, file), NK_OK);
    nk_fs_close(fs, &file);
}

static bool holds(const struct sim_fs *sim, const char *name, const char *text)
{
    struct nk_buf contents = {0};
    sim_fs_read(sim, name, &contents);
    bool equal = nk_bytes_equal(nk_buf_bytes(&contents), nk_bytes_of_string(text));
    nk_buf_deinit(&contents);
    return equal;
}

static void expect_names(const struct sim_fs *sim, const char *directory, const char *expected)
{
    struct nk_buf names = {0};
    sim_fs_list(sim, directory, &names);
    nk_buf_append_u8(&names, 0);
    cr_expect_str_eq((const char *)names.data, expected);
    nk_buf_deinit(&names);
}

Test(simfs, reads_what_was_written_and_stops_at_the_end)
{
    struct sim_fs *sim = sim_fs_new(1);
    struct nk_fs fs = sim_fs_handle(sim);
    struct nk_file *file = must_open(&fs, "a", NK_FS_CREATE);
    must_write(&fs, file, 3, "hello");
    char got[16] = {0};
    size_t read = 0;
    cr_expect_eq(nk_fs_pread(&fs, file, 2, got, sizeof got, &read), NK_OK);
    cr_expect_eq(read, 6);
    cr_expect_eq(memcmp(got, "\0hello", 6), 0);
    cr_expect_eq(nk_fs_pread(&fs, file, 100, got, sizeof got, &read), NK_OK);
    cr_expect_eq(read, 0);
    cr_expect_eq(nk_fs_truncate(&fs, file, 4), NK_OK);
    cr_expect_eq(nk_fs_truncate(&fs, file, 6), NK_OK);
    uint64_t size = 0;
    cr_expect_eq(nk_fs_size(&fs, file, &size), NK_OK);
    cr_expect_eq(size, 6);
    cr_expect_eq(nk_fs_pread(&fs, file, 0, got, sizeof got, &read), NK_OK);
    cr_expect_eq(memcmp(got, "\0\0\0h\0\0", 6), 0);
    nk_fs_close(&fs, &file);
    cr_expect_null(file);
    nk_fs_close(&fs, &file);
    sim_fs_free(&sim);
}

Test(simfs, names_follow_the_contract)
{
    struct sim_fs *sim = sim_fs_new(1);
    struct nk_fs fs = sim_fs_handle(sim);
    struct nk_file *file = NULL;
    cr_expect_eq(nk_fs_open(&fs, "a", NK_FS_READ, &file), NK_NOT_FOUND);
    cr_expect_eq(nk_fs_open(&fs, "d/a", NK_FS_CREATE, &file), NK_NOT_FOUND);
    cr_expect_eq(nk_fs_mkdir(&fs, "d"), NK_OK);
    cr_expect_eq(nk_fs_mkdir(&fs, "d"), NK_CONFLICT);
    make_file(&fs, "d/a", "one");
    make_file(&fs, "b", "two");
    cr_expect_eq(nk_fs_open(&fs, "b", NK_FS_CREATE, &file), NK_CONFLICT);
    cr_expect_eq(nk_fs_link(&fs, "b", "d/a"), NK_CONFLICT);
    cr_expect_eq(nk_fs_link(&fs, "b", "d/c"), NK_OK);
    cr_expect_eq(nk_fs_link(&fs, "x", "d/x"), NK_NOT_FOUND);
    cr_expect_eq(nk_fs_remove(&fs, "d"), NK_CONFLICT);
    cr_expect_eq(nk_fs_rename(&fs, "b", "d/a"), NK_OK);
    cr_expect(holds(sim, "d/a", "two"));
    expect_names(sim, "d", "a\nc\n");
    expect_names(sim, "", "d\n");
    cr_expect_eq(nk_fs_remove(&fs, "d/a"), NK_OK);
    cr_expect_eq(nk_fs_remove(&fs, "d/c"), NK_OK);
    cr_expect_eq(nk_fs_remove(&fs, "d"), NK_OK);
    cr_expect_eq(nk_fs_remove(&fs, "d"), NK_NOT_FOUND);
    expect_names(sim, "", "");
    sim_fs_free(&sim);
}

Test(simfs, an_open_file_outlives_its_name)
{
    struct sim_fs *sim = sim_fs_new(1);
    struct nk_fs fs = sim_fs_handle(sim);
    make_file(&fs, "a", "text");
    struct nk_file *file = must_open(&fs, "a", NK_FS_READ);
    cr_expect_eq(nk_fs_remove(&fs, "a"), NK_OK);
    cr_expect_eq(nk_fs_sync_dir(&fs, ""), NK_OK);
    char got[8];
    size_t read = 0;
    cr_expect_eq(nk_fs_pread(&fs, file, 0, got, sizeof got, &read), NK_OK);
    cr_expect_eq(read, 4);
    nk_fs_close(&fs, &file);
    sim_fs_free(&sim);
}

Test(simfs, what_was_promised_survives_every_crash)
{
    for (uint64_t seed = 0; seed < CRASHES; seed++) {
        struct nk_prng prng;
        nk_prng_init(&prng, seed);
        struct sim_fs *sim = sim_fs_new(seed);
        struct nk_fs fs = sim_fs_handle(sim);
        cr_assert_eq(nk_fs_mkdir(&fs, "d"), NK_OK);
        cr_assert_eq(nk_fs_sync_dir(&fs, ""), NK_OK);
        make_file(&fs, "d/a", "promised");
        cr_assert_eq(nk_fs_sync_dir(&fs, "d"), NK_OK);
        make_file(&fs, "d/b", "no name");
        sim_fs_crash(sim, &prng);
        cr_assert(sim_fs_exists(sim, "d/a"), "seed %zu", (size_t)seed);
        cr_assert(holds(sim, "d/a", "promised"), "seed %zu", (size_t)seed);
        if (sim_fs_exists(sim, "d/b")) {
            cr_assert(holds(sim, "d/b", "no name"), "seed %zu", (size_t)seed);
        }
        sim_fs_free(&sim);
    }
}

/* Two sectors "o", overwritten and extended to four sectors "n" without a sync. */
Test(simfs, an_unsynced_sector_is_old_or_new_and_growth_lies_in_between)
{
    static char old_text[2 * 512 + 1];
    static char new_text[4 * 512 + 1];
    memset(old_text, 'o', sizeof old_text - 1);
    memset(new_text, 'n', sizeof new_text - 1);
    bool seen_old[4] = {false};
    bool seen_new[4] = {false};
    bool seen_size[3] = {false};
    for (uint64_t seed = 0; seed < CRASHES; seed++) {
        struct nk_prng prng;
        nk_prng_init(&prng, seed);
        struct sim_fs *sim = sim_fs_new(seed);
        struct nk_fs fs = sim_fs_handle(sim);
        make_file(&fs, "a", old_text);
        cr_assert_eq(nk_fs_sync_dir(&fs, ""), NK_OK);
        struct nk_file *file = must_open(&fs, "a", NK_FS_WRITE);
        must_write(&fs, file, 0, new_text);
        sim_fs_crash(sim, &prng);
        nk_fs_close(&fs, &file);
        struct nk_buf got = {0};
        sim_fs_read(sim, "a", &got);
        cr_assert(got.size >= 1024 && got.size <= 2048);
        seen_size[got.size == 1024 ? 0 : got.size == 2048 ? 1 : 2] = true;
        for (size_t i = 0; i < got.size; i++) {
            uint8_t first = got.data[i - i % 512];
            cr_assert_eq(got.data[i], first, "a sector is a mixture");
            cr_assert(first == 'n' || first == (i < 1024 ? 'o' : 0));
            *(first == 'n' ? &seen_new[i / 512] : &seen_old[i / 512]) = true;
        }
        nk_buf_deinit(&got);
        sim_fs_free(&sim);
    }
    for (size_t i = 0; i < 4; i++) {
        cr_expect(seen_old[i] && seen_new[i], "sector %zu", i);
    }
    cr_expect(seen_size[0] && seen_size[1] && seen_size[2]);
}

Test(simfs, an_unsynced_truncate_is_undone_or_not)
{
    bool seen_long = false;
    bool seen_short = false;
    for (uint64_t seed = 0; seed < CRASHES; seed++) {
        struct nk_prng prng;
        nk_prng_init(&prng, seed);
        struct sim_fs *sim = sim_fs_new(seed);
        struct nk_fs fs = sim_fs_handle(sim);
        make_file(&fs, "a", "0123456789");
        cr_assert_eq(nk_fs_sync_dir(&fs, ""), NK_OK);
        struct nk_file *file = must_open(&fs, "a", NK_FS_WRITE);
        cr_assert_eq(nk_fs_truncate(&fs, file, 2), NK_OK);
        sim_fs_crash(sim, &prng);
        nk_fs_close(&fs, &file);
        struct nk_buf got = {0};
        sim_fs_read(sim, "a", &got);
        cr_assert(got.size >= 2 && got.size <= 10);
        cr_assert_eq(memcmp(got.data, "01", 2), 0);
        seen_long |= holds(sim, "a", "0123456789");
        seen_short |= holds(sim, "a", "01");
        nk_buf_deinit(&got);
        sim_fs_free(&sim);
    }
    cr_expect(seen_long);
    cr_expect(seen_short);
}

Test(simfs, unsynced_names_are_kept_or_lost_each_on_its_own_and_a_rename_is_whole)
{
    size_t seen[16] = {0};
    for (uint64_t seed = 0; seed < CRASHES; seed++) {
        struct nk_prng prng;
        nk_prng_init(&prng, seed);
        struct sim_fs *sim = sim_fs_new(seed);
        struct nk_fs fs = sim_fs_handle(sim);
        make_file(&fs, "old", "old");
        make_file(&fs, "from", "from");
        make_file(&fs, "to", "to");
        cr_assert_eq(nk_fs_sync_dir(&fs, ""), NK_OK);
        make_file(&fs, "new", "new");
        cr_assert_eq(nk_fs_remove(&fs, "old"), NK_OK);
        cr_assert_eq(nk_fs_rename(&fs, "from", "to"), NK_OK);
        cr_assert_eq(nk_fs_link(&fs, "to", "link"), NK_OK);
        sim_fs_crash(sim, &prng);
        bool renamed = !sim_fs_exists(sim, "from");
        cr_assert(holds(sim, "to", renamed ? "from" : "to"), "seed %zu", (size_t)seed);
        seen[(sim_fs_exists(sim, "new") ? 1 : 0) + (sim_fs_exists(sim, "old") ? 2 : 0) +
             (renamed ? 4 : 0) + (sim_fs_exists(sim, "link") ? 8 : 0)]++;
        sim_fs_free(&sim);
    }
    for (size_t i = 0; i < 16; i++) {
        cr_expect(seen[i] > 0, "combination %zu", i);
    }
}

Test(simfs, a_lost_directory_takes_its_files_along)
{
    bool seen_lost = false;
    for (uint64_t seed = 0; seed < CRASHES; seed++) {
        struct nk_prng prng;
        nk_prng_init(&prng, seed);
        struct sim_fs *sim = sim_fs_new(seed);
        struct nk_fs fs = sim_fs_handle(sim);
        cr_assert_eq(nk_fs_mkdir(&fs, "d"), NK_OK);
        cr_assert_eq(nk_fs_mkdir(&fs, "d/e"), NK_OK);
        make_file(&fs, "d/e/a", "a");
        cr_assert_eq(nk_fs_sync_dir(&fs, "d/e"), NK_OK);
        cr_assert_eq(nk_fs_sync_dir(&fs, "d"), NK_OK);
        sim_fs_crash(sim, &prng);
        cr_assert_eq(sim_fs_exists(sim, "d"), sim_fs_exists(sim, "d/e/a"));
        seen_lost |= !sim_fs_exists(sim, "d");
        sim_fs_free(&sim);
    }
    cr_expect(seen_lost);
}

Test(simfs, files_open_at_a_crash_are_dead)
{
    struct nk_prng prng;
    nk_prng_init(&prng, 1);
    struct sim_fs *sim = sim_fs_new(1);
    struct nk_fs fs = sim_fs_handle(sim);
    make_file(&fs, "a", "text");
    cr_assert_eq(nk_fs_sync_dir(&fs, ""), NK_OK);
    struct nk_file *file = must_open(&fs, "a", NK_FS_WRITE);
    sim_fs_crash(sim, &prng);
    char got[4];
    size_t read;
    uint64_t size;
    cr_expect_eq(nk_fs_pread(&fs, file, 0, got, sizeof got, &read), NK_IO);
    cr_expect_eq(nk_fs_pwrite(&fs, file, 0, nk_bytes_of_string("zz")), NK_IO);
    cr_expect_eq(nk_fs_truncate(&fs, file, 0), NK_IO);
    cr_expect_eq(nk_fs_size(&fs, file, &size), NK_IO);
    cr_expect_eq(nk_fs_sync(&fs, file), NK_IO);
    nk_fs_close(&fs, &file);
    cr_expect(holds(sim, "a", "text"));
    sim_fs_free(&sim);
}

Test(simfs, a_killed_process_loses_nothing_but_promises_nothing_more)
{
    bool seen_lost = false;
    for (uint64_t seed = 0; seed < CRASHES; seed++) {
        struct nk_prng prng;
        nk_prng_init(&prng, seed);
        struct sim_fs *sim = sim_fs_new(seed);
        struct nk_fs fs = sim_fs_handle(sim);
        struct nk_file *file = must_open(&fs, "a", NK_FS_CREATE);
        must_write(&fs, file, 0, "text");
        sim_fs_kill(sim);
        cr_assert_eq(nk_fs_sync(&fs, file), NK_IO);
        nk_fs_close(&fs, &file);
        cr_assert(holds(sim, "a", "text"));
        sim_fs_crash(sim, &prng);
        seen_lost |= !sim_fs_exists(sim, "a");
        sim_fs_free(&sim);
    }
    cr_expect(seen_lost);
}

Test(simfs, the_chosen_operation_fails_once)
{
    struct sim_fs *sim = sim_fs_new(1);
    struct nk_fs fs = sim_fs_handle(sim);
    make_file(&fs, "a", "text");
    cr_expect_eq(sim_fs_operations(sim), 3);
    sim_fs_fail_at(sim, 2, NK_IO);
    struct nk_file *file = must_open(&fs, "a", NK_FS_WRITE);
    uint64_t size;
    cr_expect_eq(nk_fs_size(&fs, file, &size), NK_IO);
    cr_expect_eq(nk_fs_size(&fs, file, &size), NK_OK);
    sim_fs_fail_at(sim, 1, NK_NO_SPACE);
    cr_expect_eq(nk_fs_sync(&fs, file), NK_OK, "a sync needs no space");
    sim_fs_fail_at(sim, 1, NK_NO_SPACE);
    cr_expect_eq(nk_fs_pwrite(&fs, file, 0, nk_bytes_of_string("xxxx")), NK_NO_SPACE);
    nk_fs_close(&fs, &file);
    sim_fs_free(&sim);
}

Test(simfs, without_power_everything_fails_until_the_crash)
{
    size_t half_done = 0;
    for (uint64_t seed = 0; seed < CRASHES; seed++) {
        struct nk_prng prng;
        nk_prng_init(&prng, seed);
        struct sim_fs *sim = sim_fs_new(seed);
        struct nk_fs fs = sim_fs_handle(sim);
        sim_fs_cut_power_after(sim, 1);
        cr_expect_eq(nk_fs_mkdir(&fs, "a"), NK_OK);
        cr_expect_not(sim_fs_power_missed(sim));
        cr_expect_eq(nk_fs_mkdir(&fs, "b"), NK_IO);
        cr_expect(sim_fs_power_missed(sim));
        cr_expect_eq(nk_fs_mkdir(&fs, "c"), NK_IO);
        cr_expect_eq(nk_fs_sync_dir(&fs, ""), NK_IO);
        half_done += sim_fs_exists(sim, "b"); /* it was under way */
        cr_expect_not(sim_fs_exists(sim, "c"));
        sim_fs_crash(sim, &prng);
        cr_expect_not(sim_fs_power_missed(sim));
        cr_expect_eq(nk_fs_mkdir(&fs, "d"), NK_OK);
        sim_fs_free(&sim);
    }
    cr_expect_gt(half_done, 0);
    cr_expect_lt(half_done, CRASHES);
}

Test(simfs, a_process_that_is_killed_at_once_has_nothing_under_way)
{
    for (uint64_t seed = 0; seed < CRASHES; seed++) {
        struct sim_fs *sim = sim_fs_new(seed);
        struct nk_fs fs = sim_fs_handle(sim);
        sim_fs_cut_power_after(sim, 0);
        cr_expect_eq(nk_fs_mkdir(&fs, "a"), NK_IO);
        cr_expect_not(sim_fs_exists(sim, "a"));
        sim_fs_kill(sim);
        sim_fs_free(&sim);
    }
}

Test(simfs, a_sync_after_a_failed_sync_promises_nothing)
{
    bool seen_lost = false;
    for (uint64_t seed = 0; seed < CRASHES; seed++) {
        struct nk_prng prng;
        nk_prng_init(&prng, seed);
        struct sim_fs *sim = sim_fs_new(seed);
        struct nk_fs fs = sim_fs_handle(sim);
        make_file(&fs, "a", "old");
        cr_assert_eq(nk_fs_sync_dir(&fs, ""), NK_OK);
        struct nk_file *file = must_open(&fs, "a", NK_FS_WRITE);
        must_write(&fs, file, 0, "new");
        sim_fs_fail_at(sim, 1, NK_IO);
        cr_assert_eq(nk_fs_sync(&fs, file), NK_IO);
        cr_assert_eq(nk_fs_sync(&fs, file), NK_OK);
        nk_fs_close(&fs, &file);
        cr_assert(holds(sim, "a", "new"));
        sim_fs_crash(sim, &prng);
        seen_lost |= holds(sim, "a", "old");
        sim_fs_free(&sim);
    }
    cr_expect(seen_lost);
}

Test(simfs, space_is_limited_and_comes_back_with_removal)
{
    struct sim_fs *sim = sim_fs_new(1);
    struct nk_fs fs = sim_fs_handle(sim);
    sim_fs_limit_space(sim, 10);
    struct nk_file *file = must_open(&fs, "a", NK_FS_CREATE);
    must_write(&fs, file, 0, "12345678");
    uint64_t left = 0;
    cr_expect_eq(nk_fs_free_bytes(&fs, &left), NK_OK);
    cr_expect_eq(left, 2);
    cr_expect_eq(nk_fs_pwrite(&fs, file, 8, nk_bytes_of_string("abc")), NK_NO_SPACE);
    cr_expect_eq(nk_fs_truncate(&fs, file, 11), NK_NO_SPACE);
    must_write(&fs, file, 0, "87654321");
    must_write(&fs, file, 8, "ab");
    cr_expect_eq(nk_fs_remove(&fs, "a"), NK_OK);
    cr_expect_eq(nk_fs_free_bytes(&fs, &left), NK_OK);
    cr_expect_eq(left, 0, "the file is open");
    nk_fs_close(&fs, &file);
    cr_expect_eq(nk_fs_free_bytes(&fs, &left), NK_OK);
    cr_expect_eq(left, 10);
    sim_fs_free(&sim);
}

Test(simfs, a_flipped_byte_stays_flipped)
{
    struct nk_prng prng;
    nk_prng_init(&prng, 1);
    struct sim_fs *sim = sim_fs_new(1);
    sim_fs_put(sim, "x/y/a", nk_bytes_of_string("abc"));
    sim_fs_flip(sim, "x/y/a", 1, 0x20);
    sim_fs_crash(sim, &prng);
    cr_expect(holds(sim, "x/y/a", "aBc"));
    sim_fs_free(&sim);
}

static uint64_t digest_of_a_run(uint64_t seed)
{
    struct nk_prng prng;
    nk_prng_init(&prng, seed);
    struct sim_fs *sim = sim_fs_new(seed);
    struct nk_fs fs = sim_fs_handle(sim);
    static const char *const names[] = {"a", "b", "c", "d"};
    uint64_t digest = 0;
    for (size_t i = 0; i < NK_COUNT_OF(names); i++) {
        make_file(&fs, names[i], names[i]);
    }
    sim_fs_crash(sim, &prng);
    for (size_t i = 0; i < NK_COUNT_OF(names); i++) {
        digest = digest * 2 + (sim_fs_exists(sim, names[i]) ? 1 : 0);
    }
    sim_fs_free(&sim);
    return digest;
}

Test(simfs, the_same_seed_gives_the_same_crash)
{
    bool differs = false;
    for (uint64_t seed = 0; seed < 50; seed++) {
        cr_expect_eq(digest_of_a_run(seed), digest_of_a_run(seed));
        differs |= digest_of_a_run(seed) != digest_of_a_run(seed + 1);
    }
    cr_expect(differs);
}

Test(simfs, freeing_with_an_open_file_is_a_programmer_error, .signal = SIGABRT)
{
    struct sim_fs *sim = sim_fs_new(1);
    struct nk_fs fs = sim_fs_handle(sim);
    (void)must_open(&fs, "a", NK_FS_CREATE);
    sim_fs_free(&sim);
}

struct scenario_state {
    bool promised;
    size_t runs;
    size_t failures;
};

static void run_install(void *ctx, struct sim_fs *sim)
{
    struct scenario_state *state = ctx;
    struct nk_fs fs = sim_fs_handle(sim);
    struct nk_file *file = NULL;
    state->runs++;
    state->promised = nk_fs_open(&fs, "tmp", NK_FS_CREATE, &file) == NK_OK &&
                      nk_fs_pwrite(&fs, file, 0, nk_bytes_of_string("text")) == NK_OK &&
                      nk_fs_sync(&fs, file) == NK_OK &&
                      nk_fs_rename(&fs, "tmp", "final") == NK_OK &&
                      nk_fs_sync_dir(&fs, "") == NK_OK;
    state->failures += state->promised ? 0 : 1;
    nk_fs_close(&fs, &file);
}

static void check_install(void *ctx, struct sim_fs *sim)
{
    const struct scenario_state *state = ctx;
    if (state->promised) {
        cr_expect(sim_fs_exists(sim, "final"));
    }
    if (sim_fs_exists(sim, "final")) {
        cr_expect(holds(sim, "final", "text"), "run %zu", state->runs);
    }
}

Test(simfs, every_nth_failure_fails_each_operation_once)
{
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct scenario_state state = {0};
        struct sim_fs_scenario scenario = {run_install, check_install, &state};
        cr_assert_eq(sim_fs_every_nth_failure(&scenario, SIM_FS_FAULT_IO, seed), 6);
        cr_assert_eq(state.failures, 5);
        cr_assert_eq(sim_fs_every_nth_failure(&scenario, SIM_FS_FAULT_NO_SPACE, seed), 6);
        cr_assert_eq(state.failures, 8, "create, write and rename need space");
        cr_assert(sim_fs_every_nth_failure(&scenario, SIM_FS_FAULT_POWER_CUT, seed) >= 6);
        cr_assert_eq(state.failures, 13);
    }
}
