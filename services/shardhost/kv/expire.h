#pragma once

/* Expiry by log time. */

#include "services/shardhost/lsm/lsm.h"

/* The moment `ttl_ms` after `time_ms`; the end of time if that is later.  Never 0, which would mean
 * "never". */
uint64_t kv_expire_at(uint64_t time_ms, uint64_t ttl_ms);

/* Whether the record is there for a reader at `time_ms`: no tombstone and not expired. */
bool kv_entry_lives(const struct lsm_entry *entry, uint64_t time_ms);
