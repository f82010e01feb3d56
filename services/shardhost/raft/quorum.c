/* Any two majorities of one set share a member (thesis 3.4): all safety rests on this. */

#include "quorum.h"

#include "common/base/assert.h"

#include "raft.h"

bool raft_quorum_reached(uint32_t voters, size_t voter_count)
{
    NK_ASSERT(voters >> voter_count == 0);
    size_t count = 0;
    for (uint32_t left = voters; left != 0; left &= left - 1) {
        count++;
    }
    return count >= raft_quorum_size(voter_count);
}

uint64_t raft_quorum_value(const uint64_t *values, size_t count)
{
    NK_ASSERT(count >= 1);
    NK_ASSERT(count <= RAFT_VOTERS_MAX);
    uint64_t descending[RAFT_VOTERS_MAX];
    for (size_t i = 0; i < count; i++) {
        size_t position = i;
        while (position > 0 && descending[position - 1] < values[i]) {
            descending[position] = descending[position - 1];
            position--;
        }
        descending[position] = values[i];
    }
    return descending[raft_quorum_size(count) - 1];
}
