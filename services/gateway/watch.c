#include "services/gateway/watch.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"

struct watch_place {
    struct nk_list list;
    struct gateway_watch *watch;
};

static void tell(struct gateway_watches *watches, struct gateway_watch *watch);
static void show_texts(struct gateway_watches *watches, const struct nk_cluster *cluster);

void gateway_watches_init(struct gateway_watches *watches, size_t count_max)
{
    *watches = (struct gateway_watches){.count_max = count_max};
    nk_list_init(&watches->places);
    nk_board_init(&watches->view_json);
    nk_board_init(&watches->targets_json);
    struct nk_cluster *nothing = NULL; /* until something is known, that is what is shown */
    nk_cluster_new(&nothing);
    show_texts(watches, nothing);
    nk_cluster_free(&nothing);
}

void gateway_watches_deinit(struct gateway_watches *watches)
{
    NK_ASSERT(watches->count == 0);
    nk_board_deinit(&watches->view_json);
    nk_board_deinit(&watches->targets_json);
    nk_buf_deinit(&watches->view);
    nk_buf_deinit(&watches->scratch);
}

enum nk_err gateway_watches_add(struct gateway_watches *watches, struct gateway_watch *watch)
{
    if (watches->count == watches->count_max) {
        return NK_BUSY;
    }
    struct watch_place *place = nk_alloc(sizeof *place);
    place->watch = watch;
    nk_list_init(&place->list);
    nk_list_append(&watches->places, &place->list);
    watch->place = place;
    watches->count++;
    tell(watches, watch);
    return NK_OK;
}

void gateway_watches_remove(struct gateway_watches *watches, struct gateway_watch *watch)
{
    struct watch_place *place = watch->place;
    NK_ASSERT(place != NULL);
    NK_ASSERT(watches->count > 0);
    nk_list_remove(&place->list);
    nk_free(place);
    watch->place = NULL;
    watches->count--;
}

struct gateway_watch *gateway_watches_first(const struct gateway_watches *watches)
{
    if (nk_list_empty(&watches->places)) {
        return NULL;
    }
    return NK_CONTAINER_OF(watches->places.next, struct watch_place, list)->watch;
}

void gateway_watches_publish(struct gateway_watches *watches, const struct nk_cluster *cluster)
{
    watches->epoch = nk_cluster_epoch(cluster);
    nk_buf_clear(&watches->view);
    nk_cluster_view_pack(cluster, &watches->view);
    show_texts(watches, cluster);
    for (struct nk_list *node = watches->places.next; node != &watches->places; node = node->next) {
        tell(watches, NK_CONTAINER_OF(node, struct watch_place, list)->watch);
    }
}

/* A watch that knows a later epoch from another gateway hears nothing until ours has passed it. */
static void tell(struct gateway_watches *watches, struct gateway_watch *watch)
{
    if (watches->epoch > watch->epoch) {
        watch->epoch = watches->epoch;
        watch->changed(watch, nk_buf_bytes(&watches->view));
    }
}

static void show_texts(struct gateway_watches *watches, const struct nk_cluster *cluster)
{
    nk_buf_clear(&watches->scratch);
    nk_cluster_view_json(cluster, &watches->scratch);
    nk_board_show(&watches->view_json, nk_buf_bytes(&watches->scratch));
    nk_buf_clear(&watches->scratch);
    nk_cluster_targets_json(cluster, &watches->scratch);
    nk_board_show(&watches->targets_json, nk_buf_bytes(&watches->scratch));
}
