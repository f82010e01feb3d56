/* This process as the kernel sees it: /proc/self (proc(5)), the random source, its stop signals. */

#include "env_posix.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "common/base/assert.h"
#include "common/base/units.h"

struct stat_line {
    uint64_t user_ticks;
    uint64_t system_ticks;
    uint64_t start_ticks; /* since boot */
    uint64_t virtual_bytes;
    uint64_t resident_pages;
};

static bool read_stat(struct stat_line *out_line);
static bool count_open_files(uint64_t *out_count);
static uint64_t boot_time_us(void);

uint64_t env_posix_random_seed(void)
{
    uint64_t seed = 0;
    while (seed == 0) {
        ssize_t got = getrandom(&seed, sizeof seed, 0);
        if (got != (ssize_t)sizeof seed) {
            NK_ASSERT(got < 0); /* so few bytes never come in parts */
            NK_ASSERT(errno == EINTR);
            seed = 0;
        }
    }
    return seed;
}

enum nk_err env_posix_stop_fd(int *out_fd)
{
    sigset_t stops;
    (void)sigemptyset(&stops);
    (void)sigaddset(&stops, SIGTERM);
    (void)sigaddset(&stops, SIGINT);
    (void)sigaddset(&stops, SIGHUP);
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR || sigprocmask(SIG_BLOCK, &stops, NULL) != 0) {
        return NK_IO;
    }
    int fd = signalfd(-1, &stops, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0) {
        return NK_IO;
    }
    *out_fd = fd;
    return NK_OK;
}

uint64_t env_posix_raise_file_limit(void)
{
    struct rlimit files;
    int failed = getrlimit(RLIMIT_NOFILE, &files);
    NK_ASSERT(failed == 0); /* it has no other reason than a wrong argument */
    struct rlimit raised = {files.rlim_max, files.rlim_max};
    return setrlimit(RLIMIT_NOFILE, &raised) == 0 ? raised.rlim_cur : files.rlim_cur;
}

void env_posix_host_name(char out_name[static ENV_POSIX_HOST_NAME_BYTES])
{
    if (gethostname(out_name, ENV_POSIX_HOST_NAME_BYTES) != 0) {
        out_name[0] = '\0';
    }
    out_name[ENV_POSIX_HOST_NAME_BYTES - 1] = '\0';
}

void env_posix_process_init(struct env_posix_process *process)
{
    struct stat_line line;
    process->start_time_us = 0;
    if (read_stat(&line)) {
        process->start_time_us =
            boot_time_us() + line.start_ticks * NK_US_PER_SEC / (uint64_t)sysconf(_SC_CLK_TCK);
    }
}

static bool usage(void *ctx, struct nk_process_usage *out_usage)
{
    const struct env_posix_process *process = ctx;
    struct stat_line line;
    struct rlimit files;
    uint64_t open_files;
    if (!read_stat(&line) || !count_open_files(&open_files) ||
        getrlimit(RLIMIT_NOFILE, &files) != 0) {
        return false;
    }
    uint64_t ticks_per_s = (uint64_t)sysconf(_SC_CLK_TCK);
    out_usage->cpu_us = (line.user_ticks + line.system_ticks) * NK_US_PER_SEC / ticks_per_s;
    out_usage->resident_bytes = line.resident_pages * (uint64_t)sysconf(_SC_PAGESIZE);
    out_usage->virtual_bytes = line.virtual_bytes;
    out_usage->start_time_us = process->start_time_us;
    out_usage->open_files = open_files;
    out_usage->open_files_max = files.rlim_cur;
    return true;
}

struct nk_process env_posix_process(struct env_posix_process *process)
{
    return (struct nk_process){usage, process};
}

/* Fields 14, 15, 22, 23, 24.  The second field is the program's name in parentheses and may hold
 * anything, parentheses too: the rest begins behind the last one. */
static bool read_stat(struct stat_line *out_line)
{
    char text[1024];
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t size = read(fd, text, sizeof text - 1);
    (void)close(fd);
    if (size <= 0) {
        return false;
    }
    text[size] = '\0';
    const char *rest = strrchr(text, ')');
    return rest != NULL &&
           sscanf(rest + 1,
                  " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64
                  " %*d %*d %*d %*d %*d %*d %" SCNu64 " %" SCNu64 " %" SCNu64,
                  &out_line->user_ticks, &out_line->system_ticks, &out_line->start_ticks,
                  &out_line->virtual_bytes, &out_line->resident_pages) == 5;
}

static bool count_open_files(uint64_t *out_count)
{
    DIR *entries = opendir("/proc/self/fd");
    if (entries == NULL) {
        return false;
    }
    uint64_t count = 0;
    for (const struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries)) {
        if (entry->d_name[0] != '.') {
            count++;
        }
    }
    (void)closedir(entries);
    NK_ASSERT(count > 0);
    *out_count = count - 1; /* without the one that was just reading */
    return true;
}

/* Wall clock now minus time since boot. */
static uint64_t boot_time_us(void)
{
    struct timespec wall;
    struct timespec since_boot;
    int failed = clock_gettime(CLOCK_REALTIME, &wall);
    NK_ASSERT(failed == 0);
    failed = clock_gettime(CLOCK_BOOTTIME, &since_boot);
    NK_ASSERT(failed == 0);
    return (uint64_t)(wall.tv_sec - since_boot.tv_sec) * NK_US_PER_SEC +
           (uint64_t)((wall.tv_nsec - since_boot.tv_nsec) / 1000);
}
