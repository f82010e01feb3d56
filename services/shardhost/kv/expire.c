/* A record lives while log time is below its expire_at_ms.  Log time never goes back, so what has
 * expired once stays so: a record that is still in the tree and one that compaction has dropped are
 * the same to every reader and every command, and replicas may differ in which of the two they
 * have. */

#include "expire.h"

#include "common/base/units.h"

uint64_t kv_expire_at(uint64_t time_ms, uint64_t ttl_ms)
{
    uint64_t expire_at_ms = ttl_ms > UINT64_MAX - time_ms ? UINT64_MAX : time_ms + ttl_ms;
    return nk_max_u64(expire_at_ms, 1);
}

bool kv_entry_lives(const struct lsm_entry *entry, uint64_t time_ms)
{
    return !entry->tombstone && (entry->expire_at_ms == 0 || time_ms < entry->expire_at_ms);
}
