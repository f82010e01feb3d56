/* What a command will look at, asked before it is proposed: an apply runs on the loop thread, and
 * what it finds in memory it need not read from the disk.
 *
 * A hint, no promise: the commands before it are not applied yet, so a session may have come or
 * gone by then, and what was cached may have made room for other blocks.  The apply decides by
 * itself and reads what it misses. */

#include "common/base/codec.h"
#include "common/base/units.h"
#include "services/shardhost/kv/kv.h"

#include "command.h"
#include "expire.h"
#include "session.h"
#include "state.h"

#define NAME_SIZE_BYTES ((size_t)2)
#define QUEUE_AHEAD     ((uint64_t)512) /* places; a round mostly has fewer commands */
#define QUEUE_STEP      16

static_assert(1 + NK_KEY_BYTES_MAX <= UINT16_MAX, "the size of a name fits");
static_assert(QUEUE_STEP * (NK_IDEMPOTENCY_KEY_BYTES_MAX + 64) < 4 * NK_KIB,
              "a block has more entries of the queue");

/* Notes the record if memory does not tell what it says.  A fault is left to those who read it. */
static enum nk_err look(struct kv *kv, const struct kv_key *key, struct lsm_entry *out_entry,
                        struct nk_buf *out_cold)
{
    enum nk_err err = lsm_get(kv->db, kv_key_bytes(key), LSM_MEMORY, out_entry, NULL);
    if (err != NK_OK && err != NK_NOT_FOUND) {
        nk_put_u16(nk_buf_extend(out_cold, NAME_SIZE_BYTES), (uint16_t)key->size);
        nk_buf_append(out_cold, kv_key_bytes(key));
    }
    return err;
}

static bool look_at_place(struct kv *kv, uint64_t place, struct nk_buf *out_cold)
{
    struct kv_key key;
    struct lsm_entry entry;
    kv_session_queue_key(&key, place);
    enum nk_err err = look(kv, &key, &entry, out_cold);
    return err == NK_OK || err == NK_NOT_FOUND;
}

/* The sessions that may leave for a new one, and for those that are proposed and not applied yet.
 * They lie side by side, so that memory has what is between two places near to each other, mostly
 * if it has these. */
static void look_at_queue(struct kv *kv, const struct kv_stamp *stamp, struct nk_buf *out_cold)
{
    struct kv_queue *queue = &kv->queue;
    uint64_t first = queue->first;
    if (queue->head_known) {
        if (queue->head_expire_at_ms > stamp->now_ms &&
            queue->next - queue->first < stamp->session_count_max) {
            return; /* none has to leave */
        }
        first++;
    }
    uint64_t limit = nk_min_u64(queue->next, first + QUEUE_AHEAD);
    if (first >= limit) {
        return;
    }
    (void)look_at_place(kv, first, out_cold); /* the cache may have given up what was seen */
    bool all = true;
    uint64_t place = nk_max_u64(first + 1, queue->seen);
    for (; place < limit; place += QUEUE_STEP) {
        all = look_at_place(kv, place, out_cold) && all;
        if (all) {
            queue->seen = place + QUEUE_STEP;
        }
    }
    uint64_t last = queue->next - 1; /* may be in a block that no step comes to */
    if (last < limit && last > first && last + QUEUE_STEP != place) {
        (void)look_at_place(kv, last, out_cold);
    }
}

enum nk_err kv_foresee(struct kv *kv, enum kv_op op, const struct kv_stamp *stamp,
                       struct nk_bytes request, struct nk_buf *out_cold)
{
    nk_buf_clear(out_cold);
    struct kv_command command = {.op = op, .stamp = *stamp};
    nk_arena_reset(&kv->arena);
    if (!kv_request_decode(op, request, &kv->arena, &command)) {
        return NK_INVALID;
    }
    if (op == KV_OP_CLOCK) {
        return NK_OK;
    }
    if (!kv_request_within_limits(&command)) {
        return NK_INVALID;
    }
    struct kv_key key;
    struct lsm_entry entry;
    if (kv_session_wanted(&command)) {
        kv_key_make(&key, KV_SPACE_SESSION, command.idempotency_key);
        if (look(kv, &key, &entry, out_cold) == NK_OK && kv_entry_lives(&entry, stamp->now_ms)) {
            return NK_OK; /* a retry: the session is all that it needs */
        }
        look_at_queue(kv, stamp, out_cold);
    }
    if (kv_needs_present(&command)) {
        kv_key_make(&key, KV_SPACE_USER, command.key);
        (void)look(kv, &key, &entry, out_cold);
    }
    return out_cold->size > 0 ? NK_WOULD_BLOCK : NK_OK;
}

enum nk_err kv_reader_fetch(const struct kv_reader *reader, struct nk_bytes names)
{
    while (names.size > 0) {
        size_t size = nk_get_u16(names.data);
        struct nk_bytes name = nk_bytes_of(names.data + NAME_SIZE_BYTES, size);
        struct lsm_entry entry;
        enum nk_err err = lsm_view_get(reader->view, name, LSM_DISK, &entry, NULL);
        if (err != NK_OK && err != NK_NOT_FOUND) {
            return err;
        }
        size_t passed = NAME_SIZE_BYTES + size;
        names = nk_bytes_of(names.data + passed, names.size - passed);
    }
    return NK_OK;
}
