#pragma once

/* Frames of gossip, in and out.  Whatever is read has been checked: names, addresses and numbers
 * that come out of here can be kept and told to others. */

#include "common/base/arena.h"
#include "common/service/cluster.h"

struct gossip_wire_register {
    struct nk_cluster_member member; /* alive; not a gossip process */
    uint64_t epoch_seen;
};

struct gossip_wire_heartbeat {
    const char *node_id; /* borrowed from the arena, as all below */
    const char *role;
    uint64_t session;
    uint64_t epoch_seen;
    uint64_t publisher;
    uint64_t reports;
};

struct gossip_wire_report {
    const char *node_id;
    uint64_t session;
    struct nk_cluster_shard *shards;
    size_t shard_count;
    uint64_t sequence;
    bool first_of_all;
};

/* NK_INVALID: not a message of that kind, or senseless. */
NK_MUST_CHECK enum nk_err gossip_wire_read_register(struct nk_bytes message, struct nk_arena *arena,
                                                    struct gossip_wire_register *out_register);
NK_MUST_CHECK enum nk_err gossip_wire_read_heartbeat(struct nk_bytes message,
                                                     struct nk_arena *arena,
                                                     struct gossip_wire_heartbeat *out_heartbeat);
NK_MUST_CHECK enum nk_err gossip_wire_read_report(struct nk_bytes message, struct nk_arena *arena,
                                                  struct gossip_wire_report *out_report);

/* The answer to a registration or a heartbeat. */
struct gossip_wire_registered {
    uint64_t session;
    const char *listen_address;
    uint64_t publisher;
    uint64_t sequence;
    enum nk_err err;
    bool report_missing;
};

/* Appends a whole frame. */
void gossip_wire_write_registered(const struct gossip_wire_registered *registered,
                                  struct nk_buf *out);

/* A member as it is kept in meta: a packed Member. */
void gossip_wire_write_member(const struct nk_cluster_member *member, struct nk_buf *out);
NK_MUST_CHECK enum nk_err gossip_wire_read_member(struct nk_bytes bytes, struct nk_arena *arena,
                                                  struct nk_cluster_member *out_member);
