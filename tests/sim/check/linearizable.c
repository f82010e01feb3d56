/* Depth-first over configurations: which operations are placed, and what the register then holds.
 * An operation can be placed next if it began before every unplaced one returned.  Versions prune
 * the search: a write whose version is known must raise the register's.
 *
 * A value with a time to live is gone, for good, from the first operation on that saw it gone. */

#include "tests/sim/check/linearizable.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/hash.h"

#define CONFIGURATIONS_MAX ((size_t)400000)

struct cell {
    uint64_t value;                 /* 0: missing */
    struct history_version version; /* {0,0} while not known */
    uint64_t index_last;            /* highest version index seen, also of deletes */
    uint64_t expires_first;
    uint64_t expires_last;
};

struct step {
    struct cell before;
    size_t op; /* placed by this step */
};

struct search {
    const struct history_op *ops;
    size_t count;
    uint64_t *placed; /* bit set */
    size_t words;
    size_t first_open; /* all before it are placed */
    size_t done_left;  /* operations with an answer that are not placed */
    struct step *steps;
    size_t depth;
    uint64_t *seen; /* hashes of configurations; 0 empty */
    size_t seen_count;
    size_t seen_slots;
    size_t deepest_stuck;
    size_t deepest;
};

static bool same(struct history_version a, struct history_version b)
{
    return a.term == b.term && a.index == b.index;
}

static bool is_none(struct history_version version)
{
    return version.index == 0;
}

/* The register shows `version`; false if it cannot. */
static bool shows(struct cell *cell, struct history_version version)
{
    if (!is_none(cell->version)) {
        return same(cell->version, version);
    }
    if (version.index <= cell->index_last) {
        return false;
    }
    cell->version = version;
    cell->index_last = version.index;
    return true;
}

/* The operation finds nothing: true if there is nothing, or if it may have expired by then. */
static bool is_missing(struct cell *cell, const struct history_op *op)
{
    if (cell->value != 0 && cell->expires_first != 0 && op->wall_max >= cell->expires_first) {
        cell->value = 0;
        cell->version = (struct history_version){0, 0};
        cell->expires_first = 0;
    }
    return cell->value == 0;
}

static bool is_present(const struct cell *cell, const struct history_op *op)
{
    return cell->value != 0 && !(cell->expires_first != 0 && op->wall_min >= cell->expires_last);
}

static bool write_version(struct cell *cell, const struct history_op *op)
{
    cell->version = op->version;
    if (op->outcome == HISTORY_DONE) {
        if (op->version.index <= cell->index_last) {
            return false;
        }
        cell->index_last = op->version.index;
    }
    return true;
}

static bool write_value(struct cell *cell, const struct history_op *op)
{
    cell->value = op->value;
    cell->expires_first = op->expires_first;
    cell->expires_last = op->expires_last;
    return write_version(cell, op);
}

static bool apply_get(struct cell *cell, const struct history_op *op)
{
    if (op->value == 0) {
        return is_missing(cell, op);
    }
    return is_present(cell, op) && cell->value == op->value && shows(cell, op->version);
}

static bool apply_cas(struct cell *cell, const struct history_op *op)
{
    if (op->outcome == HISTORY_MISMATCH) {
        if (is_none(op->found)) {
            return is_missing(cell, op);
        }
        return is_present(cell, op) && shows(cell, op->found) && !same(op->found, op->expected);
    }
    return is_present(cell, op) && shows(cell, op->expected) && write_value(cell, op);
}

static bool apply_create(struct cell *cell, const struct history_op *op)
{
    if (op->outcome == HISTORY_EXISTS) {
        return is_present(cell, op) && shows(cell, op->found);
    }
    return is_missing(cell, op) && write_value(cell, op);
}

static bool apply_delete(struct cell *cell, const struct history_op *op)
{
    if (op->outcome == HISTORY_DONE &&
        (op->tombstoned ? !is_present(cell, op) : !is_missing(cell, op))) {
        return false;
    }
    cell->value = 0;
    cell->expires_first = 0;
    bool rises = write_version(cell, op);
    cell->version = (struct history_version){0, 0};
    return rises;
}

static bool apply(struct cell *cell, const struct history_op *op)
{
    switch (op->kind) {
    case HISTORY_GET:
        return apply_get(cell, op);
    case HISTORY_PUT:
        return write_value(cell, op);
    case HISTORY_CAS:
        return apply_cas(cell, op);
    case HISTORY_CREATE:
        return apply_create(cell, op);
    case HISTORY_DELETE:
        return apply_delete(cell, op);
    }
    return false;
}

