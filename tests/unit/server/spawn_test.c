/* Child processes, with shells in the place of roles. */

#include <criterion/criterion.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/limits.h"
#include "services/server/spawn_posix.h"

TestSuite(server_spawn, .timeout = 20);

#define TEXT_BYTES ((size_t)2048)

static pid_t spawn_shell(const char *script)
{
    const char *const arguments[] = {"sh", "-c", script, NULL};
    char why[TEXT_BYTES];
    struct nk_text reason;
    nk_text_init(&reason, why, sizeof why);
    pid_t pid = -1;
    cr_assert_eq(server_spawn("/bin/sh", arguments, &pid, &reason), NK_OK, "%s", why);
    cr_assert_gt(pid, 0);
    return pid;
}

/* The next end of a child, waited for at the descriptor as the server does. */
static int next_end(int fd, pid_t pid)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    pid_t ended = -1;
    int code = -1;
    while (!server_reap(&ended, &code)) {
        cr_assert_eq(poll(&wait, 1, 10000), 1);
        server_child_fd_drain(fd);
    }
    cr_expect_eq(ended, pid);
    return code;
}

Test(server_spawn, the_end_of_a_child_and_its_code_are_told)
{
    int fd = -1;
    cr_assert_eq(server_child_fd(&fd), NK_OK);
    cr_expect_eq(next_end(fd, spawn_shell("exit 0")), 0);
    cr_expect_eq(next_end(fd, spawn_shell("exit 78")), 78);
    cr_expect_eq(next_end(fd, spawn_shell("kill -9 $$")), 128 + SIGKILL);
    pid_t pid;
    int code;
    cr_expect_not(server_reap(&pid, &code), "nobody is left");
    (void)close(fd);
}

Test(server_spawn, a_child_has_our_environment_no_input_and_no_signal_blocked)
{
    int fd = -1;
    cr_assert_eq(server_child_fd(&fd), NK_OK);
    sigset_t stops;
    (void)sigemptyset(&stops);
    (void)sigaddset(&stops, SIGTERM);
    cr_assert_eq(sigprocmask(SIG_BLOCK, &stops, NULL), 0);
    cr_assert_neq(signal(SIGPIPE, SIG_IGN), SIG_ERR);
    cr_assert_eq(setenv("NORIKV_TEST_WORD", "a word", 1), 0);
    pid_t pid = spawn_shell("test \"$NORIKV_TEST_WORD\" = 'a word' || exit 1\n"
                            "test -z \"$(cat)\" || exit 2\n"
                            "grep -q '^SigBlk:.0000000000000000$' /proc/self/status || exit 3\n"
                            "test $((0x$(sed -n 's/^SigIgn:.//p' /proc/self/status) & 0x1000)) "
                            "-eq 0 || exit 4\n"
                            "exit 9");
    cr_expect_eq(getpgid(pid), pid, "Ctrl-C is for us alone");
    cr_expect_eq(next_end(fd, pid), 9);
    (void)close(fd);
}

