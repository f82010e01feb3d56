/* What kind of world a seed is.  Each draws its own: in some the network is perfect and the disk
 * slow, in others nothing is reliable; probabilities that are the same everywhere never let two
 * rare things meet.  A few seeds have a subject: what it needs is made frequent. */

#include "tests/sim/sim.h"

/* A chance that is often none, mostly small, sometimes large. */
static uint32_t draw_chance(struct nk_prng *prng, uint32_t none, uint32_t most)
{
    if (nk_prng_chance(prng, none)) {
        return 0;
    }
    uint32_t limit = nk_prng_chance(prng, 250000) ? most : most / 10;
    return (uint32_t)nk_prng_below(prng, limit + 1);
}

static void draw_speeds(struct sim_world *world)
{
    struct sim_temper *temper = &world->temper;
    struct nk_prng *prng = &world->prng;
    temper->frame_us_max = nk_prng_between(prng, 30, nk_prng_chance(prng, 300000) ? 5000 : 400);
    temper->frame_slow = draw_chance(prng, 300000, 50000);
    temper->frame_slow_us = nk_prng_between(prng, 1, 400) * NK_US_PER_MS;
    temper->frame_lost = draw_chance(prng, 600000, 30000);
    temper->publication_lost = draw_chance(prng, 300000, 300000);
    temper->frame_waits = (uint32_t)nk_prng_below(prng, 1000000);
    temper->frame_waits_us = nk_prng_between(prng, 1, 3000) * NK_US_PER_MS;
    temper->queue_frames_max = nk_prng_chance(prng, 150000) ? nk_prng_between(prng, 2, 12) : 4096;
    temper->job_us_max = nk_prng_between(prng, 20, nk_prng_chance(prng, 300000) ? 20000 : 500);
    temper->job_slow = draw_chance(prng, 300000, 100000);
    temper->job_slow_us = nk_prng_between(prng, 1, 300) * NK_US_PER_MS;
    temper->lane_full = draw_chance(prng, 800000, 50000);
    temper->cut_at_start = draw_chance(prng, 600000, 500000);
    uint64_t subject = nk_prng_below(prng, 10);
    temper->clocks = subject == 0;
    temper->torn = subject == 1;
    temper->large = subject == 2;
    temper->rots = nk_prng_chance(prng, 150000);
}

/* Sizes are small, so that a short run flushes, rolls, recycles and merges. */
static void draw_settings(struct sim_world *world)
{
    struct nk_prng *prng = &world->prng;
    struct nk_config *config = &world->config;
    nk_config_defaults(config);
    config->node_id = "node0";
    config->data_dir = "simulated";
    static const uint32_t shards[] = {1, 2, 3, 8, 64, 1024};
    config->cluster.total_shards = shards[nk_prng_below(prng, NK_COUNT_OF(shards))];
    config->lsm.memtable_bytes = nk_prng_between(prng, 4, 32) * NK_KIB;
    if (world->temper.clocks) {
        config->cluster.total_shards = 1024; /* a write moves the time of its shard */
    } else if (world->temper.torn) {
        config->lsm.memtable_bytes = NK_MIB; /* most of what is written is the log */
    } else if (world->temper.large) {
        config->cluster.total_shards = 1;
        config->lsm.memtable_bytes = 4 * NK_KIB;
    }
    config->lsm.write_buffer_total_bytes =
        config->lsm.memtable_bytes * nk_prng_between(prng, 1, nk_prng_chance(prng, 500000) ? 2 : 8);
    if (world->temper.large) {
        config->lsm.table_bytes = nk_prng_between(prng, 1, 3) * NK_KIB;
        config->lsm.fanout = 2;
        config->lsm.max_levels = 7;
    }
    config->lsm.block_cache_bytes = nk_prng_between(prng, 1, 64) * NK_KIB;
    config->lsm.filter_bits_per_key = nk_prng_chance(prng, 200000) ? 0 : 10;
    config->lsm.compression = (enum nk_config_compression)nk_prng_below(prng, 3);
    config->raft.segment_bytes = nk_prng_between(prng, 4, 64) * NK_KIB;
    config->disk.reserve_bytes = nk_prng_chance(prng, 500000) ? 0 : 32 * NK_KIB;
    config->limits.max_value_bytes = 16 * NK_KIB;
    config->limits.request_timeout_ms = (uint32_t)nk_prng_between(prng, 50, 3000);
    config->limits.inflight_max = nk_prng_chance(prng, 100000) ? 3 : 1024;
    if (nk_prng_chance(prng, 300000)) {
        config->limits.idempotency_ttl_ms = nk_prng_between(prng, 200, 5000);
    }
    if (nk_prng_chance(prng, 300000)) {
        config->limits.idempotency_max_per_shard = (uint32_t)nk_prng_between(prng, 1, 24);
    }
    static const char *const gossip[] = {"sim://gossip"};
    config->bus.gossip_addrs.items = gossip;
    config->bus.gossip_addrs.count = 1;
}

void sim_temper_draw(struct sim_world *world)
{
    draw_speeds(world);
    draw_settings(world);
}