static bool is_placed(const struct search *search, size_t op)
{
    return (search->placed[op / 64] >> (op % 64) & 1) != 0;
}

static void set_placed(struct search *search, size_t op, bool placed)
{
    uint64_t bit = UINT64_C(1) << (op % 64);
    if (placed) {
        search->placed[op / 64] |= bit;
    } else {
        search->placed[op / 64] &= ~bit;
    }
    if (search->ops[op].outcome != HISTORY_UNKNOWN) {
        search->done_left += placed ? (size_t)-1 : 1;
    }
    search->first_open = op < search->first_open ? op : search->first_open;
    while (search->first_open < search->count && is_placed(search, search->first_open)) {
        search->first_open++;
    }
}

/* Whether this configuration is new; remembers it. */
static bool is_new(struct search *search, const struct cell *cell)
{
    uint64_t hash = nk_xxh64(nk_bytes_of(search->placed, search->words * sizeof(uint64_t)), 1);
    uint64_t parts[7] = {hash,
                         cell->value,
                         cell->version.term,
                         cell->version.index,
                         cell->index_last,
                         cell->expires_first,
                         cell->expires_last};
    hash = nk_xxh64(nk_bytes_of(parts, sizeof parts), 2) | 1;
    size_t slot = (size_t)hash & (search->seen_slots - 1);
    while (search->seen[slot] != 0) {
        if (search->seen[slot] == hash) {
            return false;
        }
        slot = (slot + 1) & (search->seen_slots - 1);
    }
    search->seen[slot] = hash;
    search->seen_count++;
    return true;
}

/* The next operation from `from` on that can be placed; `count` if none. */
static size_t next_candidate(const struct search *search, size_t from)
{
    uint64_t first_return = UINT64_MAX;
    for (size_t i = search->first_open; i < search->count; i++) {
        if (search->ops[i].invoked >= first_return) {
            break;
        }
        if (!is_placed(search, i) && search->ops[i].returned < first_return) {
            first_return = search->ops[i].returned;
        }
    }
    for (size_t i = from < search->first_open ? search->first_open : from; i < search->count; i++) {
        if (search->ops[i].invoked >= first_return) {
            break;
        }
        if (!is_placed(search, i)) {
            return i;
        }
    }
    return search->count;
}

static enum history_verdict run(struct search *search)
{
    struct cell cell = {0};
    size_t from = 0;
    for (;;) {
        if (search->done_left == 0) {
            return HISTORY_LINEARIZABLE;
        }
        size_t op = next_candidate(search, from);
        if (op < search->count) {
            struct cell after = cell;
            set_placed(search, op, true);
            if (apply(&after, &search->ops[op]) && is_new(search, &after)) {
                if (search->seen_count * 2 > search->seen_slots) {
                    return HISTORY_UNDECIDED;
                }
                search->steps[search->depth] = (struct step){cell, op};
                search->depth++;
                cell = after;
                from = 0;
                continue;
            }
            set_placed(search, op, false);
            from = op + 1;
            continue;
        }
        if (search->depth >= search->deepest) {
            search->deepest = search->depth;
            search->deepest_stuck = search->first_open;
        }
        if (search->depth == 0) {
            return HISTORY_VIOLATION;
        }
        search->depth--;
        cell = search->steps[search->depth].before;
        from = search->steps[search->depth].op + 1;
        set_placed(search, search->steps[search->depth].op, false);
    }
}

enum history_verdict history_check(const struct history_op *ops, size_t count, size_t *out_stuck)
{
    struct search search = {.ops = ops, .count = count};
    search.words = count / 64 + 1;
    search.placed = nk_alloc_zero(search.words, sizeof(uint64_t));
    search.steps = nk_alloc_zero(count + 1, sizeof *search.steps);
    search.seen_slots = 1024;
    while (search.seen_slots < CONFIGURATIONS_MAX && search.seen_slots < count * 4096) {
        search.seen_slots *= 2;
    }
    search.seen = nk_alloc_zero(search.seen_slots, sizeof(uint64_t));
    for (size_t i = 0; i < count; i++) {
        NK_ASSERT(i == 0 || ops[i - 1].invoked < ops[i].invoked);
        search.done_left += ops[i].outcome != HISTORY_UNKNOWN;
    }
    enum history_verdict verdict = run(&search);
    if (verdict == HISTORY_VIOLATION && out_stuck != NULL) {
        *out_stuck = search.deepest_stuck;
    }
    nk_free(search.placed);
    nk_free(search.steps);
    nk_free(search.seen);
    return verdict;
}
