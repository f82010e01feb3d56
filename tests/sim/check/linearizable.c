/* Depth-first over configurations: which operations are placed, and what the register then holds.
 * An operation may be placed next if it began before every unplaced answered one returned.
 *
 * Rules that prune without losing an answer:
 *
 *   1. Versions rise: answered writes are placed in the order of theirs, and the register goes
 *      beyond a version only when all are placed that saw it.
 *   2. A write without an answer whose value was read has the version that came with it, and was
 *      over when the first of those reads was: it is treated as answered.
 *   3. An answered operation that fits and changes nothing is placed at once: whatever order there
 *      is without it, putting it here breaks nothing, and it takes a limit from the others.
 *   4. Another write without an answer is placed only right before an operation that does not fit
 *      without it.  It has no end, so it can wait until then; if nobody needs it, it never was.
 *   5. Of several such writes that would do the same, the one that began first is taken first: its
 *      value was read by nobody.
 *   6. Where the same answered operations led to the same register with fewer or weaker unanswered
 *      ones, all that can follow has been or will be tried there.  Of two that differ only in when
 *      their value expires, the one that expires first is the stronger: to be there or not, as one
 *      likes, from an earlier time on.
 *
 * What is left to try are which unanswered write explains an answer, and when a value expired. */

#include "tests/sim/check/linearizable.h"

#include <stdlib.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/hash.h"
#include "tests/sim/check/register.h"
#include "tests/sim/check/visits.h"

#define CONFIGURATIONS_MAX ((size_t)8000000)
#define VALUE_UNREAD       UINT64_MAX

/* An operation as the search sees it. */
struct item {
    struct history_op op; /* with what rule 2 found out */
    size_t number;        /* in the history */
    bool answered;
    size_t rank; /* answered writes: place among them by version; else SIZE_MAX */
    size_t twin; /* rule 5: the one of the same effect that comes before it; SIZE_MAX: none */
    bool placed;
};

struct step {
    struct history_cell before;
    struct history_cell base_before;
    bool chain_before;
    bool only; /* rule 3: there is no other way from here */
    size_t item;
};

struct search {
    struct item *items; /* answered ones first, each part in order of `invoked` */
    size_t answered_count;
    size_t count;
    size_t first_open; /* answered items before it are placed */
    size_t answered_left;
    size_t rank_next; /* of the next answered write */

    struct history_cell cell;
    bool chain;               /* the last step was an unanswered write: what follows must need it */
    struct history_cell base; /* while chain: the register before it */

    struct step *steps;
    size_t depth;
    size_t deepest;
    size_t stuck;

    uint64_t placed_hash; /* sum over the placed answered items */
    uint64_t *used;       /* bit set of the placed unanswered items */
    uint64_t *useful;     /* those of them that would still be of use, had they not been used */
    uint64_t *families;   /* bit set: a family of unanswered items starts there */
    size_t used_words;
    struct history_visits visits;
};

/* ---- Preparation ---- */

static bool is_answered_write(const struct item *item)
{
    return item->answered && item->op.outcome != HISTORY_MISMATCH &&
           item->op.outcome != HISTORY_EXISTS && item->op.kind != HISTORY_GET;
}

static struct item *writer_of_version(struct search *search, struct history_version version)
{
    for (size_t i = 0; i < search->count; i++) {
        struct item *item = &search->items[i];
        if (item->op.kind != HISTORY_GET && history_same_version(item->op.version, version)) {
            return item;
        }
    }
    return NULL;
}

static struct item *unanswered_writer_of_value(struct search *search, uint64_t value)
{
    for (size_t i = 0; i < search->count; i++) {
        struct item *item = &search->items[i];
        if (!item->answered && item->op.value == value && history_no_version(item->op.version)) {
            return item;
        }
    }
    return NULL;
}

