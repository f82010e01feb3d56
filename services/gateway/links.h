#pragma once

/* The links to the shardhosts: one a node, with the requests that wait for its next batch and those
 * that it has.  A burst of requests leaves as one frame (more only when they are large): the batch
 * is whatever gathered while the loop was busy, so it grows with the load and costs no delay.
 *
 * Loop thread only. */

#include "common/base/list.h"
#include "common/env/env.h"
#include "services/gateway/inflight.h"
#include "services/gateway/router.h"

struct gateway_link {
    nk_peer peer; /* 0: not open */
    char address[256];
    uint64_t session;      /* the incarnation that `sent` is with; 0: no node here */
    struct nk_list unsent; /* entries in the order they came */
    struct nk_list sent;
    struct nk_buf cancelled; /* ids (uint64_t) whose callers have gone, for the next batch */
    struct nk_list dirty;    /* in gateway_links.dirty while there is something to send */
};

struct gateway_links {
    const struct nk_env *env;
    struct gateway_link *links; /* number = number of the node in the router */
    struct nk_list dirty;
    struct nk_buf frame;   /* kept for reuse */
    struct nk_buf scratch; /* ShardRequest messages of one batch, kept for reuse */
};

void gateway_links_init(struct gateway_links *links, const struct nk_env *env);
void gateway_links_deinit(struct gateway_links *links);

/* Follows a node: opens, reopens or closes its link.  True: the incarnation that has `sent` is no
 * more (or nobody can reach it), and the caller must take the entries of `sent` and `unsent` off.
 */
bool gateway_link_follow(struct gateway_links *links, uint32_t number,
                         const struct gateway_node *node);

/* Puts the entry into the next batch of link `number`. */
void gateway_link_enqueue(struct gateway_links *links, struct gateway_inflight *inflight,
                          uint32_t number, struct gateway_entry *entry);

/* The shardhost that has this entry shall forget it, if it can. */
void gateway_link_cancel(struct gateway_links *links, const struct gateway_entry *entry);

/* Sends what has gathered.  Entries of a frame that could not be handed over stay in `unsent`, and
 * `refused` is called once for each such link: NK_BUSY or NK_UNAVAILABLE; it must take the entries
 * off. */
void gateway_links_flush(struct gateway_links *links, struct gateway_inflight *inflight,
                         uint64_t now_us,
                         void (*refused)(void *ctx, uint32_t number, enum nk_err err), void *ctx);
