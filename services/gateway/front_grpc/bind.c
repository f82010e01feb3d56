/* gRPC only says that it could not bind; an operator wants to know that the port is taken, or by
 * which mistake the address is none. */

#include "services/gateway/front_grpc/front.h"

#include <errno.h>
#include <grpc/grpc_security.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/assert.h"

static enum nk_err why_not(const struct nk_config_address *address, const char **out_what);
static int try_to_bind(const struct addrinfo *place);
static void explain(struct nk_text *reason, const char *address, const char *what);

enum nk_err front_bind(struct front_grpc *front, const char *address, struct nk_text *reason)
{
    struct nk_config_address parsed;
    if (nk_config_address_parse(address, &parsed) != NK_OK) {
        explain(reason, address, "not an address; host:port is wanted, IPv6 hosts in brackets");
        return NK_INVALID;
    }
    grpc_server_credentials *credentials = grpc_insecure_server_credentials_create();
    int port = grpc_server_add_http2_port(front->server, address, credentials);
    grpc_server_credentials_release(credentials);
    if (port <= 0) {
        const char *what = NULL;
        enum nk_err err = why_not(&parsed, &what);
        explain(reason, address, what);
        return err;
    }
    int size = snprintf(front->address, sizeof front->address, parsed.ipv6 ? "[%s]:%d" : "%s:%d",
                        parsed.host, port);
    NK_ASSERT(size > 0);
    NK_ASSERT((size_t)size < sizeof front->address);
    return NK_OK;
}

/* Tries what gRPC has tried. */
static enum nk_err why_not(const struct nk_config_address *address, const char **out_what)
{
    const struct addrinfo wanted = {
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_PASSIVE | AI_NUMERICSERV,
    };
    char port[8];
    (void)snprintf(port, sizeof port, "%u", address->port);
    struct addrinfo *places;
    int error = getaddrinfo(address->host, port, &wanted, &places);
    if (error != 0) {
        *out_what = gai_strerror(error);
        return NK_INVALID;
    }
    error = 0;
    for (const struct addrinfo *place = places; place != NULL && error == 0;
         place = place->ai_next) {
        error = try_to_bind(place);
    }
    freeaddrinfo(places);
    if (error == EADDRINUSE) {
        *out_what = "another process listens on this port";
        return NK_CONFLICT;
    }
    *out_what = error != 0 ? strerror(error) : "gRPC cannot listen there";
    return NK_IO;
}

/* 0 or errno. */
static int try_to_bind(const struct addrinfo *place)
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

static void explain(struct nk_text *reason, const char *address, const char *what)
{
    nk_text_add(reason, address);
    nk_text_add(reason, ": ");
    nk_text_add(reason, what);
}
