#include "epoch.h"

#include "common/base/assert.h"
#include "common/base/codec.h"
#include "common/base/units.h"

#define COUNTER_BITS 12

/* A minute of changes between two durable writes. */
#define CEILING_STEP ((60 * NK_MS_PER_SEC) << COUNTER_BITS)

/* Far beyond any clock; what claims to be above it is garbage. */
#define EPOCH_MAX    ((uint64_t)1 << 62)

static const char meta_key[] = "epoch";

static uint64_t clock_of(uint64_t wall_ms)
{
    return nk_min_u64(wall_ms, EPOCH_MAX >> (COUNTER_BITS + 1)) << COUNTER_BITS;
}

enum nk_err gossip_epoch_open(struct gossip_epoch *epoch, const struct nk_meta *meta,
                              uint64_t wall_ms)
{
    *epoch = (struct gossip_epoch){.meta = meta};
    struct nk_buf value;
    nk_buf_init(&value);
    enum nk_err err = meta->ops->get(meta->ctx, nk_bytes_of_string(meta_key), &value);
    if (err == NK_OK) {
        if (value.size == 8 && nk_get_u64(value.data) <= EPOCH_MAX) {
            epoch->ceiling = nk_get_u64(value.data);
            epoch->last = epoch->ceiling;
        } else {
            /* No ceiling was further ahead of the clock of its time. */
            epoch->last = clock_of(wall_ms) + CEILING_STEP;
            epoch->guessed = true;
        }
    } else if (err == NK_NOT_FOUND) {
        err = NK_OK;
    }
    nk_buf_deinit(&value);
    return err;
}

bool gossip_epoch_seen(struct gossip_epoch *epoch, uint64_t seen)
{
    if (seen >= EPOCH_MAX - CEILING_STEP) {
        return false;
    }
    epoch->last = nk_max_u64(epoch->last, seen);
    return true;
}

static void store_ceiling(struct gossip_epoch *epoch)
{
    uint8_t value[8];
    nk_put_u64(value, epoch->last + CEILING_STEP);
    enum nk_err err = epoch->meta->ops->put(epoch->meta->ctx, nk_bytes_of_string(meta_key),
                                            nk_bytes_of(value, sizeof value));
    epoch->unsafe = err != NK_OK;
    if (err == NK_OK) {
        epoch->ceiling = epoch->last + CEILING_STEP;
    }
}

void gossip_epoch_mend(struct gossip_epoch *epoch)
{
    if (epoch->unsafe) {
        store_ceiling(epoch);
    }
}

uint64_t gossip_epoch_next(struct gossip_epoch *epoch, uint64_t wall_ms)
{
    epoch->last = nk_max_u64(epoch->last + 1, clock_of(wall_ms));
    if (epoch->last > epoch->ceiling) {
        store_ceiling(epoch);
    }
    if (!epoch->unsafe) {
        NK_ASSERT(epoch->last <= epoch->ceiling);
    }
    return epoch->last;
}
