#include <criterion/criterion.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/base/units.h"
#include "common/env_posix/env_posix.h"

TestSuite(env_posix_process, .timeout = 20);

Test(env_posix_process, usage_is_that_of_this_process)
{
    struct env_posix_process posix;
    env_posix_process_init(&posix);
    struct nk_process process = env_posix_process(&posix);
    struct nk_process_usage before;
    struct nk_process_usage after;
    cr_assert(process.usage(process.ctx, &before));
    int fd = open("/dev/null", O_RDONLY);
    cr_assert_geq(fd, 0);
    cr_assert(process.usage(process.ctx, &after));
    cr_expect_eq(after.open_files, before.open_files + 1);
    (void)close(fd);

    cr_expect_gt(before.open_files_max, before.open_files);
    cr_expect_gt(before.resident_bytes, 64 * NK_KIB);
    cr_expect_gt(before.virtual_bytes, before.resident_bytes);
    cr_expect_geq(after.cpu_us, before.cpu_us);
    cr_expect_eq(after.start_time_us, before.start_time_us);

    struct nk_clock clock = env_posix_clock();
    uint64_t now_us = nk_wall_ms(&clock) * NK_US_PER_MS;
    cr_expect_leq(before.start_time_us, now_us + NK_US_PER_SEC);
    cr_expect_gt(before.start_time_us, now_us - 60 * NK_US_PER_SEC);
}

Test(env_posix_process, cpu_time_is_counted)
{
    struct env_posix_process posix;
    env_posix_process_init(&posix);
    struct nk_process process = env_posix_process(&posix);
    struct nk_process_usage first;
    struct nk_process_usage now;
    cr_assert(process.usage(process.ctx, &first));
    do { /* it is counted in ticks of 10 ms; the suite's timeout ends a test that waits in vain */
        cr_assert(process.usage(process.ctx, &now));
    } while (now.cpu_us == first.cpu_us);
    cr_expect_gt(now.cpu_us, first.cpu_us);
}

Test(env_posix_process, the_limit_of_files_is_raised_as_far_as_it_may_be)
{
    struct rlimit before;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit low = {64, before.rlim_max};
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
    cr_expect_eq(env_posix_raise_file_limit(), before.rlim_max);
    struct rlimit after;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &after), 0);
    cr_expect_eq(after.rlim_cur, before.rlim_max);
    cr_expect_eq(after.rlim_max, before.rlim_max);
    cr_expect_eq(env_posix_raise_file_limit(), before.rlim_max, "again it changes nothing");
}

Test(env_posix_process, seeds_differ)
{
    uint64_t first = env_posix_random_seed();
    uint64_t second = env_posix_random_seed();
    cr_expect_neq(first, 0);
    cr_expect_neq(first, second); /* one run in 2^64 fails */
}

Test(env_posix_process, the_monotonic_clock_goes_on)
{
    struct nk_clock clock = env_posix_clock();
    uint64_t start = nk_mono_us(&clock);
    uint64_t last = start;
    while (last == start) {
        uint64_t now = nk_mono_us(&clock);
        cr_assert_geq(now, last);
        last = now;
    }
    cr_expect_gt(nk_wall_ms(&clock), UINT64_C(1700000000000));
}

static bool is_readable(int fd)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    return poll(&wait, 1, 0) == 1;
}

Test(env_posix_process, stop_signals_wait_at_the_descriptor_and_kill_nobody)
{
    int fd = -1;
    cr_assert_eq(env_posix_stop_fd(&fd), NK_OK);
    cr_expect(!is_readable(fd));
    cr_assert_eq(raise(SIGTERM), 0);
    cr_expect(is_readable(fd));
    cr_assert_eq(raise(SIGINT), 0);
    cr_assert_eq(raise(SIGHUP), 0);
    cr_assert_eq(raise(SIGPIPE), 0);
    char signals[512];
    cr_expect_eq(read(fd, signals, sizeof signals), 3 * 128);
    cr_expect(!is_readable(fd));
    (void)close(fd);
}
