#pragma once

#include "services/shardhost/lsm/db.h"

/* The sources as they were, and how much of the active memtable of that time counts. */
struct lsm_view {
    struct lsm_db *db;
    struct lsm_sources *sources; /* held */
    uint64_t index_max;
};
