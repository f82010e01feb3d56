#pragma once

/* The in-flight table: every request that was accepted and not answered.
 *
 * Bounded by count and by bytes of payload; beyond either a request is refused at once.  The
 * gateway's own probe has a place besides: a full table tells nothing about shard 0.  An entry
 * is named by an id made of its slot and the slot's generation, so a late answer to a request that
 * is gone can never meet the next tenant of its slot.
 *
 * Loop thread only. */

#include "common/base/heap.h"
#include "common/base/list.h"
#include "services/gateway/gateway.h"

enum gateway_entry_state {
    GATEWAY_ENTRY_FREE = 0,
    GATEWAY_ENTRY_WAITING, /* nobody to send it to now, or pausing before the next attempt */
    GATEWAY_ENTRY_UNSENT,  /* in a link's list, leaves with the next flush */
    GATEWAY_ENTRY_SENT,    /* handed to the shardhost's incarnation `session`, no answer yet */
};

struct gateway_entry {
    struct nk_heap_node deadline; /* order: when the caller's time is over */
    struct nk_heap_node retry;    /* order: when to try again; inside only while WAITING */
    struct nk_list place;         /* UNSENT, SENT: in a list of link `target`; FREE: in `unused` */
    enum gateway_entry_state state;
    struct gateway_request *request; /* NULL while FREE */
    uint64_t id;
    uint64_t session; /* SENT: the incarnation that was meant */
    uint32_t shard;
    uint32_t target; /* UNSENT, SENT: number of the node in the router */
    uint32_t hint;   /* who leads according to the last refusal; GATEWAY_NODE_NONE: not said */
    uint32_t attempt_count; /* answers and losses so far that led to another attempt */
    enum nk_err last_err;   /* of the last refusal; NK_OK: none yet */
    bool has_idempotency_key;
    bool maybe_done; /* a write whose earlier attempt was lost: it may have had its effect */
};

struct gateway_inflight {
    struct gateway_entry *entries; /* capacity, and one for the probe */
    size_t capacity;
    size_t count; /* with the probe */
    bool has_probe;
    size_t bytes;
    size_t bytes_max;
    struct nk_list unused;
    struct nk_heap deadlines;
    struct nk_heap retries;
};

void gateway_inflight_init(struct gateway_inflight *inflight, size_t count_max, size_t bytes_max);
void gateway_inflight_deinit(struct gateway_inflight *inflight); /* must be empty */

/* Takes a request in, WAITING, and in no list; at most one of them is a probe.  NK_BUSY: the table
 * is full. */
NK_MUST_CHECK
enum nk_err gateway_inflight_add(struct gateway_inflight *inflight, struct gateway_request *request,
                                 uint64_t deadline_us, struct gateway_entry **out_entry);

/* The entry with this id; NULL: gone, or never was. */
struct gateway_entry *gateway_inflight_find(struct gateway_inflight *inflight, uint64_t id);

/* Leaves whatever list and heap it is in; its id is void from here on. */
void gateway_inflight_remove(struct gateway_inflight *inflight, struct gateway_entry *entry);

/* Moves the entry to another state and, for UNSENT and SENT, to the end of `list`; WAITING entries
 * come due at `retry_us`. */
void gateway_inflight_wait(struct gateway_inflight *inflight, struct gateway_entry *entry,
                           uint64_t retry_us);
void gateway_inflight_move(struct gateway_inflight *inflight, struct gateway_entry *entry,
                           enum gateway_entry_state state, struct nk_list *list);

/* First entry that comes due at or before `now_us`; NULL: none. */
struct gateway_entry *gateway_inflight_expired(struct gateway_inflight *inflight, uint64_t now_us);
struct gateway_entry *gateway_inflight_due(struct gateway_inflight *inflight, uint64_t now_us);

/* The earliest of all deadlines and retries; UINT64_MAX: none. */
uint64_t gateway_inflight_next_us(const struct gateway_inflight *inflight);