/* Rule 2. */
static void learn_from_reads(struct search *search)
{
    for (size_t i = 0; i < search->count; i++) {
        const struct history_op *read = &search->items[i].op;
        if (read->kind != HISTORY_GET || read->value == 0) {
            continue;
        }
        struct item *writer = writer_of_version(search, read->version);
        if (writer == NULL) {
            writer = unanswered_writer_of_value(search, read->value);
        }
        if (writer != NULL && writer->op.outcome == HISTORY_UNKNOWN) {
            writer->op.version = read->version;
            writer->op.returned =
                read->returned < writer->op.returned ? read->returned : writer->op.returned;
        }
    }
    for (size_t i = 0; i < search->count; i++) {
        struct item *item = &search->items[i];
        item->answered = item->answered || !history_no_version(item->op.version);
    }
}

static int compare_u64(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

static bool same_family(const struct history_op *a, const struct history_op *b)
{
    return a->kind == b->kind && history_same_version(a->expected, b->expected);
}

/* By family, and in each the strongest first. */
static int compare_strength(const struct history_op *a, const struct history_op *b)
{
    if (a->kind != b->kind) {
        return a->kind < b->kind ? -1 : 1;
    }
    int order = compare_u64(a->expected.index, b->expected.index);
    if (order == 0) {
        order = compare_u64(a->expected.term, b->expected.term);
    }
    return order != 0 ? order : compare_u64(a->expires_first - 1, b->expires_first - 1);
}

static int compare_items(const void *left, const void *right)
{
    const struct item *a = left;
    const struct item *b = right;
    if (a->answered != b->answered) {
        return a->answered ? -1 : 1;
    }
    int order = a->answered ? 0 : compare_strength(&a->op, &b->op);
    if (order == 0) {
        order = compare_u64(a->op.invoked, b->op.invoked);
    }
    return order != 0 ? order : compare_u64(a->number, b->number);
}

/* Rule 1.  False: two writes got the same index. */
static bool rank_writes(struct search *search)
{
    for (size_t i = 0; i < search->answered_count; i++) {
        struct item *item = &search->items[i];
        item->rank = SIZE_MAX;
        if (!is_answered_write(item)) {
            continue;
        }
        item->rank = 0;
        for (size_t j = 0; j < search->answered_count; j++) {
            const struct item *other = &search->items[j];
            if (j == i || !is_answered_write(other)) {
                continue;
            }
            if (other->op.version.index == item->op.version.index) {
                search->stuck = i;
                return false;
            }
            item->rank += other->op.version.index < item->op.version.index;
        }
    }
    return true;
}

/* Rules 5 and 6. */
static void find_twins(struct search *search)
{
    search->used_words = (search->count - search->answered_count) / 64 + 1;
    search->used = nk_alloc_zero(search->used_words, sizeof(uint64_t));
    search->useful = nk_alloc_zero(search->used_words, sizeof(uint64_t));
    search->families = nk_alloc_zero(search->used_words, sizeof(uint64_t));
    for (size_t i = search->answered_count; i < search->count; i++) {
        struct item *item = &search->items[i];
        const struct history_op *before = i > search->answered_count ? &item[-1].op : NULL;
        item->op.value = item->op.value != 0 ? VALUE_UNREAD : 0;
        item->twin = SIZE_MAX;
        if (before == NULL || !same_family(before, &item->op)) {
            size_t bit = i - search->answered_count;
            search->families[bit / 64] |= UINT64_C(1) << (bit % 64);
        } else if (before->expires_first == item->op.expires_first) {
            item->twin = i - 1;
        }
    }
}

static bool prepare(struct search *search, const struct history_op *ops, size_t count)
{
    memset(search, 0, sizeof *search);
    search->items = nk_alloc_zero(count + 1, sizeof *search->items);
    for (size_t i = 0; i < count; i++) {
        NK_ASSERT(i == 0 || ops[i - 1].invoked <= ops[i].invoked);
        struct item *item = &search->items[search->count];
        item->op = ops[i];
        item->number = i;
        item->answered = ops[i].outcome != HISTORY_UNKNOWN;
        if (item->answered) {
            search->count++;
        } else if (ops[i].kind != HISTORY_GET) {
            /* It may come whenever it likes. */
            item->op.version = (struct history_version){0, 0};
            item->op.returned = UINT64_MAX;
            item->op.wall_min = 0;
            item->op.wall_max = UINT64_MAX;
            item->op.expires_last = item->op.expires_first != 0 ? UINT64_MAX : 0;
            search->count++;
        }
    }
    learn_from_reads(search);
    qsort(search->items, search->count, sizeof *search->items, compare_items);
    while (search->answered_count < search->count &&
           search->items[search->answered_count].answered) {
        search->answered_count++;
    }
    search->answered_left = search->answered_count;
    find_twins(search);
    search->steps = nk_alloc_zero(search->count + 1, sizeof *search->steps);
    history_visits_init(&search->visits, search->used_words, search->families);
    return rank_writes(search);
}

/* ---- The search ---- */

static void set_placed(struct search *search, size_t i, bool placed)
{
    struct item *item = &search->items[i];
    NK_ASSERT(item->placed != placed);
    item->placed = placed;
    if (!item->answered) {
        size_t bit = i - search->answered_count;
        search->used[bit / 64] ^= UINT64_C(1) << (bit % 64);
        return;
    }
    uint64_t number = item->number;
    uint64_t hash = nk_xxh64(nk_bytes_of(&number, sizeof number), 1);
    search->placed_hash += placed ? hash : (uint64_t)0 - hash;
    search->answered_left += placed ? (size_t)-1 : 1;
    if (item->rank != SIZE_MAX) {
        search->rank_next = placed ? item->rank + 1 : item->rank;
    }
    search->first_open = i < search->first_open ? i : search->first_open;
    while (search->first_open < search->answered_count &&
           search->items[search->first_open].placed) {
        search->first_open++;
    }
}

/* An unanswered write that expects a version which is gone for good can never be placed. */
static bool is_useless(const struct search *search, const struct item *item)
{
    const struct history_cell *cell = &search->cell;
    struct history_version expected = item->op.expected;
    bool shown = cell->value != 0 && history_same_version(cell->version, expected);
    return !history_no_version(expected) && expected.index <= cell->index_last && !shown;
}

/* Whether the present configuration is new; remembers it. */
static bool is_new(struct search *search)
{
    memcpy(search->useful, search->used, search->used_words * sizeof(uint64_t));
    for (size_t i = search->answered_count; i < search->count; i++) {
        if (is_useless(search, &search->items[i])) {
            size_t bit = i - search->answered_count;
            search->useful[bit / 64] &= ~(UINT64_C(1) << (bit % 64));
        }
    }
    uint64_t hash = history_cell_hash(&search->cell, search->placed_hash);
    if (search->chain) {
        hash = history_cell_hash(&search->base, hash);
    }
    return history_visits_add(&search->visits, hash | 1, search->useful);
}

/* The first return among the unplaced: who began later must wait. */
static uint64_t horizon(const struct search *search)
{
    uint64_t first = UINT64_MAX;
    for (size_t i = search->first_open;
         i < search->answered_count && search->items[i].op.invoked < first; i++) {
        const struct item *item = &search->items[i];
        if (!item->placed && item->op.returned < first) {
            first = item->op.returned;
        }
    }
    return first;
}

/* The register holds nothing that could still turn out to be one version or another. */
static bool is_settled(const struct history_cell *cell)
{
    return cell->value == 0 || !history_no_version(cell->version);
}

/* The version that the operation saw in the register, if it did not make it: its index, or 0. */
static uint64_t index_seen(const struct history_op *op)
{
    if (op->kind == HISTORY_GET) {
        return op->version.index;
    }
    bool refused = op->outcome == HISTORY_MISMATCH || op->outcome == HISTORY_EXISTS;
    return refused ? op->found.index : 0;
}

/* What it fits may depend on which version that is. */
static bool names_version(const struct history_op *op)
{
    return index_seen(op) != 0 || !history_no_version(op->expected);
}

/* Rule 1: nobody but `item` still has to see a version below `index`. */
static bool is_past(const struct search *search, const struct item *item, uint64_t index)
{
    for (size_t i = search->first_open; i < search->answered_count; i++) {
        const struct item *other = &search->items[i];
        uint64_t seen = index_seen(&other->op);
        if (!other->placed && other != item && seen != 0 && seen < index) {
            return false;
        }
    }
    return true;
}

/* Whether the item may come next, and what the register holds then. */
static bool can_place(const struct search *search, const struct item *item, uint64_t limit,
                      struct history_cell *out_after)
{
    if (item->placed || item->op.invoked >= limit ||
        (item->answered && item->rank != SIZE_MAX && item->rank != search->rank_next) ||
        (!item->answered && item->twin != SIZE_MAX && !search->items[item->twin].placed) ||
        !history_fits(&search->cell, &item->op, out_after)) {
        return false;
    }
    if (out_after->index_last > search->cell.index_last &&
        !is_past(search, item, out_after->index_last)) {
        return false;
    }
    struct history_cell without;
    if (search->chain && (is_settled(&search->base) || !names_version(&item->op)) &&
        history_fits(&search->base, &item->op, &without)) {
        return false; /* rule 4 */
    }
    return item->answered || !history_cells_equal(&search->cell, out_after);
}

/* Rule 3; the number of items if there is none. */
static size_t find_harmless(const struct search *search, uint64_t limit)
{
    for (size_t i = search->first_open;
         i < search->answered_count && search->items[i].op.invoked < limit; i++) {
        struct history_cell after;
        if (can_place(search, &search->items[i], limit, &after) &&
            history_cells_equal(&search->cell, &after)) {
            return i;
        }
    }
    return search->count;
}

/* The next way on from number `from`; the number of items if there is none. */
static size_t find_way(const struct search *search, uint64_t limit, size_t from,
                       struct history_cell *out_after)
{
    for (size_t i = from > search->first_open ? from : search->first_open; i < search->count; i++) {
        if (can_place(search, &search->items[i], limit, out_after)) {
            return i;
        }
    }
    return search->count;
}

static void go(struct search *search, size_t i, const struct history_cell *after, bool only)
{
    search->steps[search->depth++] = (struct step){
        .before = search->cell,
        .base_before = search->base,
        .chain_before = search->chain,
        .only = only,
        .item = i,
    };
    set_placed(search, i, true);
    search->base = search->cell;
    search->chain = !search->items[i].answered;
    search->cell = *after;
}

static const struct step *back(struct search *search)
{
    const struct step *step = &search->steps[--search->depth];
    set_placed(search, step->item, false);
    search->cell = step->before;
    search->base = step->base_before;
    search->chain = step->chain_before;
    return step;
}

static void note_stuck(struct search *search)
{
    if (search->depth < search->deepest) {
        return;
    }
    search->deepest = search->depth;
    search->stuck = search->first_open;
    for (size_t i = search->first_open; i < search->answered_count; i++) {
        if (!search->items[i].placed &&
            search->items[i].op.returned < search->items[search->stuck].op.returned) {
            search->stuck = i;
        }
    }
}

static enum history_verdict run(struct search *search)
{
    size_t from = 0;
    for (;;) {
        if (search->answered_left == 0) {
            return HISTORY_LINEARIZABLE;
        }
        uint64_t limit = horizon(search);
        size_t i = search->count;
        bool only = false;
        struct history_cell after = search->cell;
        if (from == 0) {
            i = find_harmless(search, limit);
            only = i < search->count;
        }
        if (!only) {
            i = find_way(search, limit, from, &after);
        }
        if (i < search->count) {
            go(search, i, &after, only);
            from = 0;
            if (search->visits.item_count >= CONFIGURATIONS_MAX) {
                return HISTORY_UNDECIDED;
            }
            if (is_new(search)) {
                continue;
            }
        } else {
            note_stuck(search);
        }
        const struct step *step;
        do {
            if (search->depth == 0) {
                return HISTORY_VIOLATION;
            }
            step = back(search);
        } while (step->only);
        from = step->item + 1;
    }
}

enum history_verdict history_check(const struct history_op *ops, size_t count,
                                   struct history_report *out_report)
{
    struct search search;
    enum history_verdict verdict = HISTORY_VIOLATION;
    if (prepare(&search, ops, count)) {
        verdict = run(&search);
    }
    if (out_report != NULL) {
        out_report->stuck = search.count > 0 ? search.items[search.stuck].number : 0;
        out_report->configurations = search.visits.item_count;
    }
    nk_free(search.items);
    nk_free(search.steps);
    nk_free(search.used);
    nk_free(search.useful);
    nk_free(search.families);
    history_visits_deinit(&search.visits);
    return verdict;
}
