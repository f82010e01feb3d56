#pragma once

/* One ZeroMQ socket with the options that this house wants of it.
 *
 * A talk link also has a monitor: ZeroMQ says EAGAIN both for a full queue and for a link that is
 * not connected, and the callers of send() treat the two differently. */

#include "common/base/err.h"
#include "common/base/list.h"
#include "common/base/text.h"
#include "common/env/net.h"

enum channel_kind {
    CHANNEL_ROUTER,      /* bound: everybody talks to us here */
    CHANNEL_PUBLISHER,   /* bound: everybody may listen to us here */
    CHANNEL_TALK_LINK,   /* connected: we talk to somebody */
    CHANNEL_LISTEN_LINK, /* connected: we listen to somebody */
};

struct channel {
    enum channel_kind kind;
    void *socket;
    int fd;             /* readable, an edge: the socket has news */
    void *monitor;      /* talk links; else NULL */
    int monitor_fd;     /* of the monitor, likewise */
    bool connected;     /* talk links: as last read from the monitor */
    nk_peer peer;       /* links: their number; else 0 */
    struct nk_list hot; /* the net's: linked while frames may be waiting */
    bool closed;        /* the net's: linked in its list of channels to be released */
    struct nk_list grave;
};

/* Binds or starts to connect, by kind.  NK_INVALID: not an address that can be; NK_CONFLICT: taken
 * (bound ones); NK_BUSY: no more sockets or descriptors.  `reason` has one line after a failure. */
NK_MUST_CHECK enum nk_err channel_open(void *context, enum channel_kind kind, const char *address,
                                       struct channel **out_channel, struct nk_text *reason);
void channel_close(struct channel **channel);

/* Reads what the monitor has to say into `connected`. */
void channel_read_monitor(struct channel *channel);

/* The address of a bound channel as others reach it, its host replaced by `host` unless that is
 * NULL.  `out_address` has NK_ADDRESS_BYTES_MAX + 1 bytes; NK_TOO_LARGE if that is not enough. */
NK_MUST_CHECK enum nk_err channel_address(const struct channel *channel, const char *host,
                                          char *out_address);
