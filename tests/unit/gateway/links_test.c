/* Links to shardhosts: batches, sessions, and what happens when a frame cannot be handed over. */

#include <criterion/criterion.h>

#include "common/base/alloc.h"
#include "common/base/limits.h"
#include "proto/norikv/internal/v1/shard.pb-c.h"
#include "services/gateway/links.h"
#include "tests/unit/stage/stage.h"

TestSuite(gateway_links, .timeout = 20);

typedef Norikv__Internal__V1__ShardRequests batch_message;

struct linking {
    struct stage stage;
    struct gateway_links links;
    struct gateway_inflight inflight;
    struct gateway_node node;
    size_t refused; /* how often, and with what */
    enum nk_err refused_err;
};

static void open_links(struct linking *linking)
{
    *linking = (struct linking){
        .node = {
            .node_id = "n1", .talk_address = "stage://n1", .session = 7, .state = NK_MEMBER_ALIVE}};
    stage_open(&linking->stage);
    gateway_links_init(&linking->links, &linking->stage.env);
    gateway_inflight_init(&linking->inflight, NK_GATEWAY_INFLIGHT_MAX,
                          NK_GATEWAY_INFLIGHT_BYTES_MAX);
}

static void drop_all(struct linking *linking)
{
    struct gateway_entry *entry;
    while ((entry = gateway_inflight_expired(&linking->inflight, UINT64_MAX)) != NULL) {
        gateway_inflight_remove(&linking->inflight, entry);
    }
}

static void close_links(struct linking *linking)
{
    drop_all(linking);
    gateway_links_deinit(&linking->links);
    gateway_inflight_deinit(&linking->inflight);
    stage_close(&linking->stage);
}

static struct gateway_entry *enqueue(struct linking *linking, struct gateway_request *request,
                                     uint64_t deadline_us)
{
    struct gateway_entry *entry;
    cr_assert_eq(gateway_inflight_add(&linking->inflight, request, deadline_us, &entry), NK_OK);
    entry->shard = 3;
    gateway_link_enqueue(&linking->links, &linking->inflight, 0, entry);
    return entry;
}

/* Takes off what was refused, as it must. */
static void refused(void *ctx, uint32_t number, enum nk_err err)
{
    struct linking *linking = ctx;
    cr_expect_eq(number, 0);
    linking->refused++;
    linking->refused_err = err;
    struct nk_list *unsent = &linking->links.links[0].unsent;
    while (!nk_list_empty(unsent)) {
        gateway_inflight_remove(&linking->inflight,
                                NK_CONTAINER_OF(unsent->next, struct gateway_entry, place));
    }
}

static void flush(struct linking *linking)
{
    gateway_links_flush(&linking->links, &linking->inflight, linking->stage.now_us, refused,
                        linking);
}

static const batch_message *sent_batch(struct linking *linking)
{
    return (const batch_message *)stage_sent(&linking->stage, NK_FRAME_SHARD_REQUESTS);
}

Test(gateway_links, a_burst_leaves_as_one_frame_meant_for_one_incarnation)
{
    struct linking linking;
    open_links(&linking);
    cr_expect(gateway_link_follow(&linking.links, 0, &linking.node)); /* from nobody to it */
    struct gateway_request requests[3] = {
        {.op = GATEWAY_OP_PUT, .message = nk_bytes_of_string("put")},
        {.op = GATEWAY_OP_GET, .message = nk_bytes_of_string("get")},
        {.op = GATEWAY_OP_DELETE, .message = nk_bytes_of_string("del")},
    };
    struct gateway_entry *entries[3];
    static const uint64_t left_us[] = {5000, 5001, 1};
    for (size_t i = 0; i < NK_COUNT_OF(requests); i++) {
        entries[i] = enqueue(&linking, &requests[i], linking.stage.now_us + left_us[i]);
        cr_expect_eq(entries[i]->state, GATEWAY_ENTRY_UNSENT);
    }
    cr_expect_eq(linking.stage.frame_count, 0);
    flush(&linking);
    cr_assert_eq(linking.stage.frame_count, 1);
    const batch_message *batch = sent_batch(&linking);
    cr_expect_eq(batch->session, 7);
    cr_assert_eq(batch->n_requests, 3);
    static const uint32_t timeouts_ms[] = {5, 6, 1}; /* never rounded to "too late" */
    for (size_t i = 0; i < NK_COUNT_OF(requests); i++) {
        cr_expect_eq(batch->requests[i]->id, entries[i]->id, "request %zu", i);
        cr_expect_eq(batch->requests[i]->shard, 3, "request %zu", i);
        cr_expect_eq((int)batch->requests[i]->op, (int)requests[i].op, "request %zu", i);
        cr_expect_eq(batch->requests[i]->timeout_ms, timeouts_ms[i], "request %zu", i);
        cr_expect_eq(batch->requests[i]->request.len, 3, "request %zu", i);
        cr_expect_eq(entries[i]->state, GATEWAY_ENTRY_SENT, "request %zu", i);
        cr_expect_eq(entries[i]->session, 7, "request %zu", i);
    }
    flush(&linking); /* nothing new */
    cr_expect_eq(linking.stage.frame_count, 1);
    close_links(&linking);
}

