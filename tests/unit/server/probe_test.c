/* May an address be listened at, is who listens there ready?  Answers come from a listener in a
 * child process. */

#include <criterion/criterion.h>

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/units.h"
#include "services/server/probe_posix.h"

TestSuite(server_probe, .timeout = 20);

static int listen_somewhere(char *out_address, size_t size)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t address_size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_geq(fd, 0);
    int yes = 1; /* as our processes do */
    cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes), 0);
    cr_assert_eq(bind(fd, (const struct sockaddr *)(const void *)&address, address_size), 0);
    cr_assert_eq(listen(fd, 4), 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)(void *)&address, &address_size), 0);
    (void)snprintf(out_address, size, "127.0.0.1:%u", ntohs(address.sin_port));
    return fd;
}

/* Reads a request, answers in `pieces`, closes. */
static void answer_once(int listener, const char *const *pieces)
{
    int fd = accept(listener, NULL, NULL);
    char request[1024];
    ssize_t size = fd >= 0 ? read(fd, request, sizeof request) : -1;
    static const char expected[] = "GET /readyz HTTP/1.1\r\n";
    bool right =
        size > (ssize_t)sizeof expected && memcmp(request, expected, sizeof expected - 1) == 0;
    for (size_t i = 0; right && pieces[i] != NULL; i++) {
        right = write(fd, pieces[i], strlen(pieces[i])) == (ssize_t)strlen(pieces[i]);
    }
    _exit(right ? 0 : 1);
}

/* A child that answers once; it does not outlive a test that ends early. */
static pid_t answer_in_child(int listener, const char *const *pieces)
{
    pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        answer_once(listener, pieces);
    }
    return child;
}

/* A machine without /etc/hosts, such as a bare chroot, may not know the name. */
static bool knows_localhost(void)
{
    struct addrinfo *found = NULL;
    bool knows = getaddrinfo("localhost", NULL, NULL, &found) == 0;
    if (knows) {
        freeaddrinfo(found);
    }
    return knows;
}

Test(server_probe, ready_is_an_answer_of_200_and_nothing_else)
{
    static const struct {
        const char *pieces[4];
        bool ready;
    } cases[] = {
        {{"HTTP/1.1 200 OK\r\n\r\nok\n"}, true},
        {{"HTTP", "/1.1 2", "00 OK\r\n\r\n"}, true},
        {{"HTTP/1.1 503 Service Unavailable\r\n\r\n"}, false},
        {{"HTTP/1.1 2000 \r\n\r\n"}, false},
        {{"HTTP/1.1 200"}, false}, /* and then the end */
        {{NULL}, false},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        char address[32];
        int listener = listen_somewhere(address, sizeof address);
        pid_t child = answer_in_child(listener, cases[i].pieces);
        cr_expect_eq(server_probe_ready(address), cases[i].ready, "case %zu", i);
        int status = -1;
        cr_assert_eq(waitpid(child, &status, 0), child);
        cr_expect_eq(status, 0, "case %zu: another request than expected", i);
        (void)close(listener);
    }
}

Test(server_probe, who_does_not_answer_is_not_ready)
{
    char address[32];
    int listener = listen_somewhere(address, sizeof address);
    cr_expect_not(server_probe_ready(address), "it listens and says nothing");
    (void)close(listener);
    cr_expect_not(server_probe_ready(address), "nobody listens");
    cr_expect_not(server_probe_ready("nonsense"), "no address");
    cr_expect_not(server_probe_ready("no-such-host.invalid:80"), "no such host");
}

Test(server_probe, a_name_is_tried_at_all_its_addresses)
{
    if (!knows_localhost()) {
        cr_skip_test("this machine does not know the name localhost");
    }
    char address[32];
    char named[32];
    int listener = listen_somewhere(address, sizeof address);
    (void)snprintf(named, sizeof named, "localhost%s", strchr(address, ':'));
    static const char *const pieces[] = {"HTTP/1.1 200 OK\r\n\r\n", NULL};
    pid_t child = answer_in_child(listener, pieces);
    cr_expect(server_probe_ready(named));
    cr_assert_eq(waitpid(child, NULL, 0), child);
    (void)close(listener);
}

static void expect_free(const char *address, enum nk_err err, const char *what)
{
    char expected[256] = "";
    char why[256];
    struct nk_text reason;
    nk_text_init(&reason, why, sizeof why);
    cr_expect_eq(server_probe_free(address, &reason), err, "%s: %s", address, why);
    if (err != NK_OK) {
        (void)snprintf(expected, sizeof expected, "%s: %s", address, what);
    }
    cr_expect_str_eq(why, expected);
}

Test(server_probe, an_address_is_free_unless_somebody_listens_there)
{
    char address[32];
    int listener = listen_somewhere(address, sizeof address);
    expect_free(address, NK_UNAVAILABLE, "another process listens on this port");
    (void)close(listener);
    expect_free(address, NK_OK, "");
    expect_free(address, NK_OK, "");
    expect_free("127.0.0.1:0", NK_OK, "");
    if (knows_localhost()) {
        expect_free("localhost:0", NK_OK, "");
    }
}

Test(server_probe, an_address_of_somebody_else_is_not_free)
{
    expect_free("203.0.113.1:0", NK_IO, "Cannot assign requested address");
    expect_free("no-such-host.invalid:0", NK_INVALID, "Name or service not known");
    expect_free("nonsense", NK_INVALID, "Name or service not known");
}

/* Connections of a former process linger; its port is free nevertheless. */
Test(server_probe, a_connection_that_lingers_does_not_take_the_port)
{
    char address[32];
    int listener = listen_somewhere(address, sizeof address);
    struct sockaddr_in place;
    socklen_t size = sizeof place;
    cr_assert_eq(getsockname(listener, (struct sockaddr *)(void *)&place, &size), 0);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(connect(client, (const struct sockaddr *)(const void *)&place, size), 0);
    int served = accept(listener, NULL, NULL);
    cr_assert_geq(served, 0);
    (void)close(served); /* the side that closes first keeps the port in TIME_WAIT */
    (void)close(client);
    (void)close(listener);
    expect_free(address, NK_OK, "");
}
