#pragma once

/* What the system says of this process and of a directory. */

#include <stdbool.h>
#include <stdint.h>

/* One line to stderr, then the end. */
_Noreturn void bench_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

uint64_t process_now_ns(void); /* monotonic */
void process_sleep_us(uint64_t us);
uint64_t process_cpu_us(void);

/* write_bytes of /proc/self/io: what this process made the system write to disk, counted in pages
 * when they become dirty (and again when they do after they were written). */
uint64_t process_written_bytes(void);

/* VmRSS of /proc/self/status: memory now. */
uint64_t process_memory_bytes(void);

/* VmHWM of /proc/self/status: the most memory so far. */
uint64_t process_peak_bytes(void);

/* Blocks of all files below `directory`; *out_log_bytes: of those that `is_log` names. */
uint64_t process_disk_bytes(const char *directory, bool (*is_log)(const char *path),
                            uint64_t *out_log_bytes);

/* Lets the system forget what it keeps in memory of the files directly in `directory`, which are
 * all on disk already. */
void process_forget_pages(const char *directory);

void process_remove(const char *directory); /* with all below it; nothing there: nothing done */
