#pragma once

/* The subscribers of the ClusterView, and its current forms for whoever asks.  The packed view goes
 * to the watches on the loop thread; the JSON texts are read by any thread, so they are published
 * as one immutable object with a count of its readers. */

#include "common/base/list.h"
#include "common/service/board.h"
#include "common/service/cluster.h"
#include "services/gateway/gateway.h"

struct gateway_watches {
    struct nk_list places; /* of every open watch */
    size_t count;
    size_t count_max;
    uint64_t epoch; /* of the current view; 0: none yet */
    struct nk_buf view;
    struct nk_board view_json;
    struct nk_board targets_json;
    struct nk_buf scratch; /* kept for reuse */
};

void gateway_watches_init(struct gateway_watches *watches, size_t count_max);
void gateway_watches_deinit(struct gateway_watches *watches); /* no watch is open any more */

/* Takes a watch in; it may hear the current view during the call.  NK_BUSY: too many. */
NK_MUST_CHECK
enum nk_err gateway_watches_add(struct gateway_watches *watches, struct gateway_watch *watch);
void gateway_watches_remove(struct gateway_watches *watches, struct gateway_watch *watch);

/* Some open watch; NULL: none. */
struct gateway_watch *gateway_watches_first(const struct gateway_watches *watches);

/* Builds the forms anew and tells every watch that knows an older epoch. */
void gateway_watches_publish(struct gateway_watches *watches, const struct nk_cluster *cluster);
