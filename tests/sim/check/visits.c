#include "tests/sim/check/visits.h"

#include <string.h>

#include "common/base/alloc.h"

static struct history_slot *slot_of(const struct history_visits *visits, uint64_t hash)
{
    size_t i = (size_t)hash & (visits->slot_count - 1);
    while (visits->slots[i].hash != 0 && visits->slots[i].hash != hash) {
        i = (i + 1) & (visits->slot_count - 1);
    }
    return &visits->slots[i];
}

void history_visits_init(struct history_visits *visits, size_t set_words, const uint64_t *families)
{
    memset(visits, 0, sizeof *visits);
    visits->item_words = 1 + set_words;
    visits->families = families;
    visits->slot_count = 1024;
    visits->slots = nk_alloc_zero(visits->slot_count, sizeof *visits->slots);
}

static void visits_grow(struct history_visits *visits)
{
    struct history_visits grown = *visits;
    grown.slot_count = 4 * visits->slot_count;
    grown.slots = nk_alloc_zero(grown.slot_count, sizeof *grown.slots);
    for (size_t i = 0; i < visits->slot_count; i++) {
        if (visits->slots[i].hash != 0) {
            *slot_of(&grown, visits->slots[i].hash) = visits->slots[i];
        }
    }
    nk_free(visits->slots);
    *visits = grown;
}

/* Word by word; `balance` is how many more of a family the other one has used so far. */
static bool as_good(const uint64_t *set, const uint64_t *other, const uint64_t *families,
                    size_t words)
{
    size_t balance = 0;
    for (size_t i = 0; i < words; i++) {
        if (set[i] == other[i] && families[i] == 0) {
            continue;
        }
        for (uint64_t bit = 1; bit != 0; bit <<= 1) {
            if ((families[i] & bit) != 0) {
                balance = 0;
            }
            balance += (other[i] & bit) != 0;
            if ((set[i] & bit) != 0) {
                if (balance == 0) {
                    return false;
                }
                balance--;
            }
        }
    }
    return true;
}

bool history_visits_add(struct history_visits *visits, uint64_t hash, const uint64_t *set)
{
    size_t words = visits->item_words;
    struct history_slot *slot = slot_of(visits, hash);
    for (size_t at = slot->first; at != 0; at = (size_t)visits->items[(at - 1) * words]) {
        if (as_good(visits->items + (at - 1) * words + 1, set, visits->families, words - 1)) {
            return false;
        }
    }
    if (visits->item_count == visits->item_capacity) {
        visits->item_capacity = visits->item_capacity == 0 ? 256 : 2 * visits->item_capacity;
        visits->items = nk_realloc(visits->items, visits->item_capacity * words * sizeof(uint64_t));
    }
    uint64_t *item = visits->items + visits->item_count * words;
    item[0] = slot->first;
    for (size_t i = 1; i < words; i++) {
        item[i] = set[i - 1];
    }
    visits->taken += slot->hash == 0;
    slot->hash = hash;
    slot->first = ++visits->item_count;
    if (2 * visits->taken > visits->slot_count) {
        visits_grow(visits);
    }
    return true;
}

void history_visits_deinit(struct history_visits *visits)
{
    nk_free(visits->slots);
    nk_free(visits->items);
}
