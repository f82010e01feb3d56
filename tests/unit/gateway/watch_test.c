/* Subscribers of the cluster view. */

#include <criterion/criterion.h>

#include "common/base/units.h"
#include "services/gateway/watch.h"

#include "nodes.h"

TestSuite(gateway_watch, .timeout = 10);

struct hearing {
    struct gateway_watch watch;
    size_t heard;
    size_t view_bytes; /* of the last view */
};

static void changed(struct gateway_watch *watch, struct nk_bytes view)
{
    struct hearing *hearing = NK_CONTAINER_OF(watch, struct hearing, watch);
    hearing->heard++;
    hearing->view_bytes = view.size;
}

static struct hearing hearing_since(uint64_t epoch)
{
    return (struct hearing){.watch = {.epoch = epoch, .changed = changed}};
}

Test(gateway_watch, a_watch_hears_every_view_above_what_it_knows)
{
    static const struct {
        uint64_t knows;
        size_t at_once; /* the current epoch is 100 */
        size_t after;   /* and then 101 */
    } cases[] = {{0, 1, 2}, {99, 1, 2}, {100, 0, 1}, {101, 0, 0}, {UINT64_MAX, 0, 0}};
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct gateway_watches watches;
        gateway_watches_init(&watches, 4);
        struct nk_cluster *cluster = nodes_single(2);
        gateway_watches_publish(&watches, cluster);
        struct hearing hearing = hearing_since(cases[i].knows);
        cr_assert_eq(gateway_watches_add(&watches, &hearing.watch), NK_OK);
        cr_expect_eq(hearing.heard, cases[i].at_once, "case %zu", i);
        nk_cluster_stamp(cluster, 50, 2, 101);
        gateway_watches_publish(&watches, cluster);
        cr_expect_eq(hearing.heard, cases[i].after, "case %zu", i);
        cr_expect_eq(hearing.view_bytes > 0, cases[i].after > 0, "case %zu", i);
        gateway_watches_publish(&watches, cluster); /* nothing new */
        cr_expect_eq(hearing.heard, cases[i].after, "case %zu", i);
        gateway_watches_remove(&watches, &hearing.watch);
        nk_cluster_free(&cluster);
        gateway_watches_deinit(&watches);
    }
}

Test(gateway_watch, before_anything_is_known_nobody_hears_anything)
{
    struct gateway_watches watches;
    gateway_watches_init(&watches, 4);
    struct hearing hearing = hearing_since(0);
    cr_assert_eq(gateway_watches_add(&watches, &hearing.watch), NK_OK);
    cr_expect_eq(hearing.heard, 0);
    struct nk_buf text = {0};
    nk_board_copy(&watches.view_json, &text);
    cr_expect(nk_bytes_equal(nk_buf_bytes(&text),
                             nk_bytes_of_string("{\"epoch\":0,\"nodes\":[],\"shards\":[]}\n")));
    nk_buf_clear(&text);
    nk_board_copy(&watches.targets_json, &text);
    cr_expect(nk_bytes_equal(nk_buf_bytes(&text), nk_bytes_of_string("[]\n")));
    nk_buf_deinit(&text);
    gateway_watches_remove(&watches, &hearing.watch);
    gateway_watches_deinit(&watches);
}

Test(gateway_watch, there_are_only_so_many)
{
    struct gateway_watches watches;
    gateway_watches_init(&watches, 2);
    struct hearing hearings[] = {hearing_since(0), hearing_since(0), hearing_since(0)};
    cr_expect_eq(gateway_watches_add(&watches, &hearings[0].watch), NK_OK);
    cr_expect_eq(gateway_watches_add(&watches, &hearings[1].watch), NK_OK);
    cr_expect_eq(gateway_watches_add(&watches, &hearings[2].watch), NK_BUSY);
    gateway_watches_remove(&watches, &hearings[0].watch);
    cr_expect_eq(gateway_watches_first(&watches), &hearings[1].watch);
    cr_expect_eq(gateway_watches_add(&watches, &hearings[2].watch), NK_OK);
    gateway_watches_remove(&watches, &hearings[1].watch);
    gateway_watches_remove(&watches, &hearings[2].watch);
    cr_expect_null(gateway_watches_first(&watches));
    gateway_watches_deinit(&watches);
}

Test(gateway_watch, one_that_left_hears_nothing_more)
{
    struct gateway_watches watches;
    gateway_watches_init(&watches, 2);
    struct hearing hearings[] = {hearing_since(0), hearing_since(0)};
    cr_assert_eq(gateway_watches_add(&watches, &hearings[0].watch), NK_OK);
    cr_assert_eq(gateway_watches_add(&watches, &hearings[1].watch), NK_OK);
    gateway_watches_remove(&watches, &hearings[0].watch);
    struct nk_cluster *cluster = nodes_single(2);
    gateway_watches_publish(&watches, cluster);
    cr_expect_eq(hearings[0].heard, 0);
    cr_expect_eq(hearings[1].heard, 1);
    gateway_watches_remove(&watches, &hearings[1].watch);
    nk_cluster_free(&cluster);
    gateway_watches_deinit(&watches);
}
