#pragma once

/* A received set of tables takes the place of a database's contents, as one job. */

#include "services/shardhost/lsm/manifest.h"

struct lsm_db;

struct lsm_ingest {
    char *directory;
    struct lsm_position position;
    struct lsm_level_table *added; /* the tables, under numbers of the database; held */
    size_t added_count;
    bool linked;               /* their names are promised: there is no way back */
    struct lsm_levels *result; /* installed: for the loop to take */
};

void lsm_ingest_free(struct lsm_ingest **ingest); /* NULL-safe */

/* The worker: all of it, or as far as it comes.  *out_done when it is installed.  On an error with
 * `linked` set it can be tried again, else nothing was changed. */
NK_MUST_CHECK enum nk_err lsm_ingest_step(struct lsm_db *db, bool *out_done);

/* The loop: puts the result in place. */
void lsm_ingest_take(struct lsm_db *db);
