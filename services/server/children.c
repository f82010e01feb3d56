/* The loop of norikv-server: asks the policy what to do, does it, and waits for what may change its
 * mind: a signal for us, the end of a child, a time.
 *
 * Whether a child is up is looked for where everybody else finds it: it serves once its run file
 * has its pid, and is ready when its /readyz says so.  The looks begin close together and get
 * rarer, and end when it is ready. */

#include "children.h"

#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/limits.h"
#include "common/base/units.h"
#include "services/start/start.h"

#include "layout.h"
#include "probe_posix.h"
#include "spawn_posix.h"
#include "supervise.h"

#define LOOK_FIRST_MS  ((uint64_t)10)
#define LOOK_MAX_MS    ((uint64_t)500)
#define SLOW_MS        ((uint64_t)10000) /* then a child that is not ready is worth a line */
#define TEXT_BYTES_MAX 1536
#define RUN_FILE_MAX   ((size_t)4096)

struct child {
    /* Constant after open. */
    const char *role;
    char path[NK_PATH_BYTES_MAX];
    char http_wanted[SERVER_ADDRESS_BYTES];
    const char **arguments;

    pid_t pid; /* 0: does not run */
    uint64_t started_ms;
    bool serving;                /* what follows is right */
    struct server_run_file runs; /* what it says about itself */
    uint64_t look_due_ms;        /* UINT64_MAX: there is nothing to look for */
    uint64_t look_step_ms;
    bool said_slow;
};

struct children {
    struct children_options options;
    int ends_fd;
    struct supervise policy;
    struct child all[SUPERVISE_CHILD_COUNT];
    bool announced; /* run/server.json is there */
};

static const char target[] = "server";

static enum nk_err prepare(struct children *children, enum supervise_child which,
                           struct nk_text *reason);
static void start(struct children *children, enum supervise_child which);
static void tell(struct children *children, enum supervise_child which, int signal_number);
static void wait_for_news(struct children *children, uint64_t until_ms);
static uint64_t next_look_ms(const struct children *children);
static void read_stops(struct children *children);
static void reap(struct children *children);
static void ended(struct children *children, enum supervise_child which, int code);
static void look(struct children *children, enum supervise_child which);
static bool read_run_file(struct children *children, const struct child *child,
                          struct server_run_file *out_file);
static void announce(struct children *children);

static uint64_t now_ms(const struct children *children)
{
    return nk_mono_us(&children->options.clock) / NK_US_PER_MS;
}

/* ---- Open and close ---- */

enum nk_err children_open(const struct children_options *options, struct children **out_children,
                          struct nk_text *reason)
{
    struct children *children = nk_alloc_zero(1, sizeof *children);
    children->options = *options;
    children->ends_fd = -1;
    enum nk_err err = server_child_fd(&children->ends_fd);
    if (err != NK_OK) {
        nk_text_add(reason, "cannot watch for the end of child processes");
    }
    for (size_t i = 0; i < SUPERVISE_CHILD_COUNT && err == NK_OK; i++) {
        err = prepare(children, (enum supervise_child)i, reason);
    }
    if (err != NK_OK) {
        children_close(&children);
        return err;
    }
    start_run_file_remove(&options->fs, target);
    *out_children = children;
    return NK_OK;
}

void children_close(struct children **children_p)
{
    if (children_p == NULL || *children_p == NULL) {
        return;
    }
    struct children *children = *children_p;
    if (children->announced) {
        start_run_file_remove(&children->options.fs, target);
    }
    for (size_t i = 0; i < SUPERVISE_CHILD_COUNT; i++) {
        nk_free(children->all[i].arguments);
    }
    if (children->ends_fd >= 0) {
        (void)close(children->ends_fd);
    }
    nk_free(children);
    *children_p = NULL;
}

static enum nk_err prepare(struct children *children, enum supervise_child which,
                           struct nk_text *reason)
{
    const struct children_options *options = &children->options;
    struct child *child = &children->all[which];
    child->role = server_role_name(which);
    child->look_due_ms = UINT64_MAX;
    struct nk_text path;
    nk_text_init(&path, child->path, sizeof child->path);
    enum nk_err err = server_find_program(child->role, &path);
    if (err != NK_OK) {
        nk_text_add(reason, "norikv-");
        nk_text_add(reason, child->role);
        nk_text_add(reason, " is neither beside norikv-server nor in PATH");
        return err;
    }
    struct nk_text address;
    nk_text_init(&address, child->http_wanted, sizeof child->http_wanted);
    err = server_http_address(options->config, which, &address, reason);
    if (err != NK_OK) {
        return err;
    }
    child->arguments =
        nk_alloc_zero(options->argument_count + SERVER_ARGUMENTS_MORE, sizeof *child->arguments);
    server_child_arguments(options->arguments, options->argument_count, child->http_wanted,
                           child->arguments);
    child->arguments[0] = child->path;
    start_run_file_remove(&options->fs, child->role);
    return NK_OK;
}

