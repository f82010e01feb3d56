#pragma once

/* What a manifest says: the position and state that the tables reach, and the tables by level; and
 * the records that say it (FORMAT.md, "Manifest"). */

#include "common/base/arena.h"
#include "common/base/codec.h"
#include "common/base/map.h"
#include "services/shardhost/lsm/levels.h"

/* Everything a flush changes, in one atomic step. */
struct lsm_position {
    struct lsm_version applied;
    uint64_t time_ms; /* the owner's: what expires up to then is dead for good */
    size_t state_size;
    uint8_t state[LSM_STATE_BYTES_MAX];
};

struct lsm_catalog_table {
    uint32_t level;
    struct lsm_table_meta meta;
};

struct lsm_catalog {
    struct lsm_position position;
    uint64_t number_next; /* above the number of every table */
    struct lsm_catalog_table *tables;
    size_t table_count;
    size_t table_capacity;
    struct nk_arena keys; /* of the tables */
    struct nk_map places; /* number of a table -> size_t in `keys`, where in `tables` it is */
};

void lsm_catalog_init(struct lsm_catalog *catalog);
void lsm_catalog_deinit(struct lsm_catalog *catalog);

/* Whether it has a table of that number. */
bool lsm_catalog_has(const struct lsm_catalog *catalog, uint64_t number);

/* ---- Reading records ---- */

enum lsm_edit_kind {
    LSM_EDIT_POSITION = 1,
    LSM_EDIT_NUMBER_NEXT = 2,
    LSM_EDIT_REMOVE = 4,
    LSM_EDIT_ADD = 5, /* version 1 wrote 3: read as an ADD whose digest is 0 */
};

/* One field of a record as it was written, not compared with any catalog yet. */
struct lsm_edit {
    enum lsm_edit_kind kind;
    struct lsm_position position; /* POSITION */
    uint64_t number_next;         /* NUMBER_NEXT */
    uint64_t level;               /* ADD, REMOVE */
    struct lsm_table_meta meta;   /* ADD, with keys borrowed from the payload; REMOVE: its number */
};

/* The next field of a payload.  NK_NOT_FOUND at its end; NK_CORRUPT: the kind is unknown or the
 * field does not end with the payload. */
NK_MUST_CHECK enum nk_err lsm_edit_next(struct nk_reader *payload, struct lsm_edit *out_edit);

/* Applies the payload of one record.  NK_CORRUPT: it makes no sense; the catalog is then of no use.
 * Not to be called once somebody has put `tables` in another order. */
NK_MUST_CHECK enum nk_err lsm_catalog_apply(struct lsm_catalog *catalog, struct nk_bytes payload);

/* ---- Writing records: fields one after the other ---- */

void lsm_catalog_put_position(struct nk_buf *out, const struct lsm_position *position);
void lsm_catalog_put_number_next(struct nk_buf *out, uint64_t number_next);
void lsm_catalog_put_add(struct nk_buf *out, uint32_t level, const struct lsm_table_meta *meta);
void lsm_catalog_put_remove(struct nk_buf *out, uint32_t level, uint64_t number);

/* A whole catalog as one payload. */
void lsm_catalog_put_snapshot(struct nk_buf *out, const struct lsm_position *position,
                              uint64_t number_next, const struct lsm_levels *levels);
