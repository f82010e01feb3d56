#include "tests/bench/engine/process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_SEC     UINT64_C(1000000000)
#define DESCRIPTORS    16
#define BYTES_OF_BLOCK 512

static struct {
    size_t root_size; /* of the directory's name and the slash behind it */
    bool (*is_log)(const char *path);
    uint64_t bytes;
    uint64_t log_bytes;
} walk; /* nftw has no place for it */

void bench_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)fprintf(stderr, "%s: ", program_invocation_short_name);
    (void)vfprintf(stderr, format, arguments);
    (void)fprintf(stderr, "\n");
    va_end(arguments);
    exit(1);
}

uint64_t process_now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_SEC + (uint64_t)now.tv_nsec;
}

void process_sleep_us(uint64_t us)
{
    struct timespec wait = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000};
    (void)nanosleep(&wait, NULL);
}

uint64_t process_cpu_us(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
           (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

/* The number behind `name` in a file of lines "name: number". */
static uint64_t read_number(const char *path, const char *name)
{
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        bench_fail("cannot read %s: %s", path, strerror(errno));
    }
    char line[256];
    size_t name_size = strlen(name);
    uint64_t number = 0;
    bool found = false;
    while (!found && fgets(line, sizeof line, file) != NULL) {
        found = strncmp(line, name, name_size) == 0 &&
                sscanf(line + name_size, " %" SCNu64, &number) == 1;
    }
    (void)fclose(file);
    if (!found) {
        bench_fail("%s has no %s", path, name);
    }
    return number;
}

uint64_t process_written_bytes(void)
{
    return read_number("/proc/self/io", "write_bytes:");
}

uint64_t process_memory_bytes(void)
{
    return read_number("/proc/self/status", "VmRSS:") * 1024;
}

uint64_t process_peak_bytes(void)
{
    return read_number("/proc/self/status", "VmHWM:") * 1024;
}

static int count_file(const char *path, const struct stat *status, int kind, struct FTW *where)
{
    (void)where;
    if (kind == FTW_F) {
        uint64_t bytes = (uint64_t)status->st_blocks * BYTES_OF_BLOCK;
        walk.bytes += bytes;
        walk.log_bytes += walk.is_log(path + walk.root_size) ? bytes : 0;
    }
    return 0; /* a file that went meanwhile is not there any more: FTW_NS */
}

uint64_t process_disk_bytes(const char *directory, bool (*is_log)(const char *path),
                            uint64_t *out_log_bytes)
{
    memset(&walk, 0, sizeof walk);
    walk.root_size = strlen(directory) + 1;
    walk.is_log = is_log;
    if (nftw(directory, count_file, DESCRIPTORS, FTW_PHYS) != 0) {
        bench_fail("cannot walk through %s: %s", directory, strerror(errno));
    }
    *out_log_bytes = walk.log_bytes;
    return walk.bytes;
}

void process_forget_pages(const char *directory)
{
    DIR *list = opendir(directory);
    if (list == NULL) {
        bench_fail("cannot list %s: %s", directory, strerror(errno));
    }
    for (const struct dirent *entry; (entry = readdir(list)) != NULL;) {
        int file = entry->d_name[0] == '.' ? -1 : openat(dirfd(list), entry->d_name, O_RDONLY);
        if (file >= 0) {
            (void)posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
            (void)close(file);
        }
    }
    (void)closedir(list);
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *where)
{
    (void)status;
    (void)kind;
    (void)where;
    return remove(path);
}

void process_remove(const char *directory)
{
    if (nftw(directory, remove_one, DESCRIPTORS, FTW_DEPTH | FTW_PHYS) != 0 && errno != ENOENT) {
        bench_fail("cannot remove %s: %s", directory, strerror(errno));
    }
}
