#pragma once

/* The contracts of common/env on a real Linux system.  The only home of threads, clocks and files.
 *
 * Reasons: where a call takes `reason`, it has one line for the operator after a failure. */

#include "common/base/buf.h"
#include "common/base/text.h"
#include "common/env/clock.h"
#include "common/env/fs.h"
#include "common/env/log.h"
#include "common/env/loop.h"
#include "common/env/process.h"
#include "common/env/worker.h"

/* ---- Clock, seed, signals, this process ---- */

struct nk_clock env_posix_clock(void); /* CLOCK_MONOTONIC and CLOCK_REALTIME */

/* From the kernel's random source; never 0. */
uint64_t env_posix_random_seed(void);

/* Blocks SIGTERM, SIGINT and SIGHUP and ignores SIGPIPE for the whole process; the returned
 * descriptor becomes readable when one of the three arrives (SIGHUP not if it is ignored, as under
 * nohup).  To be called by main before any thread starts.  The caller closes it.  NK_IO. */
NK_MUST_CHECK enum nk_err env_posix_stop_fd(int *out_fd);

/* Lets this process open as many files as it may (the soft limit becomes the hard one), and says
 * how many that is.  Connections count too. */
uint64_t env_posix_raise_file_limit(void);

/* What this machine calls itself; "" if it has no name. */
#define ENV_POSIX_HOST_NAME_BYTES 65
void env_posix_host_name(char out_name[static ENV_POSIX_HOST_NAME_BYTES]);

/* Reads /proc/self.  The start time is worked out once: it must not move when the wall clock does,
 * since a change of it tells a monitor that the process was restarted. */
struct env_posix_process {
    uint64_t start_time_us; /* 0: unknown */
};

void env_posix_process_init(struct env_posix_process *process);
struct nk_process env_posix_process(struct env_posix_process *process);

/* ---- Files ---- */

/* Appends the whole file at `path`, which is any path of the system.  NK_INVALID: it cannot be
 * read, or has more than `bytes_max`; then *out has an arbitrary part of it. */
NK_MUST_CHECK enum nk_err env_posix_read_file(const char *path, size_t bytes_max,
                                              struct nk_buf *out, struct nk_text *reason);

struct env_posix_fs;

/* Opens the directory `root`, made if it is missing (with its parents), as the root of a file
 * system. */
NK_MUST_CHECK enum nk_err env_posix_fs_open(const char *root, struct env_posix_fs **out_fs,
                                            struct nk_text *reason);

/* The same for a directory that is there, whose files are only looked at: calls that would change
 * something are forbidden (asserted).  NK_NOT_FOUND, NK_IO. */
NK_MUST_CHECK enum nk_err env_posix_fs_open_to_read(const char *root, struct env_posix_fs **out_fs,
                                                    struct nk_text *reason);
void env_posix_fs_close(struct env_posix_fs **fs); /* all its files are closed (asserted) */
struct nk_fs env_posix_fs(struct env_posix_fs *fs);

/* The last call that failed with NK_IO or NK_NO_SPACE: which, on what, why; "" if none did.  Any
 * thread. */
void env_posix_fs_last_fault(struct env_posix_fs *fs, struct nk_text *out_text);

struct env_posix_lock;

/* Takes the lock file `name` ("run/shardhost.lock"; its directory is made if missing) for this
 * process until unlock or the end of the process, however it ends.  NK_CONFLICT: another process
 * holds it, `reason` says which. */
NK_MUST_CHECK enum nk_err env_posix_lock(struct env_posix_fs *fs, const char *name,
                                         struct env_posix_lock **out_lock, struct nk_text *reason);
void env_posix_unlock(struct env_posix_lock **lock);

/* ---- Workers ---- */

struct env_posix_worker;

struct env_posix_worker_options {
    unsigned read_threads;       /* > 0 */
    unsigned background_threads; /* > 0; nice by 10 */
};

/* Starts the threads: one for the log lane, the others as asked. */
NK_MUST_CHECK enum nk_err env_posix_worker_open(const struct env_posix_worker_options *options,
                                                struct env_posix_worker **out_worker,
                                                struct nk_text *reason);

/* Finishes as nk_loop_source.finish() does, then stops the threads. */
void env_posix_worker_close(struct env_posix_worker **worker);

struct nk_worker env_posix_worker(struct env_posix_worker *worker);
struct nk_loop_source env_posix_loop_source(struct env_posix_worker *worker);

/* ---- Log ---- */

struct env_posix_log;

struct env_posix_log_options {
    int fd;    /* borrowed until close; stderr in production */
    bool json; /* false: text for people */
    enum nk_log_level level_min;
};

/* One event, one line, one write of at most 4096 bytes; longer texts are cut.  A reader that stands
 * still costs a caller at most ENV_POSIX_LOG_WAIT_MS once; then events are dropped, and counted in
 * the first line that gets through again ("dropped"). */
void env_posix_log_open(const struct env_posix_log_options *options,
                        struct env_posix_log **out_log);
void env_posix_log_close(struct env_posix_log **log);
struct nk_log env_posix_log(struct env_posix_log *log);

#define ENV_POSIX_LOG_WAIT_MS 10
