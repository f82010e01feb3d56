#include "store.h"

#include <criterion/criterion.h>

#include "common/base/alloc.h"
#include "common/base/units.h"
#include "proto/norikv/v1/kv.pb-c.h"
#include "services/shardhost/kv/expire.h"

static void open_all(struct store *store)
{
    lsm_engine_open(&store->handle, &store->options, &store->engine);
    struct lsm_fault fault = {0};
    enum nk_err err = lsm_open(store->engine, STORE_DIRECTORY, &store->db, &fault);
    cr_assert_eq(err, NK_OK, "lsm_open: %s %s", nk_err_name(err), fault.file);
    struct kv_options options = {.shard = STORE_SHARD};
    cr_assert_eq(kv_open(store->db, &options, &store->kv), NK_OK);
}

void store_start(struct store *store)
{
    memset(store, 0, sizeof *store);
    store->fs = sim_fs_new(1);
    store->handle = sim_fs_handle(store->fs);
    store->options.memtable_bytes = 256 * NK_KIB;
    store->options.write_buffer_total_bytes = NK_MIB;
    store->options.block_cache_bytes = NK_MIB;
    store->options.filter_bits_per_key = 10;
    store->options.compression = LSM_COMPRESSION_NONE;
    store->term = 3;
    store->stamp.now_ms = 1000;
    store->stamp.session_ttl_ms = 500;
    store->stamp.session_count_max = 100;
    open_all(store);
}

void store_close(struct store *store)
{
    kv_close(&store->kv);
    lsm_close(&store->db);
    lsm_engine_close(&store->engine);
}

void store_stop(struct store *store)
{
    store_close(store);
    sim_fs_free(&store->fs);
    for (size_t i = 0; i < store->entry_count; i++) {
        nk_buf_deinit(&store->entries[i].payload);
    }
    nk_free(store->entries);
}

/* ---- Commands ---- */

static ProtobufCBinaryData binary(const char *text)
{
    ProtobufCBinaryData data = {text == NULL ? 0 : strlen(text), (uint8_t *)(uintptr_t)text};
    return data;
}

static void pack(const ProtobufCMessage *message, struct nk_buf *out)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    protobuf_c_message_pack(message, nk_buf_extend(out, size));
}

void request_pack(const struct request *request, struct nk_buf *out)
{
    Norikv__V1__Version if_match = NORIKV__V1__VERSION__INIT;
    if_match.term = request->if_match.term;
    if_match.index = request->if_match.index;
    char *idempotency_key = (char *)(uintptr_t)request->idempotency_key;
    if (request->op == KV_OP_PUT) {
        Norikv__V1__PutRequest put = NORIKV__V1__PUT_REQUEST__INIT;
        put.key = binary(request->key);
        put.value = binary(request->value);
        put.ttl_ms = request->ttl_ms;
        put.idempotency_key = idempotency_key == NULL ? put.idempotency_key : idempotency_key;
        put.if_match = request->has_if_match ? &if_match : NULL;
        pack(&put.base, out);
    } else if (request->op == KV_OP_DELETE) {
        Norikv__V1__DeleteRequest drop = NORIKV__V1__DELETE_REQUEST__INIT;
        drop.key = binary(request->key);
        drop.idempotency_key = idempotency_key == NULL ? drop.idempotency_key : idempotency_key;
        drop.if_match = request->has_if_match ? &if_match : NULL;
        pack(&drop.base, out);
    }
}

static struct lsm_version next_version(const struct store *store)
{
    struct lsm_version version = {store->term, store->entry_count + 1};
    return version;
}

struct kv_result store_apply_payload(struct store *store, struct nk_bytes payload)
{
    if (store->entry_count == store->entry_capacity) {
        store->entry_capacity = nk_max_size(64, 2 * store->entry_capacity);
        store->entries = nk_realloc(store->entries, store->entry_capacity * sizeof *store->entries);
    }
    struct store_entry *entry = &store->entries[store->entry_count];
    memset(entry, 0, sizeof *entry);
    entry->version = next_version(store);
    nk_buf_append(&entry->payload, payload);
    store->entry_count++;
    enum nk_err err = kv_apply(store->kv, entry->version, payload, &entry->result);
    cr_assert_eq(err, NK_OK, "kv_apply: %s", nk_err_name(err));
    return entry->result;
}

struct kv_result store_apply(struct store *store, const struct request *request)
{
    struct nk_buf packed;
    struct nk_buf payload;
    nk_buf_init(&packed);
    nk_buf_init(&payload);
    request_pack(request, &packed);
    cr_assert_eq(kv_request_check(store->kv, request->op, nk_buf_bytes(&packed)), NK_OK);
    kv_command_encode(request->op, &store->stamp, nk_buf_bytes(&packed), &payload);
    struct kv_result result = store_apply_payload(store, nk_buf_bytes(&payload));
    nk_buf_deinit(&packed);
    nk_buf_deinit(&payload);
    return result;
}

enum nk_err store_try(struct store *store, struct nk_bytes payload)
{
    struct kv_result result;
    return kv_apply(store->kv, next_version(store), payload, &result);
}

struct kv_result store_put(struct store *store, const char *key, const char *value)
{
    struct request request = {.op = KV_OP_PUT, .key = key, .value = value};
    return store_apply(store, &request);
}

