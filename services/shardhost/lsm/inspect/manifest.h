#pragma once

/* Manifests, for whoever inspects a whole database. */

#include "services/shardhost/lsm/catalog.h"
#include "services/shardhost/lsm/inspect/report.h"

/* Writes what is in the bytes of a manifest file and applies it to an empty catalog, beyond damage
 * as far as it still fits; its tables are then in the order of the engine's levels.
 * NK_FORMAT_TOO_NEW. */
NK_MUST_CHECK enum nk_err inspect_manifest_bytes(struct report *report, struct nk_bytes file,
                                                 struct lsm_catalog *catalog);

/* "WORD version=... time_ms=... state=..." */
void inspect_position(struct report *report, const char *word, const struct lsm_position *position);
