/* norikv-server: a whole node under one command.  It starts gateway, shardhost, gossip and admin
 * with its own flags, file and environment, keeps them running, and takes them down in order.
 *
 *   logs   the children write to our standard error themselves, line by line like us
 *   end    0 after an ordered stop; 78 when settings, data and surroundings do not fit together
 *          (also when a child says so); 1 for everything else
 *   death  of this process, however it comes, ends the children (spawn_posix.h) */

#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "common/base/units.h"
#include "common/env_posix/env_posix.h"
#include "services/start/start.h"

#include "children.h"
#include "layout.h"
#include "probe_posix.h"

#define PROGRAM         "norikv-server"
#define TEXT_BYTES_MAX  1024
#define FORMER_WAIT_MS  5000
#define ADDRESS_WAIT_MS 500
#define RETRY_MS        10

/* Opening goes down, closing up again; what was not reached is NULL or -1. */
struct server {
    struct nk_settings *settings;
    int stop_fd;
    struct env_posix_log *log;
    struct nk_log lines; /* into it */
    struct env_posix_fs *fs;
    struct env_posix_lock *lock;
    struct children *children;
};

static enum nk_err open_all(struct server *server, int argc, char **argv, struct nk_text *reason);
static enum nk_err await_former(struct server *server, struct nk_text *reason);
static enum nk_err await_addresses(const struct nk_config *config, struct nk_text *reason);
static enum nk_err await_address(const char *address, struct nk_text *reason);
static void close_all(struct server *server);

int main(int argc, char **argv)
{
    struct server server = {.stop_fd = -1};
    bool done = false;
    enum nk_err err =
        start_settings(PROGRAM, argc, argv, env_posix_read_file, &server.settings, &done);
    if (err != NK_OK || done) {
        nk_settings_free(&server.settings);
        return start_exit_code(err);
    }
    char line[TEXT_BYTES_MAX];
    struct nk_text reason;
    nk_text_init(&reason, line, sizeof line);
    err = open_all(&server, argc, argv, &reason);
    int code = start_exit_code(err);
    if (err == NK_OK) {
        code = children_run(server.children);
        nk_log_info(&server.lines, "server", "stopped", NK_LOG_NUMBER("exit_code", code));
    } else if (server.log != NULL) {
        nk_log_error(&server.lines, "server", "cannot start", NK_LOG_TEXT("reason", line),
                     NK_LOG_TEXT("err", nk_err_name(err)));
    } else {
        (void)fprintf(stderr, PROGRAM ": %s\n", line);
    }
    close_all(&server);
    return code;
}

static enum nk_err open_all(struct server *server, int argc, char **argv, struct nk_text *reason)
{
    static const enum nk_log_level levels[] = {
        [NK_CONFIG_LOG_DEBUG] = NK_LOG_DEBUG,
        [NK_CONFIG_LOG_INFO] = NK_LOG_INFO,
        [NK_CONFIG_LOG_WARN] = NK_LOG_WARN,
        [NK_CONFIG_LOG_ERROR] = NK_LOG_ERROR,
    };
    const struct nk_config *config = nk_settings_values(server->settings);
    enum nk_err err = server_layout_check(config, reason);
    if (err != NK_OK) {
        return err;
    }
    err = env_posix_stop_fd(&server->stop_fd);
    if (err != NK_OK) {
        nk_text_add(reason, "cannot watch for SIGTERM");
        return err;
    }
    struct env_posix_log_options log = {
        .fd = STDERR_FILENO,
        .json = config->log.format == NK_CONFIG_LOG_JSON,
        .level_min = levels[config->log.level],
    };
    env_posix_log_open(&log, &server->log);
    server->lines = env_posix_log(server->log);
    err = env_posix_fs_open(config->data_dir, &server->fs, reason);
    if (err == NK_OK) {
        err = env_posix_lock(server->fs, "run/server.lock", &server->lock, reason);
    }
    if (err == NK_OK) {
        err = await_former(server, reason);
    }
    if (err == NK_OK) {
        err = await_addresses(config, reason);
    }
    if (err != NK_OK) {
        return err;
    }
    struct children_options options = {
        .config = config,
        .arguments = (const char *const *)argv + (argc > 0 ? 1 : 0),
        .argument_count = argc > 0 ? (size_t)argc - 1 : 0,
        .fs = env_posix_fs(server->fs),
        .log = server->lines,
        .clock = env_posix_clock(),
        .stop_fd = server->stop_fd,
    };
    return children_open(&options, &server->children, reason);
}

/* The children of a server that was killed are killed as well, but may need a moment to go, for
 * instance because a write to the disk is under way. */
static enum nk_err await_former(struct server *server, struct nk_text *reason)
{
    struct nk_clock clock = env_posix_clock();
    uint64_t deadline_us = nk_mono_us(&clock) + FORMER_WAIT_MS * NK_US_PER_MS;
    for (size_t i = 0; i < SUPERVISE_CHILD_COUNT;) {
        char name[64];
        char line[TEXT_BYTES_MAX];
        struct nk_text held;
        nk_text_init(&held, line, sizeof line);
        (void)snprintf(name, sizeof name, "run/%s.lock", server_role_name((enum supervise_child)i));
        struct env_posix_lock *lock = NULL;
        enum nk_err err = env_posix_lock(server->fs, name, &lock, &held);
        env_posix_unlock(&lock);
        if (err == NK_OK) {
            i++;
        } else if (err != NK_CONFLICT || nk_mono_us(&clock) >= deadline_us) {
            nk_text_add(reason, line);
            return err;
        } else {
            (void)poll(NULL, 0, RETRY_MS);
        }
    }
    return NK_OK;
}

/* A child would find out as well, but only say so after the fifth attempt, and among the lines of
 * the others.  Who was killed gives its ports back a moment later than its locks. */
static enum nk_err await_addresses(const struct nk_config *config, struct nk_text *reason)
{
    enum nk_err err = await_address(config->rpc_addr, reason);
    for (size_t i = 0; i < SUPERVISE_CHILD_COUNT && err == NK_OK; i++) {
        char memory[SERVER_ADDRESS_BYTES];
        struct nk_text address;
        nk_text_init(&address, memory, sizeof memory);
        err = server_http_address(config, (enum supervise_child)i, &address, reason);
        if (err == NK_OK) {
            err = await_address(memory, reason);
        }
    }
    return err;
}

static enum nk_err await_address(const char *address, struct nk_text *reason)
{
    struct nk_clock clock = env_posix_clock();
    uint64_t deadline_us = nk_mono_us(&clock) + ADDRESS_WAIT_MS * NK_US_PER_MS;
    for (;;) {
        char line[TEXT_BYTES_MAX];
        struct nk_text why;
        nk_text_init(&why, line, sizeof line);
        enum nk_err err = server_probe_free(address, &why);
        if (err != NK_UNAVAILABLE || nk_mono_us(&clock) >= deadline_us) {
            nk_text_add(reason, line);
            return err;
        }
        (void)poll(NULL, 0, RETRY_MS);
    }
}

static void close_all(struct server *server)
{
    children_close(&server->children);
    env_posix_unlock(&server->lock);
    env_posix_fs_close(&server->fs);
    env_posix_log_close(&server->log);
    if (server->stop_fd >= 0) {
        (void)close(server->stop_fd);
    }
    nk_settings_free(&server->settings);
}