Test(server_spawn, a_program_that_cannot_be_executed_is_explained)
{
    const char *const arguments[] = {"none", NULL};
    static const struct {
        const char *path;
        const char *line;
    } cases[] = {
        {"/nowhere/none", "cannot start /nowhere/none: No such file or directory"},
        {"/etc/passwd", "cannot start /etc/passwd: Permission denied"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char why[TEXT_BYTES];
        struct nk_text reason;
        nk_text_init(&reason, why, sizeof why);
        pid_t pid = -1;
        cr_expect_eq(server_spawn(cases[i].path, arguments, &pid, &reason), NK_IO);
        cr_expect_str_eq(why, cases[i].line);
        cr_expect_eq(pid, -1);
    }
    cr_expect_eq(waitpid(-1, NULL, WNOHANG), -1, "no child is left, not even a zombie");
    cr_expect_eq(errno, ECHILD);
}

/* The server's place is taken by a process in between, so that this one can see the end of both. */
Test(server_spawn, a_child_dies_with_the_server_however_that_dies)
{
    cr_assert_eq(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    int fds[2];
    cr_assert_eq(pipe(fds), 0);
    pid_t server = fork();
    cr_assert_geq(server, 0);
    if (server == 0) {
        pid_t child = spawn_shell("trap '' TERM INT HUP; exec sleep 100");
        if (write(fds[1], &child, sizeof child) == (ssize_t)sizeof child) {
            (void)pause();
        }
        _exit(1);
    }
    pid_t child = -1;
    cr_assert_eq(read(fds[0], &child, sizeof child), (ssize_t)sizeof child);
    cr_assert_eq(kill(server, SIGKILL), 0);
    cr_assert_eq(waitpid(server, NULL, 0), server);
    int status = 0;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_expect(WIFSIGNALED(status));
    cr_expect_eq(WTERMSIG(status), SIGKILL);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

/* ---- Finding ---- */

static void make_file(const char *path, mode_t mode)
{
    FILE *file = fopen(path, "w");
    cr_assert_not_null(file, "%s", path);
    cr_assert_eq(fclose(file), 0);
    cr_assert_eq(chmod(path, mode), 0);
}

static void expect_found(const char *role, const char *expected)
{
    char memory[NK_PATH_BYTES_MAX];
    struct nk_text path;
    nk_text_init(&path, memory, sizeof memory);
    cr_expect_eq(server_find_program(role, &path), expected != NULL ? NK_OK : NK_NOT_FOUND);
    cr_expect_str_eq(memory, expected != NULL ? expected : "");
}

/* "", or the directory of this program and what stands behind it. */
static void own_path(const char *behind, char out_path[static TEXT_BYTES])
{
    char self[NK_PATH_BYTES_MAX];
    ssize_t size = readlink("/proc/self/exe", self, sizeof self - 1);
    cr_assert_gt(size, 0);
    self[size] = '\0';
    *strrchr(self, '/') = '\0';
    (void)snprintf(out_path, TEXT_BYTES, "%s/%s", self, behind);
}

Test(server_spawn, a_program_is_found_in_path_if_it_can_be_executed)
{
    char directory[] = "/tmp/norikv-unit-XXXXXX";
    cr_assert_not_null(mkdtemp(directory));
    char program[64];
    char words[128];
    (void)snprintf(program, sizeof program, "%s/norikv-inpath", directory);
    (void)snprintf(words, sizeof words, "/nowhere::%s:/tmp", directory);
    cr_assert_eq(setenv("PATH", words, 1), 0);
    expect_found("inpath", NULL);
    make_file(program, 0644);
    expect_found("inpath", NULL);
    make_file(program, 0755);
    expect_found("inpath", program);
    cr_assert_eq(setenv("PATH", "", 1), 0);
    expect_found("inpath", NULL);
    cr_assert_eq(unsetenv("PATH"), 0);
    expect_found("inpath", NULL);
    cr_assert_eq(unlink(program), 0);
    cr_assert_eq(rmdir(directory), 0);
}

Test(server_spawn, a_program_beside_this_one_comes_first_and_then_that_of_the_build)
{
    char beside[TEXT_BYTES];
    char built[TEXT_BYTES];
    char directory[TEXT_BYTES];
    own_path("norikv-twoplaces", beside);
    own_path("../twoplaces", directory);
    own_path("../twoplaces/norikv-twoplaces", built);
    cr_assert(mkdir(directory, 0755) == 0 || errno == EEXIST);
    make_file(beside, 0755);
    make_file(built, 0755);
    expect_found("twoplaces", beside);
    cr_assert_eq(unlink(beside), 0);
    expect_found("twoplaces", built);
    cr_assert_eq(unlink(built), 0);
    cr_assert_eq(rmdir(directory), 0);
    expect_found("twoplaces", NULL);
}
