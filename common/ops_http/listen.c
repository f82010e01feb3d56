/* The listening socket.  Made here and not by the HTTP library, which only says "failed": an
 * operator wants to know that the port is taken, or by which mistake the address is none. */

#include "listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/assert.h"
#include "common/config/config.h"

#define BACKLOG 512

static int bind_one(const struct addrinfo *place, int *out_fd);
static unsigned port_of(int fd);
static void explain(struct nk_text *reason, const char *address, const char *what);

enum nk_err listen_open(const char *address, int *out_fd, char *out_address, struct nk_text *reason)
{
    struct nk_config_address parsed;
    if (nk_config_address_parse(address, &parsed) != NK_OK) {
        explain(reason, address, "not an address; host:port is wanted, IPv6 hosts in brackets");
        return NK_INVALID;
    }
    const struct addrinfo wanted = {
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_PASSIVE | AI_NUMERICSERV,
    };
    char port[8];
    (void)snprintf(port, sizeof port, "%u", parsed.port);
    struct addrinfo *places;
    int error = getaddrinfo(parsed.host, port, &wanted, &places);
    if (error != 0) {
        explain(reason, address, gai_strerror(error));
        return NK_INVALID;
    }
    error = EADDRNOTAVAIL;
    for (const struct addrinfo *place = places; place != NULL && error != 0;
         place = place->ai_next) {
        error = bind_one(place, out_fd);
    }
    freeaddrinfo(places);
    if (error != 0) {
        explain(reason, address,
                error == EADDRINUSE ? "another process listens on this port" : strerror(error));
        return error == EADDRINUSE ? NK_CONFLICT : NK_IO;
    }
    int size = snprintf(out_address, LISTEN_ADDRESS_BYTES_MAX + 1,
                        parsed.ipv6 ? "[%s]:%u" : "%s:%u", parsed.host, port_of(*out_fd));
    NK_ASSERT(size > 0);
    NK_ASSERT((size_t)size <= LISTEN_ADDRESS_BYTES_MAX);
    return NK_OK;
}

/* 0 or errno.  SO_REUSEADDR lets a restarted process have its port back at once; SO_REUSEPORT stays
 * off, or two processes would share the port without a word. */
static int bind_one(const struct addrinfo *place, int *out_fd)
{
    int fd = socket(place->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return errno;
    }
    int yes = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
        bind(fd, place->ai_addr, place->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        int error = errno;
        (void)close(fd);
        return error;
    }
    *out_fd = fd;
    return 0;
}

static unsigned port_of(int fd)
{
    struct sockaddr_storage bound = {0};
    socklen_t size = sizeof bound;
    int failed = getsockname(fd, (struct sockaddr *)&bound, &size);
    NK_ASSERT(failed == 0);
    if (bound.ss_family == AF_INET6) {
        return ntohs(((const struct sockaddr_in6 *)(const void *)&bound)->sin6_port);
    }
    return ntohs(((const struct sockaddr_in *)(const void *)&bound)->sin_port);
}

static void explain(struct nk_text *reason, const char *address, const char *what)
{
    nk_text_add(reason, address);
    nk_text_add(reason, ": ");
    nk_text_add(reason, what);
}