Test(gateway_links, large_requests_take_several_frames_within_their_limit)
{
    struct linking linking;
    open_links(&linking);
    (void)gateway_link_follow(&linking.links, 0, &linking.node);
    size_t sizes[] = {NK_FRAME_BYTES_SOFT / 2, NK_FRAME_BYTES_SOFT / 2, 1, NK_REQUEST_BYTES_MAX, 1};
    struct gateway_request requests[NK_COUNT_OF(sizes)];
    uint8_t *bytes = nk_alloc_zero(1, NK_REQUEST_BYTES_MAX);
    for (size_t i = 0; i < NK_COUNT_OF(sizes); i++) {
        requests[i] =
            (struct gateway_request){.op = GATEWAY_OP_PUT, .message = nk_bytes_of(bytes, sizes[i])};
        (void)enqueue(&linking, &requests[i], UINT64_MAX);
    }
    flush(&linking);
    static const size_t counts[] = {1, 2, 1, 1};
    cr_assert_eq(linking.stage.frame_count, NK_COUNT_OF(counts));
    for (size_t i = 0; i < NK_COUNT_OF(counts); i++) {
        const batch_message *batch =
            (const batch_message *)stage_message(&linking.stage, &linking.stage.frames[i]);
        cr_expect_eq(batch->n_requests, counts[i], "frame %zu", i);
        cr_expect_leq(linking.stage.frames[i].bytes.size, NK_FRAME_BYTES_MAX, "frame %zu", i);
        cr_expect_eq(batch->requests[0]->timeout_ms, UINT32_MAX, "frame %zu", i);
    }
    close_links(&linking);
    nk_free(bytes);
}

Test(gateway_links, very_many_small_requests_are_bounded_in_number)
{
    struct linking linking;
    open_links(&linking);
    (void)gateway_link_follow(&linking.links, 0, &linking.node);
    static struct gateway_request requests[10000];
    for (size_t i = 0; i < NK_COUNT_OF(requests); i++) {
        requests[i] = (struct gateway_request){.op = GATEWAY_OP_GET};
        (void)enqueue(&linking, &requests[i], UINT64_MAX);
    }
    flush(&linking);
    cr_expect_eq(linking.stage.frame_count, 2);
    cr_expect_eq(sent_batch(&linking)->n_requests, 10000 - 8192);
    close_links(&linking);
}

Test(gateway_links, whatever_frame_is_refused_its_requests_stay_to_be_taken_off)
{
    static const enum nk_err errs[] = {NK_BUSY, NK_UNAVAILABLE};
    for (uint64_t nth = 1; nth <= 3; nth++) {
        struct linking linking;
        open_links(&linking);
        (void)gateway_link_follow(&linking.links, 0, &linking.node);
        struct gateway_request requests[3];
        uint8_t *bytes = nk_alloc_zero(1, NK_FRAME_BYTES_SOFT);
        for (size_t i = 0; i < NK_COUNT_OF(requests); i++) { /* one frame each */
            requests[i] = (struct gateway_request){
                .op = GATEWAY_OP_PUT, .message = nk_bytes_of(bytes, NK_FRAME_BYTES_SOFT)};
            (void)enqueue(&linking, &requests[i], UINT64_MAX);
        }
        enum nk_err err = errs[nth % 2];
        stage_fail(&linking.stage, STAGE_NET_SEND, nth, err);
        flush(&linking);
        cr_expect_eq(linking.stage.frame_count, nth - 1);
        cr_expect_eq(linking.refused, 1, "frame %llu", (unsigned long long)nth);
        cr_expect_eq(linking.refused_err, err, "frame %llu", (unsigned long long)nth);
        cr_expect_eq(linking.inflight.count, nth - 1); /* those that had been sent */
        close_links(&linking);
        nk_free(bytes);
    }
}

