#pragma once

/* Configurations that a search has seen: by a hash of all but the optional steps that led there,
 * and then by the set of those.
 *
 * Optional steps come in families, the strongest of each first: a step can do whatever those behind
 * it in its family can.  One configuration is at least as good as another if each step it used up
 * stands for one of the other's that is at least as strong: it has the stronger ones left. */

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
    const uint64_t *families; /* bit set: a family starts here */
    size_t item_count;
    size_t item_capacity;
};

/* `families` is borrowed until deinit. */
void history_visits_init(struct history_visits *visits, size_t set_words, const uint64_t *families);
void history_visits_deinit(struct history_visits *visits);

/* False if something at least as good was seen; else remembers this.  `hash` != 0. */
bool history_visits_add(struct history_visits *visits, uint64_t hash, const uint64_t *set);
