#pragma once

/* The cluster's state as gossip tells it: registrations and shard reports go in, numbered deltas
 * and snapshots come out.  Pure.
 *
 * Every update has its own number and a higher epoch than the one before; whoever applies all of a
 * publisher's updates in order has exactly what gossip_view_cluster() shows. */

#include "common/base/buf.h"
#include "common/service/cluster.h"

struct gossip_view;

/* `publisher`: the incarnation of this gossip process; != 0. */
void gossip_view_new(uint64_t publisher, struct gossip_view **out_view);
void gossip_view_free(struct gossip_view **view);

const struct nk_cluster *gossip_view_cluster(const struct gossip_view *view);

/* NK_BUSY: too many members. */
NK_MUST_CHECK enum nk_err gossip_view_put_member(struct gossip_view *view,
                                                 const struct nk_cluster_member *member);
void gossip_view_remove_member(struct gossip_view *view, const char *node_id, const char *role);

/* A shardhost says what it knows of one of its shards.  The highest term wins; within a term the
 * leader's own word, and no leader is taken that is not an alive shardhost. */
void gossip_view_report(struct gossip_view *view, const char *node_id,
                        const struct nk_cluster_shard *shard);

/* The shardhost of a node has failed: its shards have no leader. */
void gossip_view_node_failed(struct gossip_view *view, const char *node_id);

/* It was started anew: besides, of shards that only it holds any term is believed again, as its
 * data may be another one. */
void gossip_view_node_reborn(struct gossip_view *view, const char *node_id);

/* Something has changed that was not told yet. */
bool gossip_view_changed(const struct gossip_view *view);

/* Appends a delta (a whole frame of type NK_FRAME_STATE_UPDATE) of what has changed, in `epoch`,
 * which is above every one before.  Very many shards take several deltas: until
 * gossip_view_changed() is false. */
void gossip_view_delta(struct gossip_view *view, uint64_t epoch, struct nk_buf *out);

/* Appends a snapshot in the number and epoch of the last delta; nothing may have changed since
 * (asserted).  A state that does not fit a frame is cut: returns how many shards are missing. */
size_t gossip_view_snapshot(const struct gossip_view *view, struct nk_buf *out);
