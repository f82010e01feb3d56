/* Subscribers of the cluster view.  Each comes back after its gateway has died, with the epoch that
 * it has, and must never hear of one that is not above it. */

#include "proto/norikv/v1/meta.pb-c.h"
#include "tests/sim/workload.h"

/* Two views of one epoch are the same view, whoever tells it. */
static void check_epoch(struct watcher *watcher, uint64_t epoch, struct nk_bytes view)
{
    struct sim_world *world = watcher->world;
    if (epoch <= watcher->epoch_seen || epoch != watcher->watch.epoch) {
        sim_fail(world, SIM_CHECK_VIEW, "a subscriber of epoch %llu was told epoch %llu",
                 (unsigned long long)watcher->epoch_seen, (unsigned long long)epoch);
    }
    uintptr_t hash = (uintptr_t)nk_xxh64(view, 0) | 1;
    void *before = nk_map_put(&world->workload->views, nk_map_key_u64(&epoch), (void *)hash);
    if (before != NULL && (uintptr_t)before != hash) {
        sim_fail(world, SIM_CHECK_VIEW, "two views have the epoch %llu", (unsigned long long)epoch);
    }
}

static bool shard_has_leader(const Norikv__V1__ShardInfo *shard)
{
    for (size_t i = 0; i < shard->n_replicas; i++) {
        if (shard->replicas[i]->leader) {
            return true;
        }
    }
    return false;
}

static void changed(struct gateway_watch *watch, struct nk_bytes bytes)
{
    struct watcher *watcher = NK_CONTAINER_OF(watch, struct watcher, watch);
    struct sim_world *world = watcher->world;
    Norikv__V1__ClusterView *view = norikv__v1__cluster_view__unpack(NULL, bytes.size, bytes.data);
    if (view == NULL) {
        sim_fail(world, SIM_CHECK_VIEW, "a view is no ClusterView");
        return;
    }
    sim_trace(world, "view", "", view->epoch);
    check_epoch(watcher, view->epoch, bytes);
    watcher->epoch_seen = view->epoch;
    watcher->leads = view->n_nodes == 1 && strcmp(view->nodes[0]->id, "node0") == 0 &&
                     strcmp(view->nodes[0]->role, "leader") == 0 &&
                     strcmp(view->nodes[0]->addr, "127.0.0.1:7447") == 0;
    watcher->shards_led = 0;
    for (size_t i = 0; i < view->n_shards; i++) {
        watcher->shards_led += shard_has_leader(view->shards[i]);
    }
    norikv__v1__cluster_view__free_unpacked(view, NULL);
}

static void again_in(struct watcher *watcher, uint64_t us)
{
    sim_at(watcher->world, watcher->world->now_us + us, &watcher->event);
}

static void closed(struct gateway_watch *watch, enum nk_err err)
{
    struct watcher *watcher = NK_CONTAINER_OF(watch, struct watcher, watch);
    watcher->open = false;
    if (!watcher->world->ending) {
        sim_trace(watcher->world, "unwatch", nk_err_name(err), 0);
        again_in(watcher, 20 * NK_US_PER_MS);
    }
}

static const uint64_t stays_us_max = 2 * NK_US_PER_SEC;

static void subscribe(struct watcher *watcher)
{
    struct sim_world *world = watcher->world;
    struct sim_process *gateway = &world->processes[SIM_GATEWAY];
    if (gateway->role == NULL) {
        again_in(watcher, 20 * NK_US_PER_MS);
        return;
    }
    watcher->open = true;
    watcher->watch =
        (struct gateway_watch){.epoch = watcher->epoch_seen, .changed = changed, .closed = closed};
    gateway_watch_open(gateway->role, &watcher->watch);
    if (!world->workload->settling) {
        again_in(watcher, nk_prng_below(&world->prng_clients, stays_us_max));
    }
}

static void watcher_fire(struct sim_event *event)
{
    struct watcher *watcher = NK_CONTAINER_OF(event, struct watcher, event);
    struct sim_world *world = watcher->world;
    struct sim_process *gateway = &world->processes[SIM_GATEWAY];
    if (world->ending) {
        return;
    }
    if (!watcher->open) {
        subscribe(watcher);
    } else if (!world->workload->settling && gateway->role != NULL) {
        gateway_watch_close(gateway->role, &watcher->watch);
    }
}

void watcher_open(struct sim_world *world, size_t number)
{
    struct watcher *watcher = &world->workload->watchers[number];
    watcher->world = world;
    watcher->event.name = "watcher";
    watcher->event.fire = watcher_fire;
    again_in(watcher, nk_prng_below(&world->prng_clients, NK_US_PER_SEC));
}

void watcher_close(struct watcher *watcher)
{
    sim_cancel(watcher->world, &watcher->event);
}

bool sim_watchers_quiet(struct sim_world *world, struct nk_text *reason)
{
    const struct sim_workload *workload = world->workload;
    size_t used = 0;
    for (uint32_t i = 0; i < world->config.cluster.total_shards; i++) {
        for (size_t key = 0; key < workload->key_count; key++) {
            if (workload->keys[key].shard == i) {
                used++;
                break;
            }
        }
    }
    for (size_t i = 0; i < workload->watcher_count; i++) {
        const struct watcher *watcher = &workload->watchers[i];
        if (!watcher->open || !watcher->leads || watcher->shards_led < used) {
            nk_text_add(reason, "the cluster view shows ");
            nk_text_add_u64(reason, watcher->shards_led);
            nk_text_add(reason, " shards with a leader, ");
            nk_text_add_u64(reason, used);
            nk_text_add(reason, watcher->leads ? " are used" : " are used, and no leading node");
            return false;
        }
    }
    return true;
}
