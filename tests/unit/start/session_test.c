/* data_dir/run/<role>.session. */

#include <criterion/criterion.h>

#include "common/base/units.h"
#include "services/start/start.h"
#include "tests/sim/fs.h"

TestSuite(start_session, .timeout = 10);

#define WALL_MS UINT64_C(1800000000000)

Test(start_session, it_grows_from_start_to_start_whatever_the_clock_does)
{
    static const int64_t clocks[] = {0, 0, 1, -3600000, -3600000, 5, -1, 86400000, 0};
    struct sim_fs *sim = sim_fs_new(1);
    struct nk_fs fs = sim_fs_handle(sim);
    sim_fs_put(sim, "run/other", nk_bytes_of(NULL, 0));
    uint64_t last = 0;
    for (size_t i = 0; i < NK_COUNT_OF(clocks); i++) {
        uint64_t wall_ms = (uint64_t)((int64_t)WALL_MS + clocks[i]);
        uint64_t session = start_session(&fs, "gateway", wall_ms, 0xabcdef * i);
        cr_expect_gt(session, last, "start %zu", i);
        last = session;
    }
    cr_expect_lt(start_session(&fs, "gossip", WALL_MS, 7), last, "roles are counted apart");
    sim_fs_free(&sim);
}

Test(start_session, a_file_that_makes_no_sense_counts_as_none)
{
    static const char *const contents[] = {
        "",
        "\n",
        "12",
        "-5\n",
        "18446744073709551616\n",
        "x\n",
        "999999999999999999999999999999999",
    };
    for (size_t i = 0; i < NK_COUNT_OF(contents); i++) {
        struct sim_fs *sim = sim_fs_new(1);
        struct nk_fs fs = sim_fs_handle(sim);
        sim_fs_put(sim, "run/admin.session", nk_bytes_of_string(contents[i]));
        cr_expect_eq(start_session(&fs, "admin", WALL_MS, 4), WALL_MS << 16 | 5, "case %zu", i);
        sim_fs_free(&sim);
    }
}

Test(start_session, the_largest_number_is_no_trap)
{
    struct sim_fs *sim = sim_fs_new(1);
    struct nk_fs fs = sim_fs_handle(sim);
    sim_fs_put(sim, "run/admin.session", nk_bytes_of_string("18446744073709551615\n"));
    cr_expect_eq(start_session(&fs, "admin", WALL_MS, 4), WALL_MS << 16 | 5);
    sim_fs_free(&sim);
}

/* Whatever call fails, there is a session, and the next start is above it or goes by the clock. */
Test(start_session, a_failing_disk_is_no_reason_not_to_start)
{
    for (uint64_t nth = 1; nth <= 8; nth++) {
        struct sim_fs *sim = sim_fs_new(nth);
        struct nk_fs fs = sim_fs_handle(sim);
        sim_fs_put(sim, "run/admin.session", nk_bytes_of_string("5\n"));
        sim_fs_fail_at(sim, nth, nth % 2 == 0 ? NK_IO : NK_NO_SPACE);
        uint64_t first = start_session(&fs, "admin", WALL_MS, 4);
        cr_expect_eq(first, WALL_MS << 16 | 5, "call %llu", (unsigned long long)nth);
        cr_expect_gt(start_session(&fs, "admin", WALL_MS + 1, 4), first, "call %llu",
                     (unsigned long long)nth);
        sim_fs_free(&sim);
    }
}
