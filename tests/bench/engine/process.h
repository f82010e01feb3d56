#pragma once

/* What the system says of this process and of a directory. */

#include <stdbool.h>
#include <stdint.h>

uint64_t process_now_ns(void); /* monotonic */
void process_sleep_us(uint64_t us);
uint64_t process_cpu_us(void);

/* write_bytes of /proc/self/io: what this process made the system write to disk, counted in pages
 * when they become dirty (and again when they do after they were written). */
uint64_t process_written_bytes(void);

/* VmHWM of /proc/self/status: the most memory so far. */
uint64_t process_peak_bytes(void);

/* Blocks of all files below `directory`; *out_log_bytes: of those that `is_log` names. */
uint64_t process_disk_bytes(const char *directory, bool (*is_log)(const char *path),
                            uint64_t *out_log_bytes);

void process_remove(const char *directory); /* with all below it; nothing there: nothing done */
