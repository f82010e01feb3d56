/* data_dir/run/<role>.json. */

#include <criterion/criterion.h>

#include "common/base/units.h"
#include "services/start/start.h"
#include "tests/sim/fs.h"

TestSuite(start_run_file, .timeout = 10);

static void expect_contents(struct sim_fs *sim, const char *text)
{
    struct nk_buf contents = {0};
    sim_fs_read(sim, "run/gossip.json", &contents);
    cr_expect(nk_bytes_equal(nk_buf_bytes(&contents), nk_bytes_of_string(text)));
    nk_buf_deinit(&contents);
}

/* What a former process has left: its run file, and the half of another one. */
static struct sim_fs *with_leftovers(void)
{
    struct sim_fs *sim = sim_fs_new(7);
    sim_fs_put(sim, "run/gossip.json", nk_bytes_of_string("old and longer"));
    sim_fs_put(sim, "run/gossip.json.new", nk_bytes_of_string("half"));
    return sim;
}

Test(start_run_file, what_a_former_process_left_is_replaced)
{
    struct sim_fs *sim = with_leftovers();
    struct nk_fs fs = sim_fs_handle(sim);
    cr_assert_eq(start_run_file_write(&fs, "gossip", nk_bytes_of_string("{}\n")), NK_OK);
    expect_contents(sim, "{}\n");
    cr_expect(!sim_fs_exists(sim, "run/gossip.json.new"));
    start_run_file_remove(&fs, "gossip");
    cr_expect(!sim_fs_exists(sim, "run/gossip.json"));
    start_run_file_remove(&fs, "gossip"); /* gone already */
    sim_fs_free(&sim);
}

/* Readers see the former or the new one, never a half. */
Test(start_run_file, whatever_call_fails_the_file_is_whole)
{
    uint64_t calls = 0;
    for (uint64_t nth = 1;; nth++) {
        struct sim_fs *sim = with_leftovers();
        struct nk_fs fs = sim_fs_handle(sim);
        sim_fs_fail_at(sim, nth, NK_IO);
        enum nk_err err = start_run_file_write(&fs, "gossip", nk_bytes_of_string("{}\n"));
        bool failed = err != NK_OK;
        cr_expect(!failed || err == NK_IO, "call %llu", (unsigned long long)nth);
        struct nk_buf contents = {0};
        sim_fs_read(sim, "run/gossip.json", &contents);
        bool old = nk_bytes_equal(nk_buf_bytes(&contents), nk_bytes_of_string("old and longer"));
        bool new = nk_bytes_equal(nk_buf_bytes(&contents), nk_bytes_of_string("{}\n"));
        cr_expect(failed ? old || new : new, "call %llu", (unsigned long long)nth);
        nk_buf_deinit(&contents);
        sim_fs_free(&sim);
        if (!failed) {
            break;
        }
        calls = nth;
    }
    cr_expect_eq(calls, 4); /* remove, create, write, rename */
}
