#pragma once

/* Membership of the gossip processes as a function: (state, packet or time) -> (state', packets,
 * events).  Das, Gupta, Motivala, "SWIM: Scalable Weakly-consistent Infection-style Process Group
 * Membership Protocol", 2002.
 *
 * No I/O, clock, thread or hidden randomness.  This version knows a group of one: itself.  The
 * shape is the final one, README.md says what is there. */

#include "common/base/bytes.h"
#include "common/base/limits.h"

enum swim_state {
    SWIM_STATE_ALIVE = 1,
    SWIM_STATE_SUSPECT = 2,
    SWIM_STATE_FAILED = 3,
};

struct swim_member {
    char node_id[NK_NODE_ID_BYTES_MAX + 1];
    uint64_t incarnation; /* who wants to refute a suspicion raises its own */
    enum swim_state state;
};

struct swim_packet {
    const char *address;   /* host:port */
    struct nk_bytes bytes; /* one datagram */
};

/* What the host owes after a step, in this order.  Borrowed until the next step. */
struct swim_output {
    const struct swim_packet *packets; /* send; losing one is no harm */
    size_t packet_count;
    const struct swim_member *events; /* members that appeared or changed, as they are now */
    size_t event_count;
    uint64_t next_tick_ms; /* absolute, same clock as now_ms; UINT64_MAX: not by time */
};

/* What it counts about itself. */
struct swim_counts {
    uint64_t probes;    /* pings sent */
    uint64_t malformed; /* packets that are none: length, magic, version, checksum, type */
    uint64_t strangers; /* well-formed packets of nobody we know */
};

struct swim;

/* `incarnation` is above that of every earlier life of this node; != 0. */
void swim_open(const char *node_id, uint64_t incarnation, struct swim **out_swim);
void swim_close(struct swim **swim);

/* Advance by time, or by a received datagram.  `now_ms` is monotonic. */
void swim_tick(struct swim *swim, uint64_t now_ms, struct swim_output *out_output);
void swim_receive(struct swim *swim, struct nk_bytes packet, uint64_t now_ms,
                  struct swim_output *out_output);

/* Self first. */
size_t swim_member_count(const struct swim *swim);
const struct swim_member *swim_member_at(const struct swim *swim, size_t i);
const struct swim_counts *swim_counts(const struct swim *swim);
