#pragma once

/* Hash map from byte strings to pointers.  Iteration goes in the order of first insertion (removed
 * entries leave holes that are skipped), so it is the same on every machine and may decide things.
 * Keys are copied; values are the caller's. */

#include "common/base/bytes.h"

struct nk_map_entry {
    uint64_t hash;
    uint8_t *key; /* owned copy; NULL: removed */
    size_t key_size;
    void *value;
};

struct nk_map {
    struct nk_map_entry *entries; /* insertion order, with holes */
    size_t entry_count;           /* with holes */
    size_t entry_capacity;
    uint32_t *slots;   /* open addressing; entry number + 1, 0 empty */
    size_t slot_count; /* power of two */
    size_t count;      /* live entries */
};

void nk_map_init(struct nk_map *map);
void nk_map_deinit(struct nk_map *map);

/* The value of `key`, NULL if there is none. */
void *nk_map_get(const struct nk_map *map, struct nk_bytes key);

/* Sets `key` to `value` (not NULL); returns the value it had before, NULL if none. */
void *nk_map_put(struct nk_map *map, struct nk_bytes key, void *value);

/* Removes `key`; returns the value it had, NULL if none. */
void *nk_map_remove(struct nk_map *map, struct nk_bytes key);

/* `*position` starts at 0.  Returns the next live entry or NULL.  The map may lose the returned
 * entry during the walk, but gain none. */
struct nk_map_entry *nk_map_next(const struct nk_map *map, size_t *position);

static inline struct nk_bytes nk_map_key_u64(const uint64_t *number)
{
    return nk_bytes_of(number, sizeof *number);
}
