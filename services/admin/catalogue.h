#pragma once

/* What admin knows for good about the cluster it belongs to, in meta: its id and the number of its
 * shards.  Format: README.md. */

#include "common/env/meta.h"
#include "common/service/cluster.h"

struct admin_catalogue {
    const struct nk_meta *meta;
    bool known; /* else the rest is zero */
    uint8_t cluster_id[16];
    uint32_t total_shards;
};

/* NK_CORRUPT: what is stored there is not a catalogue. */
NK_MUST_CHECK enum nk_err admin_catalogue_open(struct admin_catalogue *catalogue,
                                               const struct nk_meta *meta);

/* Learns from the live shardhosts, the first time durably.  NK_OK: nothing new, or saved;
 * NK_CONFLICT: they belong to another cluster than the catalogue; else it could not be saved and is
 * not known yet. */
NK_MUST_CHECK enum nk_err admin_catalogue_learn(struct admin_catalogue *catalogue,
                                                const struct nk_cluster *cluster);
