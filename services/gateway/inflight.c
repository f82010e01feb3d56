#include "services/gateway/inflight.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/units.h"
#include "services/gateway/router.h"

/* An id is generation << 32 | slot; generations start at 1, so no id is 0. */
#define GENERATION_ONE ((uint64_t)1 << 32)

void gateway_inflight_init(struct gateway_inflight *inflight, size_t count_max, size_t bytes_max)
{
    NK_ASSERT(count_max > 0);
    NK_ASSERT(count_max < UINT32_MAX);
    *inflight = (struct gateway_inflight){
        .entries = nk_alloc_zero(count_max + 1, sizeof *inflight->entries),
        .capacity = count_max,
        .bytes_max = bytes_max,
    };
    nk_list_init(&inflight->unused);
    for (size_t i = 0; i <= count_max; i++) {
        struct gateway_entry *entry = &inflight->entries[i];
        entry->id = GENERATION_ONE | i;
        nk_list_init(&entry->place);
        nk_list_append(&inflight->unused, &entry->place);
    }
    nk_heap_init(&inflight->deadlines);
    nk_heap_init(&inflight->retries);
}

void gateway_inflight_deinit(struct gateway_inflight *inflight)
{
    NK_ASSERT(inflight->count == 0);
    NK_ASSERT(inflight->bytes == 0);
    nk_heap_deinit(&inflight->deadlines);
    nk_heap_deinit(&inflight->retries);
    nk_free(inflight->entries);
    inflight->entries = NULL;
}

enum nk_err gateway_inflight_add(struct gateway_inflight *inflight, struct gateway_request *request,
                                 uint64_t deadline_us, struct gateway_entry **out_entry)
{
    bool probe = request->op == GATEWAY_OP_PROBE;
    size_t others = inflight->count - (inflight->has_probe ? 1 : 0);
    if (probe) {
        NK_ASSERT(!inflight->has_probe);
    } else if (others == inflight->capacity ||
               request->message.size > inflight->bytes_max - inflight->bytes) {
        return NK_BUSY;
    }
    inflight->has_probe = inflight->has_probe || probe;
    /* The newest free slot first: its memory is still warm. */
    struct gateway_entry *entry =
        NK_CONTAINER_OF(inflight->unused.next, struct gateway_entry, place);
    NK_ASSERT(entry->state == GATEWAY_ENTRY_FREE);
    nk_list_remove(&entry->place);
    entry->state = GATEWAY_ENTRY_WAITING;
    entry->request = request;
    entry->hint = GATEWAY_NODE_NONE;
    entry->attempt_count = 0;
    entry->last_err = NK_OK;
    entry->has_idempotency_key = false;
    entry->maybe_done = false;
    entry->deadline.order = deadline_us;
    nk_heap_push(&inflight->deadlines, &entry->deadline);
    inflight->count++;
    inflight->bytes += request->message.size;
    request->entry = entry;
    *out_entry = entry;
    return NK_OK;
}

struct gateway_entry *gateway_inflight_find(struct gateway_inflight *inflight, uint64_t id)
{
    uint64_t slot = id & (GENERATION_ONE - 1);
    if (slot > inflight->capacity) {
        return NULL;
    }
    struct gateway_entry *entry = &inflight->entries[slot];
    return entry->id == id && entry->state != GATEWAY_ENTRY_FREE ? entry : NULL;
}

void gateway_inflight_remove(struct gateway_inflight *inflight, struct gateway_entry *entry)
{
    NK_ASSERT(entry->state != GATEWAY_ENTRY_FREE);
    NK_ASSERT(inflight->count > 0);
    NK_ASSERT(inflight->bytes >= entry->request->message.size);
    inflight->count--;
    if (entry->request->op == GATEWAY_OP_PROBE) {
        inflight->has_probe = false;
    }
    inflight->bytes -= entry->request->message.size;
    nk_heap_remove(&inflight->deadlines, &entry->deadline);
    nk_heap_remove(&inflight->retries, &entry->retry);
    nk_list_remove(&entry->place);
    entry->request->entry = NULL;
    entry->request = NULL;
    entry->state = GATEWAY_ENTRY_FREE;
    entry->id += GENERATION_ONE;
    if (entry->id < GENERATION_ONE) {
        entry->id += GENERATION_ONE; /* generations wrap past 0 */
    }
    nk_list_prepend(&inflight->unused, &entry->place);
}

void gateway_inflight_wait(struct gateway_inflight *inflight, struct gateway_entry *entry,
                           uint64_t retry_us)
{
    NK_ASSERT(entry->state != GATEWAY_ENTRY_FREE);
    nk_list_remove(&entry->place);
    nk_heap_remove(&inflight->retries, &entry->retry);
    entry->state = GATEWAY_ENTRY_WAITING;
    entry->retry.order = retry_us;
    nk_heap_push(&inflight->retries, &entry->retry);
}

void gateway_inflight_move(struct gateway_inflight *inflight, struct gateway_entry *entry,
                           enum gateway_entry_state state, struct nk_list *list)
{
    NK_ASSERT(entry->state != GATEWAY_ENTRY_FREE);
    NK_ASSERT(state == GATEWAY_ENTRY_UNSENT || state == GATEWAY_ENTRY_SENT);
    nk_heap_remove(&inflight->retries, &entry->retry);
    nk_list_remove(&entry->place);
    nk_list_append(list, &entry->place);
    entry->state = state;
}

struct gateway_entry *gateway_inflight_expired(struct gateway_inflight *inflight, uint64_t now_us)
{
    struct nk_heap_node *node = nk_heap_peek(&inflight->deadlines);
    if (node == NULL || node->order > now_us) {
        return NULL;
    }
    return NK_CONTAINER_OF(node, struct gateway_entry, deadline);
}

struct gateway_entry *gateway_inflight_due(struct gateway_inflight *inflight, uint64_t now_us)
{
    struct nk_heap_node *node = nk_heap_peek(&inflight->retries);
    if (node == NULL || node->order > now_us) {
        return NULL;
    }
    return NK_CONTAINER_OF(node, struct gateway_entry, retry);
}

uint64_t gateway_inflight_next_us(const struct gateway_inflight *inflight)
{
    const struct nk_heap_node *deadline = nk_heap_peek(&inflight->deadlines);
    const struct nk_heap_node *retry = nk_heap_peek(&inflight->retries);
    uint64_t next_us = deadline != NULL ? deadline->order : UINT64_MAX;
    return retry != NULL ? nk_min_u64(next_us, retry->order) : next_us;
}
