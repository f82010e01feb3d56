#pragma once

/* Majorities of a fixed set of voters. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline size_t raft_quorum_size(size_t voter_count)
{
    return voter_count / 2 + 1;
}

/* One bit a voter: do the set bits make a majority? */
bool raft_quorum_reached(uint32_t voters, size_t voter_count);

/* The largest number that a majority of `values` has reached.  1 <= count <= RAFT_VOTERS_MAX. */
uint64_t raft_quorum_value(const uint64_t *values, size_t count);
