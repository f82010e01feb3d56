#include "common/base/map.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/hash.h"

static size_t slot_of(const struct nk_map *map, uint64_t hash, struct nk_bytes key, bool *out_found)
{
    size_t mask = map->slot_count - 1;
    size_t slot = (size_t)hash & mask;
    while (map->slots[slot] != 0) {
        const struct nk_map_entry *entry = &map->entries[map->slots[slot] - 1];
        if (entry->hash == hash && entry->key != NULL &&
            nk_bytes_equal(nk_bytes_of(entry->key, entry->key_size), key)) {
            *out_found = true;
            return slot;
        }
        slot = (slot + 1) & mask;
    }
    *out_found = false;
    return slot;
}

/* Rewrites both tables without holes, with room for one more entry. */
static void rebuild(struct nk_map *map)
{
    size_t live = 0;
    for (size_t i = 0; i < map->entry_count; i++) {
        if (map->entries[i].key != NULL) {
            map->entries[live++] = map->entries[i];
        }
    }
    NK_ASSERT(live == map->count);
    map->entry_count = live;
    size_t slot_count = 16;
    while (slot_count < 4 * (live + 1)) {
        slot_count *= 2;
    }
    map->entry_capacity = slot_count / 2;
    map->entries = nk_realloc(map->entries, map->entry_capacity * sizeof(struct nk_map_entry));
    nk_free(map->slots);
    map->slots = nk_alloc_zero(slot_count, sizeof(uint32_t));
    map->slot_count = slot_count;
    for (size_t i = 0; i < live; i++) {
        size_t slot = (size_t)map->entries[i].hash & (slot_count - 1);
        while (map->slots[slot] != 0) {
            slot = (slot + 1) & (slot_count - 1);
        }
        map->slots[slot] = (uint32_t)(i + 1);
    }
}

void nk_map_init(struct nk_map *map)
{
    memset(map, 0, sizeof *map);
}

void nk_map_deinit(struct nk_map *map)
{
    for (size_t i = 0; i < map->entry_count; i++) {
        nk_free(map->entries[i].key);
    }
    nk_free(map->entries);
    nk_free(map->slots);
    nk_map_init(map);
}

void *nk_map_get(const struct nk_map *map, struct nk_bytes key)
{
    if (map->count == 0) {
        return NULL;
    }
    bool found;
    size_t slot = slot_of(map, nk_xxh64(key, 0), key, &found);
    return found ? map->entries[map->slots[slot] - 1].value : NULL;
}

void *nk_map_put(struct nk_map *map, struct nk_bytes key, void *value)
{
    NK_ASSERT(value != NULL);
    if (map->entry_count == map->entry_capacity) {
        rebuild(map);
    }
    uint64_t hash = nk_xxh64(key, 0);
    bool found;
    size_t slot = slot_of(map, hash, key, &found);
    if (found) {
        struct nk_map_entry *entry = &map->entries[map->slots[slot] - 1];
        void *former = entry->value;
        entry->value = value;
        return former;
    }
    struct nk_map_entry *entry = &map->entries[map->entry_count];
    entry->hash = hash;
    entry->key = nk_alloc(key.size);
    if (key.size > 0) {
        memcpy(entry->key, key.data, key.size);
    }
    entry->key_size = key.size;
    entry->value = value;
    map->entry_count++;
    map->slots[slot] = (uint32_t)map->entry_count;
    map->count++;
    return NULL;
}

void *nk_map_remove(struct nk_map *map, struct nk_bytes key)
{
    if (map->count == 0) {
        return NULL;
    }
    bool found;
    size_t slot = slot_of(map, nk_xxh64(key, 0), key, &found);
    if (!found) {
        return NULL;
    }
    /* The slot keeps pointing at the hole, so that probing goes on past it; rebuild drops it. */
    struct nk_map_entry *entry = &map->entries[map->slots[slot] - 1];
    void *value = entry->value;
    nk_free(entry->key);
    entry->key = NULL;
    entry->value = NULL;
    map->count--;
    return value;
}

struct nk_map_entry *nk_map_next(const struct nk_map *map, size_t *position)
{
    while (*position < map->entry_count) {
        struct nk_map_entry *entry = &map->entries[(*position)++];
        if (entry->key != NULL) {
            return entry;
        }
    }
    return NULL;
}
