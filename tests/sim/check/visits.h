#pragma once

/* Configurations that a search has seen: by a hash of all but the optional steps that led there,
 * and then by the set of those.  One that was reached with fewer of them is at least as good. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct history_slot {
    uint64_t hash; /* 0: empty */
    size_t first;  /* chain in `items`, position + 1 */
};

struct history_visits {
    struct history_slot *slots;
    size_t slot_count; /* power of two */
    size_t taken;
    uint64_t *items; /* each: next in the chain, then the bit set */
    size_t item_words;
    size_t item_count;
    size_t item_capacity;
};

void history_visits_init(struct history_visits *visits, size_t set_words);
void history_visits_deinit(struct history_visits *visits);

/* False if something at least as good was seen; else remembers this.  `hash` != 0. */
bool history_visits_add(struct history_visits *visits, uint64_t hash, const uint64_t *set);
