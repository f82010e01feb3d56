#pragma once

/* From the files to the end of the log, the holds in the ledger, and the records for the visitor.
 * Private to raftlog. */

#include "services/shardhost/raftlog/ledger.h"
#include "services/shardhost/raftlog/round.h"
#include "services/shardhost/raftlog/store.h"

/* On NK_OK the store has the newest segment open and the log goes on at *out_end. */
NK_MUST_CHECK
enum nk_err raftlog_recover(struct raftlog_store *store, struct raftlog_ledger *ledger,
                            void (*visit)(void *visitor, const struct raftlog_record *record),
                            void *visitor, struct raftlog_end *out_end);
