#pragma once

/* Membership as seen by every process but gossip: registers with a gossip process, keeps the lease,
 * reports shards, follows the cluster's state.  When that gossip process dies it goes to the next
 * address of the list.  Loop thread only. */

#include "common/service/cluster.h"
#include "common/service/service.h"
#include "proto/frame.h"

struct nk_member;

/* `self` is what gossip shall tell the others; copied.  Borrows context; its metrics borrow a
 * counter of the member, so nobody renders them after nk_member_close. */
void nk_member_open(const struct nk_service_context *context, const struct nk_cluster_member *self,
                    struct nk_member **out_member);
void nk_member_close(struct nk_member **member);

/* Offers a received frame.  True: it was for membership and has been taken. */
bool nk_member_receive(struct nk_member *member, nk_peer from, enum nk_frame_type type,
                       struct nk_bytes message);

/* Sends what is due; returns when it wants to be called again (nk_mono_us clock). */
uint64_t nk_member_tick(struct nk_member *member);

/* A shard of ours changed its leader or term, or appeared; sent, batched, with the next tick. */
void nk_member_report_shard(struct nk_member *member, const struct nk_cluster_shard *shard);

/* Gossip has answered within the lease. */
bool nk_member_registered(const struct nk_member *member);

const struct nk_cluster *nk_member_cluster(const struct nk_member *member);

/* Grows whenever the cluster's state changed: cheap to compare. */
uint64_t nk_member_generation(const struct nk_member *member);

/* Frames that were for membership and made no sense. */
uint64_t nk_member_dropped(struct nk_member *member);

/* A second process claims this node_id and role and lives: this one must end (NK_CONFLICT). */
enum nk_err nk_member_fault(const struct nk_member *member);