struct kv_result store_delete(struct store *store, const char *key)
{
    struct request request = {.op = KV_OP_DELETE, .key = key};
    return store_apply(store, &request);
}

void store_clock(struct store *store, uint64_t now_ms)
{
    store->stamp.now_ms = now_ms;
    struct request request = {.op = KV_OP_CLOCK};
    (void)store_apply(store, &request);
}

/* ---- Durability ---- */

enum nk_err store_flush_some(struct store *store)
{
    enum nk_err err = NK_OK;
    lsm_request_flush(store->db);
    while (err == NK_OK) {
        struct lsm_db *db = lsm_engine_pick(store->engine, 0);
        if (db == NULL) {
            break;
        }
        bool more = true;
        while (err == NK_OK && more) {
            err = lsm_work(db, SIZE_MAX, &more);
        }
        lsm_work_ended(db, 0);
    }
    return err;
}

void store_flush(struct store *store)
{
    cr_assert_eq(store_flush_some(store), NK_OK);
    cr_assert_eq(lsm_durable_index(store->db), store->entry_count);
}

void store_cut_flush(struct store *store, uint64_t operations)
{
    sim_fs_cut_power_after(store->fs, operations);
    (void)store_flush_some(store); /* whether it got that far is for the crash to show */
}

void store_recover(struct store *store)
{
    open_all(store);
    struct lsm_version applied;
    struct nk_bytes image;
    lsm_applied(store->db, &applied, &image);
    cr_assert_leq(applied.index, store->entry_count);
    for (uint64_t i = applied.index; i < store->entry_count; i++) {
        struct store_entry *entry = &store->entries[i];
        struct kv_result again;
        cr_assert_eq(kv_apply(store->kv, entry->version, nk_buf_bytes(&entry->payload), &again),
                     NK_OK);
        cr_assert(result_equal(&again, &entry->result), "entry %llu gave another result",
                  (unsigned long long)i + 1);
    }
}

void store_crash(struct store *store, struct nk_prng *prng)
{
    store_close(store);
    sim_fs_crash(store->fs, prng);
    store_recover(store);
}

/* ---- Looking ---- */

const char *store_get(struct store *store, const char *key)
{
    static char text[4096];
    struct nk_buf bytes;
    struct kv_value value;
    nk_buf_init(&bytes);
    enum nk_err err = kv_get(store->kv, nk_bytes_of_string(key), LSM_DISK, &value, &bytes);
    cr_assert(err == NK_OK || err == NK_NOT_FOUND, "kv_get: %s", nk_err_name(err));
    cr_assert_lt(bytes.size, sizeof text);
    memcpy(text, bytes.size == 0 ? (const uint8_t *)"" : bytes.data, bytes.size);
    text[err == NK_OK ? bytes.size : 0] = '\0';
    nk_buf_deinit(&bytes);
    return text;
}

static void append_number(struct nk_buf *out, uint64_t number)
{
    nk_buf_append(out, nk_bytes_of(&number, sizeof number));
}

void store_dump(struct store *store, struct nk_buf *out)
{
    struct lsm_view *view = lsm_view_acquire(store->db);
    struct lsm_iter *iter;
    lsm_iter_open(view, nk_bytes_of(NULL, 0), nk_bytes_of(NULL, 0), &iter);
    struct nk_bytes key;
    struct nk_bytes value;
    struct lsm_entry entry;
    enum nk_err err;
    while ((err = lsm_iter_next(iter, &key, &entry, &value)) == NK_OK) {
        if (!kv_entry_lives(&entry, kv_time_ms(store->kv))) {
            continue; /* compaction has dropped it or will: nobody can tell */
        }
        append_number(out, key.size);
        nk_buf_append(out, key);
        append_number(out, value.size);
        nk_buf_append(out, value);
        append_number(out, entry.version.term);
        append_number(out, entry.version.index);
        append_number(out, entry.expire_at_ms);
        append_number(out, entry.tombstone);
    }
    cr_assert_eq(err, NK_NOT_FOUND);
    lsm_iter_close(&iter);
    lsm_view_release(&view);
    struct lsm_version applied;
    struct nk_bytes image;
    lsm_applied(store->db, &applied, &image);
    append_number(out, applied.term);
    append_number(out, applied.index);
    nk_buf_append(out, image);
}

size_t store_count(struct store *store, char space)
{
    size_t count = 0;
    struct lsm_view *view = lsm_view_acquire(store->db);
    struct lsm_iter *iter;
    lsm_iter_open(view, nk_bytes_of(&space, 1), nk_bytes_of(NULL, 0), &iter);
    struct nk_bytes key;
    struct nk_bytes value;
    struct lsm_entry entry;
    while (lsm_iter_next(iter, &key, &entry, &value) == NK_OK && key.data[0] == (uint8_t)space) {
        count += !entry.tombstone;
    }
    lsm_iter_close(&iter);
    lsm_view_release(&view);
    return count;
}

bool version_equal(struct lsm_version a, struct lsm_version b)
{
    return a.term == b.term && a.index == b.index;
}

bool result_equal(const struct kv_result *a, const struct kv_result *b)
{
    return a->err == b->err && version_equal(a->version, b->version) &&
           version_equal(a->found, b->found) && version_equal(a->expected, b->expected) &&
           a->tombstoned == b->tombstoned && a->replayed == b->replayed;
}
