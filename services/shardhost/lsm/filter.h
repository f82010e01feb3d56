#pragma once

/* A Bloom filter over the whole keys of one table.  Bytes on disk: FORMAT.md.
 *
 * All probes of a key fall into one 64-byte line, so that a test costs one cache miss; that takes a
 * little more room than the classical filter for the same rate (10 bits a key: about 1 %).
 *
 * Sources: Putze, Sanders, Singler, "Cache-, Hash- and Space-Efficient Bloom Filters", 2007. */

#include "common/base/buf.h"

#define LSM_FILTER_LINE_BYTES ((size_t)64)
#define LSM_FILTER_PROBES_MAX 16

/* The hash that filters are made of. */
uint64_t lsm_filter_hash(struct nk_bytes key);

/* Appends the filter of `count` (> 0) hashes to `out`. */
void lsm_filter_build(const uint64_t *hashes, size_t count, uint32_t bits_per_key,
                      struct nk_buf *out);

/* False: no such key was added.  A filter that makes no sense lets everything through. */
bool lsm_filter_may_contain(struct nk_bytes filter, uint64_t hash);
