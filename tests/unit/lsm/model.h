#pragma once

/* What a database should hold: every version of a few keys, remembered for ever, so that the state
 * at any index can be asked for. */

#include "services/shardhost/lsm/lsm.h"
#include "common/base/prng.h"

#define MODEL_KEYS 96

struct model_version {
    struct lsm_version version;
    uint64_t expire_at_ms;
    uint64_t fill; /* the value is made of this */
    size_t value_size;
    bool tombstone;
};

struct model_key {
    uint8_t bytes[1025];
    size_t size;
    struct model_version *versions; /* rising indexes */
    size_t count;
    size_t capacity;
};

struct model {
    struct model_key keys[MODEL_KEYS]; /* in bytewise order */
    uint64_t index;                    /* of the last entry */
};

/* Draws the keys: short and long ones, many with common beginnings, some ending in zero bytes. */
void model_init(struct model *model, struct nk_prng *prng);
void model_deinit(struct model *model);

struct nk_bytes model_key_bytes(const struct model *model, size_t key);

/* Draws the next log entry, of one to three records, and remembers it. */
void model_add_entry(struct model *model, struct nk_prng *prng);

/* Writes the records of entry `index` to `db` and commits it. */
void model_write_entry(const struct model *model, uint64_t index, struct lsm_db *db);

/* The newest version of `key` at or below `index_max`, or NULL. */
const struct model_version *model_find(const struct model *model, size_t key, uint64_t index_max);

/* The owner's time when entry `index` has been applied. */
uint64_t model_time(uint64_t index);

/* Whether the version may be gone when everything up to the entry `durable` is in tables: nobody
 * misses a tombstone, nor what has expired. */
bool model_may_be_gone(const struct model_version *version, uint64_t durable);

/* The state image that goes with an index: 0 to LSM_STATE_BYTES_MAX bytes. */
struct nk_bytes model_state(uint64_t index, uint8_t out[LSM_STATE_BYTES_MAX]);

/* Whether an answer is what the model has; NULL stands for no record.  `durable` as above: what has
 * expired may be a tombstone by now. */
bool model_matches(const struct model_version *version, const struct lsm_entry *entry,
                   struct nk_bytes value, uint64_t durable);
