#include "services/gateway/links.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/limits.h"
#include "proto/frame.h"
#include "proto/norikv/internal/v1/shard.pb-c.h"

/* One frame never names more: a batch of tiny requests stays below the soft limit anyway. */
#define BATCH_REQUESTS_MAX     ((size_t)8192)
/* What a request costs in a frame besides its payload, at most. */
#define REQUEST_OVERHEAD_BYTES ((size_t)32)

typedef Norikv__Internal__V1__ShardRequest shard_request;

static_assert((int)GATEWAY_OP_PUT == NORIKV__INTERNAL__V1__SHARD_OP__SHARD_OP_PUT, "ops travel");
static_assert((int)GATEWAY_OP_GET == NORIKV__INTERNAL__V1__SHARD_OP__SHARD_OP_GET, "ops travel");
static_assert((int)GATEWAY_OP_DELETE == NORIKV__INTERNAL__V1__SHARD_OP__SHARD_OP_DELETE,
              "ops travel");
static_assert((int)GATEWAY_OP_PROBE == NORIKV__INTERNAL__V1__SHARD_OP__SHARD_OP_PROBE,
              "ops travel");

static enum nk_err send_batch(struct gateway_links *links, struct gateway_link *link,
                              struct gateway_inflight *inflight, uint64_t now_us);
static size_t gather(struct gateway_links *links, const struct gateway_link *link, uint64_t now_us);
static void mark_dirty(struct gateway_links *links, struct gateway_link *link);

void gateway_links_init(struct gateway_links *links, const struct nk_env *env)
{
    *links = (struct gateway_links){
        .env = env,
        .links = nk_alloc_zero(NK_MEMBERS_MAX, sizeof *links->links),
    };
    nk_list_init(&links->dirty);
    for (size_t i = 0; i < NK_MEMBERS_MAX; i++) {
        nk_list_init(&links->links[i].unsent);
        nk_list_init(&links->links[i].sent);
        nk_list_init(&links->links[i].dirty);
    }
}

void gateway_links_deinit(struct gateway_links *links)
{
    for (size_t i = 0; i < NK_MEMBERS_MAX; i++) {
        struct gateway_link *link = &links->links[i];
        NK_ASSERT(nk_list_empty(&link->unsent));
        NK_ASSERT(nk_list_empty(&link->sent));
        links->env->net.ops->close(links->env->net.ctx, link->peer);
        nk_buf_deinit(&link->cancelled);
    }
    nk_buf_deinit(&links->frame);
    nk_buf_deinit(&links->scratch);
    nk_free(links->links);
    links->links = NULL;
}

bool gateway_link_follow(struct gateway_links *links, uint32_t number,
                         const struct gateway_node *node)
{
    struct gateway_link *link = &links->links[number];
    const struct nk_net *net = &links->env->net;
    if (link->peer != 0 && (node->session == 0 || strcmp(link->address, node->talk_address) != 0)) {
        net->ops->close(net->ctx, link->peer);
        link->peer = 0;
    }
    if (link->peer == 0 && node->session != 0) {
        memcpy(link->address, node->talk_address, sizeof link->address);
        enum nk_err err = net->ops->open(net->ctx, link->address, NK_LINK_TALK, &link->peer);
        if (err != NK_OK) {
            link->peer = 0;
            nk_log_warn(&links->env->log, "gateway.links", "cannot open a link to a shardhost",
                        NK_LOG_TEXT("node_id", node->node_id),
                        NK_LOG_TEXT("address", link->address),
                        NK_LOG_TEXT("reason", nk_err_name(err)));
        }
    }
    bool lost = link->session != node->session || node->state == NK_MEMBER_FAILED;
    if (lost) {
        nk_buf_clear(&link->cancelled);
    }
    link->session = node->session;
    return lost;
}

void gateway_link_enqueue(struct gateway_links *links, struct gateway_inflight *inflight,
                          uint32_t number, struct gateway_entry *entry)
{
    struct gateway_link *link = &links->links[number];
    entry->target = number;
    gateway_inflight_move(inflight, entry, GATEWAY_ENTRY_UNSENT, &link->unsent);
    mark_dirty(links, link);
}

void gateway_link_cancel(struct gateway_links *links, const struct gateway_entry *entry)
{
    struct gateway_link *link = &links->links[entry->target];
    if (entry->state == GATEWAY_ENTRY_SENT && entry->session == link->session &&
        link->cancelled.size < BATCH_REQUESTS_MAX * sizeof entry->id) {
        nk_buf_append(&link->cancelled, nk_map_key_u64(&entry->id));
        mark_dirty(links, link);
    }
}

