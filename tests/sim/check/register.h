#pragma once

/* The register that a key is: what it holds, and whether an operation's answer fits. */

#include "tests/sim/check/linearizable.h"

struct history_cell {
    uint64_t value;                 /* 0: missing */
    struct history_version version; /* {0,0} while not known */
    uint64_t index_last;            /* highest version index seen, also of deletes */
    uint64_t expires_first;         /* 0: never */
    uint64_t expires_last;
    bool expired; /* somebody saw that it was gone */
};

/* Whether `op` can come next; *out_after is the register after it.  A write whose version is not
 * known leaves it open until somebody names it. */
bool history_fits(const struct history_cell *cell, const struct history_op *op,
                  struct history_cell *out_after);

bool history_cells_equal(const struct history_cell *a, const struct history_cell *b);
uint64_t history_cell_hash(const struct history_cell *cell, uint64_t seed);

static inline bool history_same_version(struct history_version a, struct history_version b)
{
    return a.term == b.term && a.index == b.index;
}

static inline bool history_no_version(struct history_version version)
{
    return version.index == 0;
}
