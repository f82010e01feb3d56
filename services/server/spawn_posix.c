#include "spawn_posix.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/limits.h"

/* ---- Ends of children ---- */

enum nk_err server_child_fd(int *out_fd)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0) {
        return NK_IO;
    }
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0) {
        return NK_IO;
    }
    *out_fd = fd;
    return NK_OK;
}

void server_child_fd_drain(int fd)
{
    struct signalfd_siginfo info;
    while (read(fd, &info, sizeof info) > 0) {
    }
}

bool server_reap(pid_t *out_pid, int *out_code)
{
    int status;
    pid_t pid;
    do {
        pid = waitpid(-1, &status, WNOHANG);
    } while (pid < 0 && errno == EINTR);
    if (pid <= 0) {
        return false;
    }
    *out_pid = pid;
    *out_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    return true;
}

/* ---- Finding ---- */

static bool executable(struct nk_text *path)
{
    return !path->truncated && access(path->data, X_OK) == 0;
}

static void start_over(struct nk_text *path)
{
    nk_text_init(path, path->data, path->capacity);
}

/* `directory`/`name`, if it can be executed. */
static bool try_directory(struct nk_bytes directory, const char *name, struct nk_text *path)
{
    start_over(path);
    nk_text_add_bytes(path, directory);
    nk_text_add(path, "/");
    nk_text_add(path, name);
    return executable(path);
}

static bool find_in_path(const char *name, struct nk_text *path)
{
    const char *rest = getenv("PATH");
    while (rest != NULL && *rest != '\0') {
        size_t size = strcspn(rest, ":");
        if (size > 0 && try_directory(nk_bytes_of(rest, size), name, path)) {
            return true;
        }
        rest += rest[size] == ':' ? size + 1 : size;
    }
    return false;
}

/* The directory of this program, without the slash behind it; empty: unknown.  After an upgrade the
 * link reads "… (deleted)", and the directory is still right. */
static struct nk_bytes own_directory(char memory[static NK_PATH_BYTES_MAX])
{
    ssize_t size = readlink("/proc/self/exe", memory, NK_PATH_BYTES_MAX);
    if (size < 0 || size == (ssize_t)NK_PATH_BYTES_MAX) {
        return nk_bytes_of(memory, 0);
    }
    while (size > 0 && memory[size - 1] != '/') {
        size--;
    }
    return nk_bytes_of(memory, size > 0 ? (size_t)size - 1 : 0);
}

enum nk_err server_find_program(const char *role, struct nk_text *out_path)
{
    char name_memory[32];
    char built_memory[64];
    char self[NK_PATH_BYTES_MAX];
    struct nk_text name;
    struct nk_text built;
    nk_text_init(&name, name_memory, sizeof name_memory);
    nk_text_init(&built, built_memory, sizeof built_memory);
    nk_text_add(&name, "norikv-");
    nk_text_add(&name, role);
    nk_text_add(&built, "../");
    nk_text_add(&built, role);
    nk_text_add(&built, "/");
    nk_text_add(&built, name_memory);
    struct nk_bytes directory = own_directory(self);
    if (directory.size > 0 && (try_directory(directory, name_memory, out_path) ||
                               try_directory(directory, built_memory, out_path))) {
        return NK_OK;
    }
    if (find_in_path(name_memory, out_path)) {
        return NK_OK;
    }
    enum nk_err err = out_path->truncated ? NK_TOO_LARGE : NK_NOT_FOUND;
    start_over(out_path);
    return err;
}

/* ---- Starting ---- */

/* In the child.  Only calls that are safe between fork and exec.  Returns if it did not work. */
static void become(const char *path, const char *const *arguments, pid_t parent)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) {
        return;
    }
    if (getppid() != parent) {
        _exit(EXIT_FAILURE); /* it died before we asked: nobody would tell us any more */
    }
    int input = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (input < 0 || dup2(input, STDIN_FILENO) < 0 || setpgid(0, 0) != 0) {
        return;
    }
    sigset_t none;
    (void)sigemptyset(&none);
    (void)signal(SIGPIPE, SIG_DFL); /* ignored signals would stay so over exec */
    if (sigprocmask(SIG_SETMASK, &none, NULL) != 0) {
        return;
    }
    (void)execv(path, (char *const *)(uintptr_t)arguments); /* only read */
}

/* The child says through the pipe why it could not become the program; exec closes it silently. */
enum nk_err server_spawn(const char *path, const char *const *arguments, pid_t *out_pid,
                         struct nk_text *reason)
{
    int pipe_fds[2];
    int error = 0;
    pid_t parent = getpid();
    pid_t pid = -1;
    if (pipe2(pipe_fds, O_CLOEXEC) == 0) {
        pid = fork();
        error = errno;
        if (pid == 0) {
            become(path, arguments, parent);
            error = errno;
            ssize_t told = write(pipe_fds[1], &error, sizeof error);
            (void)told; /* if it fails, there is nobody to tell */
            _exit(EXIT_FAILURE);
        }
        (void)close(pipe_fds[1]);
        int why = 0;
        if (pid > 0 && read(pipe_fds[0], &why, sizeof why) == (ssize_t)sizeof why) {
            (void)waitpid(pid, NULL, 0);
            pid = -1;
            error = why;
        }
        (void)close(pipe_fds[0]);
    } else {
        error = errno;
    }
    if (pid < 0) {
        nk_text_add(reason, "cannot start ");
        nk_text_add(reason, path);
        nk_text_add(reason, ": ");
        nk_text_add(reason, strerror(error));
        return NK_IO;
    }
    *out_pid = pid;
    return NK_OK;
}
