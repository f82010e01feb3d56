#pragma once

/* The bytes of one simulated file: what readers see, and what a power loss may leave of it. Private
 * to tests/sim/fs.c.
 *
 * `bytes` is what readers see.  A sector that was changed since the last sync is in `dirty` with
 * its promised contents; every other sector is promised as it is.  Invariants:
 * bytes[size..capacity) are zero; capacity is a multiple of the sector. */

#include "common/base/bytes.h"
#include "common/base/prng.h"

#define SIM_SECTOR_BYTES ((size_t)512)

struct sim_sector {
    size_t number;
    bool stuck; /* a sync of it failed: later syncs claim success and promise nothing */
    uint8_t promised[SIM_SECTOR_BYTES]; /* zero where the promised file had ended */
};

struct sim_data {
    uint8_t *bytes;
    size_t size;
    size_t capacity;
    size_t size_promised;
    struct sim_sector *dirty; /* in the order in which they were first changed */
    size_t dirty_count;
    size_t dirty_capacity;
    uint32_t *dirty_places; /* per sector of `bytes`: 1 + its place in `dirty`, 0 clean */
};

/* Which of a number of changes, in their order, happened although they were not promised: none,
 * all, a prefix, all but a run (as when pages are written back out of order), or each on its own.
 */
struct sim_survivors {
    bool each; /* else: those in [first, limit) if `inside`, or those that are not */
    bool inside;
    size_t first;
    size_t limit;
};

struct sim_survivors sim_survivors_draw(size_t count, struct nk_prng *prng);
bool sim_survives(const struct sim_survivors *survivors, size_t i, struct nk_prng *prng);

void sim_data_init(struct sim_data *data);
void sim_data_deinit(struct sim_data *data);

void sim_data_write(struct sim_data *data, uint64_t offset, struct nk_bytes bytes);
void sim_data_resize(struct sim_data *data, uint64_t size);
void sim_data_sync(struct sim_data *data);

/* A write that failed: an arbitrary part of it happened. */
void sim_data_write_broken(struct sim_data *data, uint64_t offset, struct nk_bytes bytes,
                           struct nk_prng *prng);

/* A sync that failed: an arbitrary part is promised, and the rest never will be by a later sync
 * unless it is written again. */
void sim_data_sync_broken(struct sim_data *data, struct nk_prng *prng);

/* A fault at rest: readers see it, and it is promised. */
void sim_data_flip(struct sim_data *data, uint64_t offset, uint8_t mask);

/* Power loss: what is left is what is promised from then on. */
void sim_data_crash(struct sim_data *data, struct nk_prng *prng);
