#pragma once

/* Writes one block of sorted keys and values, prefix-compressed (FORMAT.md, "Block"). */

#include "services/shardhost/lsm/key.h"

struct lsm_block_builder {
    struct nk_buf bytes;
    struct nk_buf restarts; /* u32 offsets, little-endian */
    struct nk_buf last_key;
    uint32_t restart_interval; /* a full key at least this often */
    size_t restart_bytes;      /* and behind so many bytes; SIZE_MAX at first */
    uint32_t since_restart;
    size_t restart_at; /* where the last one is */
    uint32_t count;
};

void lsm_block_builder_init(struct lsm_block_builder *builder, uint32_t restart_interval);
void lsm_block_builder_deinit(struct lsm_block_builder *builder);

/* Adds `key`, greater than the last one (asserted), with the value head + tail. */
void lsm_block_builder_add(struct lsm_block_builder *builder, struct nk_bytes key,
                           struct nk_bytes head, struct nk_bytes tail);

/* Bytes of the block if it were finished now. */
size_t lsm_block_builder_size(const struct lsm_block_builder *builder);

/* Completes the block and returns it, borrowed until the next call; not empty (asserted).  The next
 * add starts a new block. */
struct nk_bytes lsm_block_builder_finish(struct lsm_block_builder *builder);
