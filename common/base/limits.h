#pragma once

/* Hard bounds of the whole system.  Settings move inside them; every queue names its limit here.
 * Sizes in bytes, counts in pieces. */

#include "common/base/units.h"

#define NK_KEY_BYTES_MAX              ((size_t)1024)
#define NK_VALUE_BYTES_MAX            ((size_t)(1 * NK_MIB))
#define NK_REQUEST_BYTES_MAX          ((size_t)(2 * NK_MIB))
#define NK_IDEMPOTENCY_KEY_BYTES_MAX  ((size_t)128)
#define NK_NODE_ID_BYTES_MAX          ((size_t)64)
#define NK_ADDRESS_BYTES_MAX          ((size_t)255)
#define NK_PATH_BYTES_MAX             ((size_t)1024)

#define NK_SHARDS_MAX                 ((uint32_t)65536)
#define NK_SHARD_SYSTEM               ((uint32_t)0xFFFFFFFF) /* holds what the cluster agrees on */

/* One frame between two processes: a batch of requests or replies.  A sender closes a batch at the
 * soft limit; one request may exceed it up to the hard limit. */
#define NK_FRAME_BYTES_SOFT           ((size_t)(256 * NK_KIB))
#define NK_FRAME_BYTES_MAX            ((size_t)(8 * NK_MIB))

#define NK_GATEWAY_INFLIGHT_MAX       ((size_t)16384) /* requests accepted and not answered */
#define NK_GATEWAY_INFLIGHT_BYTES_MAX ((size_t)(256 * NK_MIB))
#define NK_GATEWAY_WATCHERS_MAX       ((size_t)4096)
#define NK_SHARDHOST_REQUESTS_MAX     ((size_t)65536) /* requests of all shards not answered */
#define NK_SHARDHOST_BYTES_MAX        ((size_t)(256 * NK_MIB)) /* their payloads, until applied */
#define NK_SHARDHOST_ROUND_BYTES_MAX                                                               \
    ((size_t)(32 * NK_MIB))                     /* a round of the log takes no more                \
                                                 */
#define NK_PEERS_MAX             ((size_t)4096) /* conversation partners of one process */
#define NK_PEER_QUEUE_FRAMES_MAX ((size_t)4096) /* frames waiting towards one partner */
#define NK_MEMBERS_MAX           ((size_t)1024) /* processes of one cluster */
#define NK_WORKER_JOBS_MAX       ((size_t)4096) /* jobs waiting in one lane */
