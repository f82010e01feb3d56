#pragma once

/* A directory of a stress program's own. */

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/assert.h"

struct stress_place {
    char root[64];
};

static inline struct stress_place stress_place_make(void)
{
    struct stress_place place = {"/tmp/norikv-stress-XXXXXX"};
    NK_ASSERT(mkdtemp(place.root) != NULL);
    return place;
}

static inline int stress_place_visit(const char *path, const struct stat *status, int kind,
                                     struct FTW *where)
{
    (void)status;
    (void)kind;
    (void)where;
    return remove(path);
}

static inline void stress_place_remove(const struct stress_place *place)
{
    int failed = nftw(place->root, stress_place_visit, 8, FTW_DEPTH | FTW_PHYS);
    NK_ASSERT(failed == 0);
}
