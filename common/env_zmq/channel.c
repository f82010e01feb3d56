/* Options of the sockets.  Those that are not obvious, found by trying:
 *   - no ZMTP heartbeats: libzmq 4.3.4 aborts the process when a consumer with heartbeats falls
 *     behind; TCP keepalive and TCP_USER_TIMEOUT find dead machines instead;
 *   - ROUTER_MANDATORY: else frames to a process that has gone vanish without an error;
 *   - IMMEDIATE: else frames to an absent process wait, and are delivered when it is back, long
 *     after whoever sent them has given up;
 *   - MAXMSGSIZE: refuses a declared length before memory is spent on it;
 *   - LINGER: never the default, which keeps the context alive for ever;
 *   - monitors: ZeroMQ's thread sends their events and waits when there is no room, and for ever
 *     when nobody is there to take them.  So their queues have no bound (a link makes at most some
 *     40 events a second), and a monitor is told to end before anything of it is closed. */

#include "channel.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <zmq.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/limits.h"

#define LINGER_MS            200
#define HANDSHAKE_MS         5000
#define RECONNECT_MS         50
#define RECONNECT_MAX_MS     500
#define KEEPALIVE_IDLE_S     10
#define KEEPALIVE_INTERVAL_S 5
#define KEEPALIVE_COUNT      3
#define UNACKNOWLEDGED_MS    15000

#define IPC_PREFIX           "ipc://"

static void set_options(const struct channel *channel, const char *address);
static void set_option(void *socket, int option, int value);
static bool is_bound(const struct channel *channel);
static int descriptor_of(void *socket);
static int open_monitor(void *context, struct channel *channel);
static enum nk_err explain(const char *address, int error, struct nk_text *reason);

enum nk_err channel_open(void *context, enum channel_kind kind, const char *address,
                         struct channel **out_channel, struct nk_text *reason)
{
    static const int types[] = {
        [CHANNEL_ROUTER] = ZMQ_ROUTER,
        [CHANNEL_PUBLISHER] = ZMQ_PUB,
        [CHANNEL_TALK_LINK] = ZMQ_DEALER,
        [CHANNEL_LISTEN_LINK] = ZMQ_SUB,
    };
    struct channel *channel = nk_alloc_zero(1, sizeof *channel);
    nk_list_init(&channel->hot);
    nk_list_init(&channel->grave);
    channel->kind = kind;
    channel->socket = zmq_socket(context, types[kind]);
    if (channel->socket == NULL) {
        enum nk_err err = explain(address, errno, reason);
        nk_free(channel);
        return err;
    }
    set_options(channel, address);
    int failed = kind == CHANNEL_TALK_LINK ? open_monitor(context, channel) : 0;
    if (failed == 0) {
        failed = is_bound(channel) ? zmq_bind(channel->socket, address)
                                   : zmq_connect(channel->socket, address);
    }
    if (failed != 0) {
        enum nk_err err = explain(address, errno, reason);
        channel_close(&channel);
        return err;
    }
    channel->fd = descriptor_of(channel->socket);
    *out_channel = channel;
    return NK_OK;
}

void channel_close(struct channel **channel)
{
    if (channel == NULL || *channel == NULL) {
        return;
    }
    nk_list_remove(&(*channel)->hot);
    nk_list_remove(&(*channel)->grave);
    if ((*channel)->monitor != NULL) {
        int failed = zmq_socket_monitor((*channel)->socket, NULL, 0);
        NK_ASSERT(failed == 0);
        failed = zmq_close((*channel)->monitor);
        NK_ASSERT(failed == 0);
    }
    int failed = zmq_close((*channel)->socket);
    NK_ASSERT(failed == 0);
    nk_free(*channel);
    *channel = NULL;
}

/* An event is two parts: its number (16 bits) and a value (32 bits), then the address. */
void channel_read_monitor(struct channel *channel)
{
    uint8_t part[6];
    for (;;) {
        int size = zmq_recv(channel->monitor, part, sizeof part, ZMQ_DONTWAIT);
        if (size < 0 && errno == EINTR) {
            continue;
        }
        if (size < 0) {
            return;
        }
        int more = 0;
        size_t more_size = sizeof more;
        int failed = zmq_getsockopt(channel->monitor, ZMQ_RCVMORE, &more, &more_size);
        NK_ASSERT(failed == 0);
        if (more != 0) {
            uint16_t event;
            memcpy(&event, part, sizeof event); /* in the byte order of this machine */
            channel->connected = event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED;
        }
    }
}

enum nk_err channel_address(const struct channel *channel, const char *host, char *out_address)
{
    char endpoint[NK_ADDRESS_BYTES_MAX + 1];
    size_t size = sizeof endpoint;
    if (zmq_getsockopt(channel->socket, ZMQ_LAST_ENDPOINT, endpoint, &size) != 0) {
        return NK_TOO_LARGE;
    }
    const char *address = endpoint;
    char replaced[2 * NK_ADDRESS_BYTES_MAX + 32];
    if (host != NULL && strncmp(endpoint, IPC_PREFIX, strlen(IPC_PREFIX)) != 0) {
        const char *port = strrchr(endpoint, ':');
        NK_ASSERT(port != NULL);
        bool ipv6 = strchr(host, ':') != NULL && host[0] != '[';
        if (strlen(host) > NK_ADDRESS_BYTES_MAX) {
            return NK_TOO_LARGE;
        }
        (void)snprintf(replaced, sizeof replaced, ipv6 ? "tcp://[%s]%s" : "tcp://%s%s", host, port);
        address = replaced;
    }
    if (strlen(address) > NK_ADDRESS_BYTES_MAX) {
        return NK_TOO_LARGE;
    }
    memcpy(out_address, address, strlen(address) + 1);
    return NK_OK;
}

