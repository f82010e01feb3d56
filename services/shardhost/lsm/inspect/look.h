#pragma once

/* One table file under inspection: what is known of its blocks, and what its records were so far.
 */

#include "services/shardhost/lsm/inspect/report.h"
#include "services/shardhost/lsm/table_format.h"

enum look_kind {
    LOOK_UNKNOWN, /* no handle names it: what it holds must tell */
    LOOK_DATA,
    LOOK_FILTER,
    LOOK_INDEX,
    LOOK_TOP,
    LOOK_PROPERTIES,
};

/* A place in the file where a block is said to be. */
struct look_block {
    enum look_kind kind;
    struct lsm_handle handle;
    size_t separator_at; /* in look.separators */
    size_t separator_size;
    bool has_separator; /* an index has a key for it */
};

struct look {
    struct report *report;
    struct nk_bytes file;
    bool has_footer; /* else `footer` means nothing */
    struct lsm_footer footer;
    uint64_t limit; /* no block ends behind it: where the footer starts, or the file ends */

    struct look_block *blocks; /* as planned, by offset; disjoint but for what damage is told of */
    size_t block_count;
    size_t block_capacity;
    struct nk_buf separators;

    struct nk_buf filter; /* empty: there is none that can be used */
    struct nk_buf room;   /* the block at hand, decompressed */
    uint64_t search_left; /* bytes that may still be looked at in search of lost blocks */

    /* What was read. */
    bool lost; /* some records or properties could not be */
    uint64_t data_blocks;
    uint64_t other_blocks;
    uint64_t data_end; /* behind the last data block */
    bool has_key;
    struct nk_buf key;       /* the last one */
    struct nk_buf separator; /* of the last data block that had one */
    bool has_separator;
    struct nk_buf smallest;
    struct lsm_table_meta seen; /* but keys */
    bool has_properties;
    uint64_t properties_offset;
    struct nk_buf properties_bytes;
    struct lsm_table_meta properties; /* keys are in properties_bytes */
};

/* Checks and decompresses the block at `handle`, which ends within the limit.  NULL: *out_raw is
 * there, borrowed until the next call; else what is wrong. */
const char *look_unpack(struct look *look, struct lsm_handle handle, uint8_t *out_way,
                        struct nk_bytes *out_raw);

/* ---- look_block.c ---- */

/* Writes what is in one block, and takes note of it. */
void look_at_block(struct look *look, const struct look_block *block);

/* Makes look->filter what the table's filter is, if it can be read. */
void look_take_filter(struct look *look);

/* ---- look_search.c ---- */

/* Finds the blocks between `offset` and `limit`, where no handle names one, and writes what is in
 * them. */
void look_search(struct look *look, uint64_t offset, uint64_t limit);