Test(gateway_links, without_a_link_requests_are_refused_at_once)
{
    struct linking linking;
    open_links(&linking);
    stage_fail(&linking.stage, STAGE_NET_OPEN, 1, NK_BUSY);
    (void)gateway_link_follow(&linking.links, 0, &linking.node);
    cr_expect_eq(linking.stage.log_counts[NK_LOG_WARN], 1);
    struct gateway_request request = {.op = GATEWAY_OP_GET};
    (void)enqueue(&linking, &request, UINT64_MAX);
    flush(&linking);
    cr_expect_eq(linking.refused_err, NK_UNAVAILABLE);
    (void)gateway_link_follow(&linking.links, 0, &linking.node); /* the next update tries again */
    (void)enqueue(&linking, &request, UINT64_MAX);
    flush(&linking);
    cr_expect_eq(linking.refused, 1);
    cr_expect_eq(linking.stage.frame_count, 1);
    close_links(&linking);
}

Test(gateway_links, a_link_follows_its_node)
{
    static const struct {
        uint64_t session;
        const char *address;
        enum nk_member_state state;
        bool lost;
        bool open;
    } cases[] = {
        {7, "stage://n1", NK_MEMBER_ALIVE, false, true},
        {7, "stage://n1", NK_MEMBER_SUSPECT, false, true},
        {7, "stage://new", NK_MEMBER_ALIVE, false, true}, /* moved, the same process */
        {8, "stage://n1", NK_MEMBER_ALIVE, true, true},
        {7, "stage://n1", NK_MEMBER_FAILED, true, true},
        {0, "stage://n1", NK_MEMBER_FAILED, true, false}, /* not listed any more */
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct linking linking;
        open_links(&linking);
        (void)gateway_link_follow(&linking.links, 0, &linking.node);
        struct gateway_node next = linking.node;
        next.session = cases[i].session;
        next.state = cases[i].state;
        memset(next.talk_address, 0, sizeof next.talk_address);
        memcpy(next.talk_address, cases[i].address, strlen(cases[i].address));
        cr_expect_eq(gateway_link_follow(&linking.links, 0, &next), cases[i].lost, "case %zu", i);
        cr_expect_eq(stage_link(&linking.stage, cases[i].address) != NULL, cases[i].open,
                     "case %zu", i);
        size_t open_count = 0;
        for (size_t j = 0; j < linking.stage.link_count; j++) {
            open_count += linking.stage.links[j].open ? 1 : 0;
        }
        cr_expect_eq(open_count, cases[i].open ? 1 : 0, "case %zu", i);
        close_links(&linking);
    }
}

Test(gateway_links, a_cancelled_request_is_named_in_the_next_batch_to_who_has_it)
{
    struct linking linking;
    open_links(&linking);
    (void)gateway_link_follow(&linking.links, 0, &linking.node);
    struct gateway_request sent = {.op = GATEWAY_OP_GET};
    struct gateway_request unsent = {.op = GATEWAY_OP_GET};
    struct gateway_entry *entry = enqueue(&linking, &sent, UINT64_MAX);
    flush(&linking);
    uint64_t id = entry->id;
    gateway_link_cancel(&linking.links, entry);
    gateway_inflight_remove(&linking.inflight, entry);
    entry = enqueue(&linking, &unsent, UINT64_MAX);
    gateway_link_cancel(&linking.links, entry); /* nobody has it yet */
    gateway_inflight_remove(&linking.inflight, entry);
    flush(&linking);
    const batch_message *batch = sent_batch(&linking);
    cr_expect_eq(batch->n_requests, 0);
    cr_assert_eq(batch->n_cancelled, 1);
    cr_expect_eq(batch->cancelled[0], id);
    close_links(&linking);
}

Test(gateway_links, a_new_incarnation_hears_nothing_of_what_its_predecessor_had)
{
    struct linking linking;
    open_links(&linking);
    (void)gateway_link_follow(&linking.links, 0, &linking.node);
    struct gateway_request requests[2] = {{.op = GATEWAY_OP_GET}, {.op = GATEWAY_OP_GET}};
    struct gateway_entry *first = enqueue(&linking, &requests[0], UINT64_MAX);
    struct gateway_entry *second = enqueue(&linking, &requests[1], UINT64_MAX);
    flush(&linking);
    gateway_link_cancel(&linking.links, first);
    linking.node.session = 8;
    cr_expect(gateway_link_follow(&linking.links, 0, &linking.node));
    gateway_link_cancel(&linking.links, second); /* session 7 had it */
    stage_forget_sent(&linking.stage);
    flush(&linking);
    cr_expect_eq(linking.stage.frame_count, 0);
    close_links(&linking);
}