static void set_options(const struct channel *channel, const char *address)
{
    void *socket = channel->socket;
    int64_t frame_bytes_max = (int64_t)NK_FRAME_BYTES_MAX;
    int failed = zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &frame_bytes_max, sizeof frame_bytes_max);
    NK_ASSERT(failed == 0);
    set_option(socket, ZMQ_SNDHWM, (int)NK_PEER_QUEUE_FRAMES_MAX);
    set_option(socket, ZMQ_RCVHWM, (int)NK_PEER_QUEUE_FRAMES_MAX);
    set_option(socket, ZMQ_HANDSHAKE_IVL, HANDSHAKE_MS);
    set_option(socket, ZMQ_IPV6, strchr(address, '[') != NULL);
    set_option(socket, ZMQ_TCP_KEEPALIVE, 1);
    set_option(socket, ZMQ_TCP_KEEPALIVE_IDLE, KEEPALIVE_IDLE_S);
    set_option(socket, ZMQ_TCP_KEEPALIVE_INTVL, KEEPALIVE_INTERVAL_S);
    set_option(socket, ZMQ_TCP_KEEPALIVE_CNT, KEEPALIVE_COUNT);
    set_option(socket, ZMQ_TCP_MAXRT, UNACKNOWLEDGED_MS);
    if (is_bound(channel)) {
        set_option(socket, ZMQ_LINGER, LINGER_MS);
    } else {
        set_option(socket, ZMQ_LINGER, 0);
        set_option(socket, ZMQ_IMMEDIATE, 1);
        set_option(socket, ZMQ_RECONNECT_IVL, RECONNECT_MS);
        set_option(socket, ZMQ_RECONNECT_IVL_MAX, RECONNECT_MAX_MS);
    }
    if (channel->kind == CHANNEL_ROUTER) {
        set_option(socket, ZMQ_ROUTER_MANDATORY, 1);
    }
    if (channel->kind == CHANNEL_LISTEN_LINK) {
        failed = zmq_setsockopt(socket, ZMQ_SUBSCRIBE, "", 0);
        NK_ASSERT(failed == 0);
    }
}

static void set_option(void *socket, int option, int value)
{
    int failed = zmq_setsockopt(socket, option, &value, sizeof value);
    NK_ASSERT(failed == 0);
}

static int descriptor_of(void *socket)
{
    int fd = -1;
    size_t size = sizeof fd;
    int failed = zmq_getsockopt(socket, ZMQ_FD, &fd, &size);
    NK_ASSERT(failed == 0);
    return fd;
}

/* 0, or -1 and errno.  ZeroMQ signals the descriptor only to a reader that has found nothing:
 * without the first read, which finds nothing yet, no event would ever be heard of. */
static int open_monitor(void *context, struct channel *channel)
{
    char address[48];
    (void)snprintf(address, sizeof address, "inproc://monitor-%p", (void *)channel);
    int events = ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED;
    if (zmq_socket_monitor(channel->socket, address, events) != 0) {
        return -1;
    }
    channel->monitor = zmq_socket(context, ZMQ_PAIR);
    if (channel->monitor == NULL) {
        return -1;
    }
    set_option(channel->monitor, ZMQ_LINGER, 0);
    set_option(channel->monitor, ZMQ_RCVHWM, 0);
    channel->monitor_fd = descriptor_of(channel->monitor);
    if (zmq_connect(channel->monitor, address) != 0) {
        return -1;
    }
    channel_read_monitor(channel);
    return 0;
}

static bool is_bound(const struct channel *channel)
{
    return channel->kind == CHANNEL_ROUTER || channel->kind == CHANNEL_PUBLISHER;
}

static enum nk_err explain(const char *address, int error, struct nk_text *reason)
{
    nk_text_add(reason, address);
    nk_text_add(reason, ": ");
    switch (error) {
    case EADDRINUSE:
        nk_text_add(reason, "another process has this address");
        return NK_CONFLICT;
    case ENODEV:
    case EADDRNOTAVAIL:
        nk_text_add(reason, "this machine has no such address or network interface");
        return NK_INVALID;
    case ENAMETOOLONG:
        nk_text_add(reason, "the path of a local socket has at most ");
        nk_text_add_u64(reason, sizeof((struct sockaddr_un *)NULL)->sun_path - 1);
        nk_text_add(reason, " bytes");
        return NK_INVALID;
    case EINVAL:
    case EPROTONOSUPPORT:
    case ENOCOMPATPROTO:
        nk_text_add(reason, "not an address; tcp://host:port or ipc://path is wanted");
        return NK_INVALID;
    case EMFILE:
    case ENFILE:
        nk_text_add(reason, "too many sockets or open files");
        return NK_BUSY;
    default:
        nk_text_add(reason, zmq_strerror(error));
        return NK_IO;
    }
}