void gateway_links_flush(struct gateway_links *links, struct gateway_inflight *inflight,
                         uint64_t now_us,
                         void (*refused)(void *ctx, uint32_t number, enum nk_err err), void *ctx)
{
    while (!nk_list_empty(&links->dirty)) {
        struct gateway_link *link = NK_CONTAINER_OF(links->dirty.next, struct gateway_link, dirty);
        nk_list_remove(&link->dirty);
        enum nk_err err = NK_OK;
        while (err == NK_OK && (!nk_list_empty(&link->unsent) || link->cancelled.size > 0)) {
            err = send_batch(links, link, inflight, now_us);
        }
        if (err != NK_OK) {
            nk_buf_clear(&link->cancelled); /* they only spare the shardhost work */
            refused(ctx, (uint32_t)(link - links->links), err);
            NK_ASSERT(nk_list_empty(&link->unsent));
        }
    }
}

static enum nk_err send_batch(struct gateway_links *links, struct gateway_link *link,
                              struct gateway_inflight *inflight, uint64_t now_us)
{
    if (link->peer == 0) {
        return NK_UNAVAILABLE;
    }
    size_t count = gather(links, link, now_us);
    shard_request *requests = (shard_request *)(void *)links->scratch.data;
    shard_request **pointers = (shard_request **)(void *)(requests + count);
    for (size_t i = 0; i < count; i++) {
        pointers[i] = &requests[i];
    }
    Norikv__Internal__V1__ShardRequests batch = NORIKV__INTERNAL__V1__SHARD_REQUESTS__INIT;
    batch.session = link->session;
    batch.requests = pointers;
    batch.n_requests = count;
    batch.cancelled = (uint64_t *)(void *)link->cancelled.data;
    batch.n_cancelled = link->cancelled.size / sizeof(uint64_t);
    nk_buf_clear(&links->frame);
    nk_frame_pack(&links->frame, NK_FRAME_SHARD_REQUESTS, &batch.base);
    const struct nk_net *net = &links->env->net;
    enum nk_err err = net->ops->send(net->ctx, link->peer, nk_buf_bytes(&links->frame));
    if (err != NK_OK) {
        return err;
    }
    nk_buf_clear(&link->cancelled);
    for (size_t i = 0; i < count; i++) {
        struct gateway_entry *entry =
            NK_CONTAINER_OF(link->unsent.next, struct gateway_entry, place);
        entry->session = link->session;
        gateway_inflight_move(inflight, entry, GATEWAY_ENTRY_SENT, &link->sent);
    }
    return NK_OK;
}

/* Fills `scratch` with the messages of the next batch, room for as many pointers behind them;
 * returns how many. */
static size_t gather(struct gateway_links *links, const struct gateway_link *link, uint64_t now_us)
{
    size_t count = 0;
    size_t bytes = 0;
    nk_buf_clear(&links->scratch);
    for (const struct nk_list *node = link->unsent.next;
         node != &link->unsent && count < BATCH_REQUESTS_MAX; node = node->next) {
        const struct gateway_entry *entry = NK_CONTAINER_OF(node, struct gateway_entry, place);
        struct nk_bytes message = entry->request->message;
        bytes += message.size + REQUEST_OVERHEAD_BYTES;
        if (count > 0 && bytes > NK_FRAME_BYTES_SOFT) {
            break;
        }
        shard_request request = NORIKV__INTERNAL__V1__SHARD_REQUEST__INIT;
        request.id = entry->id;
        request.shard = entry->shard;
        request.op = (Norikv__Internal__V1__ShardOp)entry->request->op;
        request.request.data = (uint8_t *)message.data;
        request.request.len = message.size;
        uint64_t left_us = entry->deadline.order > now_us ? entry->deadline.order - now_us : 0;
        request.timeout_ms = /* rounded up: 0 would mean "too late" */
            (uint32_t)nk_min_u64((left_us + NK_US_PER_MS - 1) / NK_US_PER_MS, UINT32_MAX);
        nk_buf_append(&links->scratch, nk_bytes_of(&request, sizeof request));
        count++;
    }
    nk_buf_reserve(&links->scratch, count * sizeof(shard_request *));
    return count;
}

static void mark_dirty(struct gateway_links *links, struct gateway_link *link)
{
    if (!nk_list_linked(&link->dirty)) {
        nk_list_append(&links->dirty, &link->dirty);
    }
}
