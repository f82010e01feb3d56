#pragma once

/* Child processes of norikv-server.  Main thread only: the kernel ends a child with the thread that
 * started it, so that thread must be the one that lives as long as the server. */

#include <sys/types.h>

#include "common/base/err.h"
#include "common/base/text.h"

/* Blocks SIGCHLD; the returned descriptor becomes readable when a child has ended.  The caller
 * closes it.  NK_IO. */
NK_MUST_CHECK enum nk_err server_child_fd(int *out_fd);

/* Empties the descriptor. */
void server_child_fd_drain(int fd);

/* The path of norikv-<role>: beside this program (/proc/self/exe), where the build puts it
 * (../<role>/), or in PATH.  NK_NOT_FOUND; NK_TOO_LARGE. */
NK_MUST_CHECK enum nk_err server_find_program(const char *role, struct nk_text *out_path);

/* Starts `path` with `arguments` (arguments[0] is its name, NULL ends them), our environment,
 * standard output and error, no input.  The child
 *   - dies with us, however we die (PR_SET_PDEATHSIG);
 *   - has a process group of its own: Ctrl-C in a terminal reaches only us, and we stop it in
 * order;
 *   - has no signal blocked.
 * NK_IO: it could not be executed, `reason` has one line. */
NK_MUST_CHECK enum nk_err server_spawn(const char *path, const char *const *arguments,
                                       pid_t *out_pid, struct nk_text *reason);

/* One child that has ended; false: none has.  *out_code: its exit code, or 128 and the signal. */
bool server_reap(pid_t *out_pid, int *out_code);