/* ---- The loop ---- */

int children_run(struct children *children)
{
    supervise_init(&children->policy, now_ms(children));
    wait_for_news(children, 0); /* a stop may have come before there was anybody to stop */
    struct supervise_action action;
    do {
        action = supervise_next(&children->policy, now_ms(children));
        switch (action.kind) {
        case SUPERVISE_NOTHING:
            wait_for_news(children, action.next_ms);
            break;
        case SUPERVISE_START:
            start(children, action.child);
            break;
        case SUPERVISE_TERMINATE:
            tell(children, action.child, SIGTERM);
            break;
        case SUPERVISE_KILL:
            nk_log_warn(&children->options.log, target, "a child process has to be killed",
                        NK_LOG_TEXT("role", children->all[action.child].role));
            tell(children, action.child, SIGKILL);
            break;
        case SUPERVISE_DONE:
            break;
        }
    } while (action.kind != SUPERVISE_DONE);
    return children->policy.exit_code;
}

static void start(struct children *children, enum supervise_child which)
{
    struct child *child = &children->all[which];
    char line[TEXT_BYTES_MAX];
    struct nk_text reason;
    nk_text_init(&reason, line, sizeof line);
    NK_ASSERT(child->pid == 0);
    enum nk_err err = server_spawn(child->path, child->arguments, &child->pid, &reason);
    if (err != NK_OK) {
        nk_log_error(&children->options.log, target, "a child process cannot be started",
                     NK_LOG_TEXT("role", child->role), NK_LOG_TEXT("reason", line));
        ended(children, which, SUPERVISE_EXIT_FAILURE);
        return;
    }
    child->started_ms = now_ms(children);
    child->serving = false;
    child->said_slow = false;
    child->look_step_ms = LOOK_FIRST_MS;
    child->look_due_ms = child->started_ms + LOOK_FIRST_MS;
    nk_log_info(&children->options.log, target, "a child process has started",
                NK_LOG_TEXT("role", child->role), NK_LOG_NUMBER("pid", child->pid),
                NK_LOG_TEXT("program", child->path));
}

/* It is there at least as a zombie: nobody else waits for it. */
static void tell(struct children *children, enum supervise_child which, int signal_number)
{
    const struct child *child = &children->all[which];
    NK_ASSERT(child->pid > 0);
    int failed = kill(child->pid, signal_number);
    NK_ASSERT(failed == 0);
}

static void wait_for_news(struct children *children, uint64_t until_ms)
{
    struct pollfd fds[] = {
        {.fd = children->options.stop_fd, .events = POLLIN},
        {.fd = children->ends_fd, .events = POLLIN},
    };
    uint64_t now = now_ms(children);
    uint64_t due_ms = nk_min_u64(until_ms, next_look_ms(children));
    uint64_t timeout_ms = due_ms > now ? due_ms - now : 0;
    /* What poll says is not needed: the descriptors do not block. */
    (void)poll(fds, NK_COUNT_OF(fds), (int)nk_min_u64(timeout_ms, INT_MAX));
    read_stops(children); /* first: then a child that got the same signal is no surprise */
    reap(children);
    now = now_ms(children);
    for (size_t i = 0; i < SUPERVISE_CHILD_COUNT && !children->policy.stopping; i++) {
        if (now >= children->all[i].look_due_ms) {
            look(children, (enum supervise_child)i);
        }
    }
}

static uint64_t next_look_ms(const struct children *children)
{
    uint64_t next_ms = UINT64_MAX;
    for (size_t i = 0; i < SUPERVISE_CHILD_COUNT && !children->policy.stopping; i++) {
        next_ms = nk_min_u64(next_ms, children->all[i].look_due_ms);
    }
    return next_ms;
}

