#pragma once

/* Writes one table file: records in key order in, a synced file out.  Blocking calls; one thread.
 */

#include "services/shardhost/lsm/table.h"

struct lsm_table_builder;

/* Creates the file of table `number`.  On failure nothing is left open; the file may exist.
 * NK_NO_SPACE, NK_IO. */
NK_MUST_CHECK enum nk_err lsm_table_builder_open(const struct lsm_io *io, const char *directory,
                                                 struct lsm_fault_box *faults, uint64_t number,
                                                 const struct lsm_options *options,
                                                 struct lsm_table_builder **out_builder);

/* Adds a record; keys rise (asserted).  NK_NO_SPACE, NK_IO: only abandon() may follow. */
NK_MUST_CHECK enum nk_err lsm_table_builder_add(struct lsm_table_builder *builder,
                                                struct nk_bytes key, const struct lsm_entry *entry,
                                                struct nk_bytes value);

/* Size of the file so far, about. */
uint64_t lsm_table_builder_bytes(const struct lsm_table_builder *builder);

/* Filter or top index have reached what a block may have, with room to spare for another record: a
 * table of very many small records, or of long keys that compress well, is closed before it has its
 * size. */
bool lsm_table_builder_full(const struct lsm_table_builder *builder);

/* Writes the rest and syncs the file; its name is not yet promised.  At least one record was added
 * (asserted).  On NK_OK *builder is gone and the table is the caller's, its index and filter in the
 * cache; else only abandon() may follow. */
NK_MUST_CHECK enum nk_err lsm_table_builder_finish(struct lsm_table_builder **builder,
                                                   struct lsm_table **out_table);

/* Closes the unfinished file and leaves it behind; NULL is a no-op. */
void lsm_table_builder_close(struct lsm_table_builder **builder);

/* Closes and removes the unfinished file; NULL is a no-op. */
void lsm_table_builder_abandon(struct lsm_table_builder **builder);
