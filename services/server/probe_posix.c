#include "probe_posix.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/err.h"
#include "common/config/config.h"

#define PROBE_TIMEOUT_MS 200 /* for each of connecting, writing, reading */

static bool wait_for(int fd, short events)
{
    struct pollfd poll_fd = {.fd = fd, .events = events};
    return poll(&poll_fd, 1, PROBE_TIMEOUT_MS) == 1;
}

/* -1: nobody is there. */
static int connect_to(const struct addrinfo *address)
{
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -1;
    }
    int error = 0;
    socklen_t size = sizeof error;
    if (connect(fd, address->ai_addr, address->ai_addrlen) != 0 &&
        (errno != EINPROGRESS || !wait_for(fd, POLLOUT) ||
         getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0)) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

static bool ask(int fd)
{
    static const char request[] =
        "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    static const char ready[] = "HTTP/1.1 200 ";
    char answer[sizeof ready - 1];
    size_t size = 0;
    if (send(fd, request, sizeof request - 1, MSG_NOSIGNAL) != (ssize_t)sizeof request - 1) {
        return false;
    }
    while (size < sizeof answer && wait_for(fd, POLLIN)) {
        ssize_t got = read(fd, answer + size, sizeof answer - size);
        if (got <= 0) {
            return false;
        }
        size += (size_t)got;
    }
    return size == sizeof answer && memcmp(answer, ready, size) == 0;
}

/* A name may stand for several addresses, of which the process listens at one. */
bool server_probe_ready(const char *http_address)
{
    struct nk_config_address address;
    if (nk_config_address_parse(http_address, &address) != NK_OK) {
        return false;
    }
    char port[8];
    (void)snprintf(port, sizeof port, "%u", address.port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    if (getaddrinfo(address.host, port, &hints, &found) != 0) {
        return false;
    }
    int fd = -1;
    for (const struct addrinfo *place = found; place != NULL && fd < 0; place = place->ai_next) {
        fd = connect_to(place);
    }
    freeaddrinfo(found);
    bool ready = fd >= 0 && ask(fd);
    if (fd >= 0) {
        (void)close(fd);
    }
    return ready;
}
