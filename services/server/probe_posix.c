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

/* 0, or the error of getaddrinfo.  The caller frees *out_found. */
static int resolve(const char *text, int flags, struct addrinfo **out_found)
{
    struct nk_config_address address;
    if (nk_config_address_parse(text, &address) != NK_OK) {
        return EAI_NONAME;
    }
    char port[8];
    (void)snprintf(port, sizeof port, "%u", address.port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | flags};
    return getaddrinfo(address.host, port, &hints, out_found);
}

/* ---- May it be listened at? ---- */

/* 0 or errno.  As those who will listen do it: with SO_REUSEADDR, or connections of a former
 * process would be in the way. */
static int try_bind(const struct addrinfo *place)
{
    int fd = socket(place->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return errno;
    }
    int yes = 1;
    int error = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
                        bind(fd, place->ai_addr, place->ai_addrlen) != 0
                    ? errno
                    : 0;
    (void)close(fd);
    return error;
}

enum nk_err server_probe_free(const char *address, struct nk_text *reason)
{
    struct addrinfo *found = NULL;
    int unknown = resolve(address, AI_PASSIVE, &found);
    if (unknown != 0) {
        nk_text_add(reason, address);
        nk_text_add(reason, ": ");
        nk_text_add(reason, gai_strerror(unknown));
        return NK_INVALID;
    }
    int error = EADDRNOTAVAIL; /* one of them is enough */
    for (const struct addrinfo *place = found; place != NULL && error != 0;
         place = place->ai_next) {
        error = try_bind(place);
    }
    freeaddrinfo(found);
    if (error == 0) {
        return NK_OK;
    }
    nk_text_add(reason, address);
    nk_text_add(reason, ": ");
    nk_text_add(reason,
                error == EADDRINUSE ? "another process listens on this port" : strerror(error));
    return error == EADDRINUSE ? NK_UNAVAILABLE : NK_IO;
}

/* ---- Is who listens there ready? ---- */

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
    struct addrinfo *found = NULL;
    if (resolve(http_address, 0, &found) != 0) {
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