static void read_stops(struct children *children)
{
    struct signalfd_siginfo info;
    while (read(children->options.stop_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        nk_log_info(&children->options.log, target,
                    children->policy.stopping ? "stopping at once" : "stopping",
                    NK_LOG_NUMBER("signal", info.ssi_signo));
        supervise_stop(&children->policy, now_ms(children));
    }
}

/* ---- Ends ---- */

static void reap(struct children *children)
{
    server_child_fd_drain(children->ends_fd);
    pid_t pid;
    int code;
    while (server_reap(&pid, &code)) {
        for (size_t i = 0; i < SUPERVISE_CHILD_COUNT; i++) {
            if (children->all[i].pid == pid) {
                ended(children, (enum supervise_child)i, code);
            }
        }
    }
}

static void ended(struct children *children, enum supervise_child which, int code)
{
    struct child *child = &children->all[which];
    const struct nk_log *log = &children->options.log;
    struct nk_log_field role = NK_LOG_TEXT("role", child->role);
    struct nk_log_field how = code > SUPERVISE_SIGNALLED
                                  ? NK_LOG_NUMBER("signal", code - SUPERVISE_SIGNALLED)
                                  : NK_LOG_NUMBER("exit_code", code);
    struct server_run_file file;
    if (child->pid > 0 && read_run_file(children, child, &file)) {
        start_run_file_remove(&children->options.fs, child->role); /* it was killed */
    }
    child->pid = 0;
    child->look_due_ms = UINT64_MAX;
    uint64_t now = now_ms(children);
    switch (supervise_ended(&children->policy, which, code, now)) {
    case SUPERVISE_EXPECTED:
        nk_log_info(log, target, "a child process has stopped", role, how);
        break;
    case SUPERVISE_RESTART:
        nk_log_warn(log, target, "a child process has ended and is started again", role, how,
                    NK_LOG_NUMBER("in_ms", children->policy.children[which].due_ms - now));
        break;
    case SUPERVISE_BAD_CONFIG:
        nk_log_warn(log, target, "a child process refuses its settings or data: stopping", role,
                    how); /* the error is the child's own line */
        break;
    case SUPERVISE_HOPELESS:
        nk_log_error(log, target, "a child process has never been ready: stopping", role, how,
                     NK_LOG_NUMBER("attempts", SUPERVISE_ATTEMPTS));
        break;
    }
}

/* ---- Looks ---- */

static void look(struct children *children, enum supervise_child which)
{
    struct child *child = &children->all[which];
    if (!child->serving && read_run_file(children, child, &child->runs)) {
        child->serving = true;
        supervise_serving(&children->policy, which);
    }
    if (child->serving && server_probe_ready(child->runs.http_addr)) {
        child->look_due_ms = UINT64_MAX;
        supervise_ready(&children->policy, which);
        nk_log_info(&children->options.log, target, "a child process is ready",
                    NK_LOG_TEXT("role", child->role),
                    NK_LOG_NUMBER("after_ms", now_ms(children) - child->started_ms));
        announce(children);
        return;
    }
    uint64_t now = now_ms(children);
    if (!child->said_slow && now - child->started_ms >= SLOW_MS) {
        child->said_slow = true;
        nk_log_warn(&children->options.log, target, "a child process is not ready yet",
                    NK_LOG_TEXT("role", child->role),
                    NK_LOG_NUMBER("after_ms", now - child->started_ms));
    }
    child->look_due_ms = now + child->look_step_ms;
    child->look_step_ms = nk_min_u64(child->look_step_ms * 2, LOOK_MAX_MS);
}

/* False: there is none, or it is of another process. */
static bool read_run_file(struct children *children, const struct child *child,
                          struct server_run_file *out_file)
{
    const struct nk_fs *fs = &children->options.fs;
    char memory[64];
    struct nk_text name;
    nk_text_init(&name, memory, sizeof memory);
    nk_text_add(&name, "run/");
    nk_text_add(&name, child->role);
    nk_text_add(&name, ".json");
    char text[RUN_FILE_MAX];
    size_t size = 0;
    struct nk_file *file = NULL;
    enum nk_err err = nk_fs_open(fs, memory, NK_FS_READ, &file);
    if (err == NK_OK) {
        err = nk_fs_pread(fs, file, 0, text, sizeof text, &size);
    }
    nk_fs_close(fs, &file);
    return err == NK_OK && server_run_file_read(nk_bytes_of(text, size), out_file) == NK_OK &&
           out_file->pid == (uint64_t)child->pid;
}

/* Once in our life, so the file means "has been ready"; how it is now, the children tell. */
static void announce(struct children *children)
{
    const struct children_options *options = &children->options;
    if (children->announced || !supervise_all_ready(&children->policy)) {
        return;
    }
    children->announced = true;
    const struct server_run_file *gateway = &children->all[SUPERVISE_GATEWAY].runs;
    struct nk_buf text;
    nk_buf_init(&text);
    server_run_file_write(options->config->node_id, (uint64_t)getpid(), gateway, &text);
    enum nk_err err = start_run_file_write(&options->fs, target, nk_buf_bytes(&text));
    nk_buf_deinit(&text);
    if (err != NK_OK) {
        nk_log_error(&options->log, target, "cannot write run/server.json",
                     NK_LOG_TEXT("err", nk_err_name(err)));
    }
    nk_log_info(&options->log, target, "ready", NK_LOG_TEXT("node_id", options->config->node_id),
                NK_LOG_TEXT("rpc_addr", gateway->rpc_addr),
                NK_LOG_TEXT("http_addr", gateway->http_addr),
                NK_LOG_TEXT("version", NK_BUILD_VERSION));
}
