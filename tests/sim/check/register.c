/* A value with a time to live is gone, for good, from the first operation on that saw it gone. */

#include "tests/sim/check/register.h"

#include <string.h>

#include "common/base/hash.h"

/* The register shows `version`; false if it cannot. */
static bool shows(struct history_cell *cell, struct history_version version)
{
    if (!history_no_version(cell->version)) {
        return history_same_version(cell->version, version);
    }
    if (version.index <= cell->index_last) {
        return false;
    }
    cell->version = version;
    cell->index_last = version.index;
    return true;
}

static void empty(struct history_cell *cell)
{
    cell->value = 0;
    cell->version = (struct history_version){0, 0};
    cell->expires_first = 0;
    cell->expires_last = 0;
    cell->expired = false;
}

/* The operation finds nothing: true if there is nothing, or if it may have expired by then. */
static bool is_missing(struct history_cell *cell, const struct history_op *op)
{
    if (cell->value == 0) {
        return true;
    }
    if (cell->expires_first == 0 || op->wall_max < cell->expires_first) {
        return false;
    }
    cell->expired = true;
    return true;
}

static bool is_present(const struct history_cell *cell, const struct history_op *op)
{
    return cell->value != 0 && !cell->expired &&
           !(cell->expires_first != 0 && op->wall_min >= cell->expires_last);
}

static bool raise_version(struct history_cell *cell, const struct history_op *op)
{
    if (history_no_version(op->version)) {
        return true; /* not known */
    }
    if (op->version.index <= cell->index_last) {
        return false;
    }
    cell->index_last = op->version.index;
    return true;
}

static bool write_value(struct history_cell *cell, const struct history_op *op)
{
    cell->value = op->value;
    cell->version = op->version;
    cell->expires_first = op->expires_first;
    cell->expires_last = op->expires_first != 0 ? op->expires_last : 0;
    cell->expired = false;
    return raise_version(cell, op);
}

static bool apply_get(struct history_cell *cell, const struct history_op *op)
{
    if (op->value == 0) {
        return is_missing(cell, op);
    }
    return is_present(cell, op) && cell->value == op->value && shows(cell, op->version);
}

/* A write that found another version than it expected. */
static bool apply_mismatch(struct history_cell *cell, const struct history_op *op)
{
    if (history_no_version(op->found)) {
        return is_missing(cell, op);
    }
    return is_present(cell, op) && shows(cell, op->found) &&
           !history_same_version(op->found, op->expected);
}

static bool apply_cas(struct history_cell *cell, const struct history_op *op)
{
    if (op->outcome == HISTORY_MISMATCH) {
        return apply_mismatch(cell, op);
    }
    return is_present(cell, op) && shows(cell, op->expected) && write_value(cell, op);
}

static bool apply_create(struct history_cell *cell, const struct history_op *op)
{
    if (op->outcome == HISTORY_EXISTS) {
        return is_present(cell, op) && shows(cell, op->found);
    }
    return is_missing(cell, op) && write_value(cell, op);
}

static bool apply_delete(struct history_cell *cell, const struct history_op *op)
{
    if (op->outcome == HISTORY_MISMATCH) {
        return apply_mismatch(cell, op);
    }
    if (!history_no_version(op->expected) && !(is_present(cell, op) && shows(cell, op->expected))) {
        return false;
    }
    if (op->outcome == HISTORY_DONE &&
        (op->tombstoned ? !is_present(cell, op) : !is_missing(cell, op))) {
        return false;
    }
    empty(cell);
    return raise_version(cell, op);
}

static bool apply(struct history_cell *cell, const struct history_op *op)
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

bool history_fits(const struct history_cell *cell, const struct history_op *op,
                  struct history_cell *out_after)
{
    *out_after = *cell;
    return apply(out_after, op);
}

bool history_cells_equal(const struct history_cell *a, const struct history_cell *b)
{
    return a->value == b->value && history_same_version(a->version, b->version) &&
           a->index_last == b->index_last && a->expires_first == b->expires_first &&
           a->expires_last == b->expires_last && a->expired == b->expired;
}

uint64_t history_cell_hash(const struct history_cell *cell, uint64_t seed)
{
    uint64_t parts[7] = {cell->value,      cell->version.term,  cell->version.index,
                         cell->index_last, cell->expires_first, cell->expires_last,
                         cell->expired};
    return nk_xxh64(nk_bytes_of(parts, sizeof parts), seed);
}
