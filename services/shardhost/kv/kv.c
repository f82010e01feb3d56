/* Opening, the state image, reading.  Formats: FORMAT.md. */

#include "services/shardhost/kv/kv.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/codec.h"
#include "common/base/plant.h"

#include "command.h"
#include "expire.h"
#include "state.h"

#define STATE_VERSION     1
#define STATE_BYTES       ((size_t)29)
#define ARENA_CHUNK_BYTES ((size_t)(64 * NK_KIB))

static_assert(STATE_BYTES <= LSM_STATE_BYTES_MAX, "the image fits");

/* ---- Open and close ---- */

static enum nk_err state_decode(struct kv *kv, struct nk_bytes image);

enum nk_err kv_open(struct lsm_db *db, const struct kv_options *options, struct kv **out_kv)
{
    struct kv *kv = nk_alloc_zero(1, sizeof *kv);
    kv->db = db;
    kv->shard = options->shard;
    nk_arena_init(&kv->arena, ARENA_CHUNK_BYTES, KV_REQUEST_ARENA_BYTES_MAX);
    nk_buf_init(&kv->scratch);
    struct lsm_version applied;
    struct nk_bytes image;
    lsm_applied(db, &applied, &image);
    enum nk_err err = NK_OK;
    if (applied.index > 0 || image.size > 0) {
        err = state_decode(kv, image);
    }
    if (err == NK_OK && kv->time_ms < lsm_applied_time_ms(db)) {
        err = NK_CORRUPT; /* the tree may have dropped what is still alive at that time */
    }
    if (err != NK_OK) {
        kv_close(&kv);
        return err;
    }
    if (NK_PLANTED(NK_PLANT_SESSIONS_NOT_RECOVERED)) {
        kv->sessions_after_index = applied.index;
    }
    *out_kv = kv;
    return NK_OK;
}

void kv_close(struct kv **kv)
{
    if (kv == NULL || *kv == NULL) {
        return;
    }
    nk_arena_deinit(&(*kv)->arena);
    nk_buf_deinit(&(*kv)->scratch);
    nk_free(*kv);
    *kv = NULL;
}

/* ---- The state image ---- */

static enum nk_err state_decode(struct kv *kv, struct nk_bytes image)
{
    if (image.size > 0 && image.data[0] > STATE_VERSION) {
        return NK_FORMAT_TOO_NEW;
    }
    if (image.size != STATE_BYTES || image.data[0] != STATE_VERSION ||
        nk_get_u32(image.data + 1) != kv->shard) {
        return NK_CORRUPT;
    }
    kv->time_ms = nk_get_u64(image.data + 5);
    kv->queue.first = nk_get_u64(image.data + 13);
    kv->queue.next = nk_get_u64(image.data + 21);
    return kv->queue.first <= kv->queue.next ? NK_OK : NK_CORRUPT;
}

void kv_commit(struct kv *kv, struct lsm_version version)
{
    NK_ASSERT(kv->queue.first <= kv->queue.next);
    uint8_t image[STATE_BYTES];
    image[0] = STATE_VERSION;
    nk_put_u32(image + 1, kv->shard);
    nk_put_u64(image + 5, kv->time_ms);
    nk_put_u64(image + 13, kv->queue.first);
    nk_put_u64(image + 21, kv->queue.next);
    lsm_commit(kv->db, version, kv->time_ms, nk_bytes_of(image, sizeof image));
}

void kv_key_make(struct kv_key *key, enum kv_space space, struct nk_bytes name)
{
    NK_ASSERT(name.size >= 1);
    NK_ASSERT(name.size <= NK_KEY_BYTES_MAX);
    key->bytes[0] = (uint8_t)space;
    memcpy(key->bytes + 1, name.data, name.size);
    key->size = 1 + name.size;
}

/* ---- Before proposing ---- */

enum nk_err kv_request_check(struct kv *kv, enum kv_op op, struct nk_bytes request)
{
    struct kv_command command = {0};
    nk_arena_reset(&kv->arena);
    if (!kv_request_decode(op, request, &kv->arena, &command)) {
        return NK_INVALID;
    }
    return op == KV_OP_CLOCK || kv_request_within_limits(&command) ? NK_OK : NK_INVALID;
}

/* ---- Reading ---- */

uint64_t kv_time_ms(const struct kv *kv)
{
    return kv->time_ms;
}

/* What a reader at `time_ms` makes of a lookup's outcome. */
static enum nk_err read_entry(enum nk_err err, const struct lsm_entry *entry, uint64_t time_ms,
                              struct kv_value *out_value, struct nk_buf *out_bytes)
{
    if (err != NK_OK) {
        return err;
    }
    if (!kv_entry_lives(entry, time_ms)) {
        nk_buf_clear(out_bytes);
        return NK_NOT_FOUND;
    }
    out_value->version = entry->version;
    out_value->expire_at_ms = entry->expire_at_ms;
    return NK_OK;
}

static bool key_possible(struct nk_bytes key)
{
    return key.size >= 1 && key.size <= NK_KEY_BYTES_MAX;
}

enum nk_err kv_get(struct kv *kv, struct nk_bytes key, enum lsm_reach reach,
                   struct kv_value *out_value, struct nk_buf *out_bytes)
{
    if (!key_possible(key)) {
        return NK_NOT_FOUND;
    }
    struct kv_key name;
    kv_key_make(&name, KV_SPACE_USER, key);
    struct lsm_entry entry;
    enum nk_err err = lsm_get(kv->db, kv_key_bytes(&name), reach, &entry, out_bytes);
    return read_entry(err, &entry, kv->time_ms, out_value, out_bytes);
}

void kv_reader_acquire(struct kv *kv, struct kv_reader *out_reader)
{
    out_reader->view = lsm_view_acquire(kv->db);
    out_reader->time_ms = kv->time_ms;
}

void kv_reader_release(struct kv_reader *reader)
{
    lsm_view_release(&reader->view);
}

enum nk_err kv_reader_get(const struct kv_reader *reader, struct nk_bytes key,
                          struct kv_value *out_value, struct nk_buf *out_bytes)
{
    if (!key_possible(key)) {
        return NK_NOT_FOUND;
    }
    struct kv_key name;
    kv_key_make(&name, KV_SPACE_USER, key);
    struct lsm_entry entry;
    enum nk_err err = lsm_view_get(reader->view, kv_key_bytes(&name), LSM_DISK, &entry, out_bytes);
    return read_entry(err, &entry, reader->time_ms, out_value, out_bytes);
}
