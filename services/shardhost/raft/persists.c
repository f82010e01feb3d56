#include "persists.h"

#include "common/base/assert.h"
#include "common/base/units.h"

static struct raft_persist *at(struct raft_persists *persists, size_t position)
{
    return &persists->ring[(persists->first + position) % RAFT_PERSISTS_MAX];
}

uint64_t raft_persists_issue(struct raft_persists *persists, raft_index last)
{
    if (persists->count < RAFT_PERSISTS_MAX) {
        persists->count++;
    }
    struct raft_persist *newest = at(persists, persists->count - 1);
    persists->issued++;
    newest->id = persists->issued;
    newest->last = last;
    return persists->issued;
}

raft_index raft_persists_report(struct raft_persists *persists, uint64_t id)
{
    NK_ASSERT(id <= persists->issued);
    raft_index last = 0;
    while (persists->count > 0 && at(persists, 0)->id <= id) {
        last = nk_max_u64(last, at(persists, 0)->last);
        persists->first = (persists->first + 1) % RAFT_PERSISTS_MAX;
        persists->count--;
    }
    persists->done = nk_max_u64(persists->done, id);
    return last;
}

void raft_persists_truncate(struct raft_persists *persists, raft_index first)
{
    NK_ASSERT(first > 0);
    for (size_t i = 0; i < persists->count; i++) {
        at(persists, i)->last = nk_min_u64(at(persists, i)->last, first - 1);
    }
}
