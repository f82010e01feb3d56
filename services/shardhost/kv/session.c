/* A session is two records, written at the version of the command that made it: the outcome under
 * the idempotency key, and an entry of the queue that holds all sessions in the order in which they
 * were made.  The queue's ends are in the state image.
 *
 * Sessions leave the queue at its head.  Whether a session is there must not depend on whether
 * compaction has dropped its expired record, or replicas would differ; so a head whose time has
 * passed loses only its queue entry (its outcome counts as absent already, and another session may
 * have taken the key since), and a head that must go for want of room loses both: it is live, so
 * the outcome under its key is its own.
 *
 * A command drops at most DROPS_MAX sessions and makes one, so the queue shrinks to its bound
 * without a long pause, and never grows beyond it by more than what a lowered bound leaves. */

#include "session.h"

#include "common/base/assert.h"
#include "common/base/codec.h"
#include "common/base/hash.h"

#include "expire.h"

#define SESSION_VERSION       1
#define DROPS_MAX             8 /* sessions leave at most for a new one */
#define SESSION_BYTES         ((size_t)68)
#define SESSION_TOMBSTONED    0x01
#define FINGERPRINT_BYTES     ((size_t)16)
#define QUEUE_ENTRY_VERSION   1
#define QUEUE_ENTRY_KEY_START ((size_t)9)

/* ---- The outcome ---- */

/* Hashes the fields, not the bytes of the request: a client that encodes the same request in
 * another order means the same. */
static void fingerprint(const struct kv_command *command, uint8_t out[static FINGERPRINT_BYTES])
{
    for (uint64_t seed = 0; seed < FINGERPRINT_BYTES / 8; seed++) {
        uint8_t fields[58];
        fields[0] = (uint8_t)command->op;
        fields[1] = command->has_if_match;
        nk_put_u64(fields + 2, command->if_match.term);
        nk_put_u64(fields + 10, command->if_match.index);
        nk_put_u64(fields + 18, command->ttl_ms);
        nk_put_u64(fields + 26, command->key.size);
        nk_put_u64(fields + 34, nk_xxh64(command->key, seed));
        nk_put_u64(fields + 42, command->value.size);
        nk_put_u64(fields + 50, nk_xxh64(command->value, seed));
        nk_put_u64(out + 8 * seed, nk_xxh64(nk_bytes_of(fields, sizeof fields), seed));
    }
}

static void put_version(uint8_t *out, struct lsm_version version)
{
    nk_put_u64(out, version.term);
    nk_put_u64(out + 8, version.index);
}

static struct lsm_version get_version(const uint8_t *in)
{
    struct lsm_version version = {nk_get_u64(in), nk_get_u64(in + 8)};
    return version;
}

static void outcome_encode(const struct kv_command *command, const struct kv_result *result,
                           uint8_t out[static SESSION_BYTES])
{
    out[0] = SESSION_VERSION;
    out[1] = result->tombstoned ? SESSION_TOMBSTONED : 0;
    nk_put_u16(out + 2, (uint16_t)result->err);
    fingerprint(command, out + 4);
    put_version(out + 20, result->version);
    put_version(out + 36, result->found);
    put_version(out + 52, result->expected);
}

static enum nk_err outcome_decode(struct nk_bytes record, struct kv_result *out_result)
{
    if (record.size > 0 && record.data[0] > SESSION_VERSION) {
        return NK_FORMAT_TOO_NEW;
    }
    if (record.size != SESSION_BYTES || record.data[0] != SESSION_VERSION ||
        (record.data[1] & ~SESSION_TOMBSTONED) != 0) {
        return NK_CORRUPT;
    }
    enum nk_err err = (enum nk_err)nk_get_u16(record.data + 2);
    if (err != NK_OK && err != NK_CONFLICT && err != NK_EXISTS) {
        return NK_CORRUPT;
    }
    struct kv_result result = {.err = err, .replayed = true};
    result.tombstoned = (record.data[1] & SESSION_TOMBSTONED) != 0;
    result.version = get_version(record.data + 20);
    result.found = get_version(record.data + 36);
    result.expected = get_version(record.data + 52);
    *out_result = result;
    return NK_OK;
}

bool kv_session_wanted(const struct kv_command *command)
{
    return command->idempotency_key.size > 0 && command->stamp.session_count_max > 0;
}

enum nk_err kv_session_find(struct kv *kv, const struct kv_command *command,
                            struct kv_result *out_result)
{
    struct kv_key key;
    kv_key_make(&key, KV_SPACE_SESSION, command->idempotency_key);
    struct lsm_entry entry;
    enum nk_err err = lsm_get(kv->db, kv_key_bytes(&key), LSM_DISK, &entry, &kv->scratch);
    if (err != NK_OK) {
        return err;
    }
    if (!kv_entry_lives(&entry, kv->time_ms) || entry.version.index <= kv->sessions_after_index) {
        return NK_NOT_FOUND;
    }
    struct kv_result result;
    err = outcome_decode(nk_buf_bytes(&kv->scratch), &result);
    if (err != NK_OK) {
        return err;
    }
    uint8_t print[FINGERPRINT_BYTES];
    fingerprint(command, print);
    if (memcmp(print, kv->scratch.data + 4, sizeof print) != 0) {
        return NK_INVALID;
    }
    *out_result = result;
    return NK_OK;
}

/* ---- The queue ---- */

void kv_session_queue_key(struct kv_key *key, uint64_t place)
{
    uint8_t name[8]; /* big-endian: bytewise order is the order of places */
    for (size_t i = 0; i < sizeof name; i++) {
        name[i] = (uint8_t)(place >> (8 * (sizeof name - 1 - i)));
    }
    kv_key_make(key, KV_SPACE_QUEUE, nk_bytes_of(name, sizeof name));
}

static enum nk_err drop_old(struct kv *kv, struct lsm_version version, uint32_t count_max);

enum nk_err kv_session_remember(struct kv *kv, struct lsm_version version,
                                const struct kv_command *command, const struct kv_result *result)
{
    NK_ASSERT(command->stamp.session_count_max > 0);
    NK_ASSERT(!result->replayed);
    enum nk_err err = drop_old(kv, version, command->stamp.session_count_max);
    if (err != NK_OK) {
        return err;
    }
    struct kv_key key;
    uint8_t outcome[SESSION_BYTES];
    outcome_encode(command, result, outcome);
    kv_key_make(&key, KV_SPACE_SESSION, command->idempotency_key);
    struct lsm_record record = {
        .key = kv_key_bytes(&key),
        .value = nk_bytes_of(outcome, sizeof outcome),
        .version = version,
        .expire_at_ms = kv_expire_at(kv->time_ms, command->stamp.session_ttl_ms),
    };
    lsm_write(kv->db, &record);

    uint8_t entry[QUEUE_ENTRY_KEY_START + NK_IDEMPOTENCY_KEY_BYTES_MAX];
    entry[0] = QUEUE_ENTRY_VERSION;
    nk_put_u64(entry + 1, record.expire_at_ms);
    memcpy(entry + QUEUE_ENTRY_KEY_START, command->idempotency_key.data,
           command->idempotency_key.size);
    kv_session_queue_key(&key, kv->queue.next);
    struct lsm_record place = {
        .key = kv_key_bytes(&key),
        .value = nk_bytes_of(entry, QUEUE_ENTRY_KEY_START + command->idempotency_key.size),
        .version = version,
    };
    lsm_write(kv->db, &place);
    kv->queue.next++;
    return NK_OK;
}

static enum nk_err load_head(struct kv *kv);
static void drop_head(struct kv *kv, struct lsm_version version, bool with_outcome);

/* Makes room for one more. */
static enum nk_err drop_old(struct kv *kv, struct lsm_version version, uint32_t count_max)
{
    struct kv_queue *queue = &kv->queue;
    for (size_t i = 0; i < DROPS_MAX && queue->first < queue->next; i++) {
        enum nk_err err = load_head(kv);
        if (err != NK_OK) {
            return err;
        }
        bool expired = queue->head_expire_at_ms <= kv->time_ms;
        if (!expired && queue->next - queue->first < count_max) {
            return NK_OK;
        }
        drop_head(kv, version, !expired);
    }
    return NK_OK;
}

static enum nk_err load_head(struct kv *kv)
{
    struct kv_queue *queue = &kv->queue;
    if (queue->head_known) {
        return NK_OK;
    }
    struct kv_key key;
    kv_session_queue_key(&key, queue->first);
    struct lsm_entry entry;
    enum nk_err err = lsm_get(kv->db, kv_key_bytes(&key), LSM_DISK, &entry, &kv->scratch);
    if (err == NK_NOT_FOUND || (err == NK_OK && entry.tombstone)) {
        return NK_CORRUPT; /* the image says that it is there */
    }
    if (err != NK_OK) {
        return err;
    }
    struct nk_bytes record = nk_buf_bytes(&kv->scratch);
    if (record.size > 0 && record.data[0] > QUEUE_ENTRY_VERSION) {
        return NK_FORMAT_TOO_NEW;
    }
    if (record.size <= QUEUE_ENTRY_KEY_START || record.data[0] != QUEUE_ENTRY_VERSION ||
        record.size > QUEUE_ENTRY_KEY_START + NK_IDEMPOTENCY_KEY_BYTES_MAX) {
        return NK_CORRUPT;
    }
    queue->head_expire_at_ms = nk_get_u64(record.data + 1);
    queue->head_key_size = record.size - QUEUE_ENTRY_KEY_START;
    memcpy(queue->head_key, record.data + QUEUE_ENTRY_KEY_START, queue->head_key_size);
    queue->head_known = true;
    return NK_OK;
}

static void write_tombstone(struct kv *kv, const struct kv_key *key, struct lsm_version version)
{
    struct lsm_record record = {.key = kv_key_bytes(key), .version = version, .tombstone = true};
    lsm_write(kv->db, &record);
}

static void drop_head(struct kv *kv, struct lsm_version version, bool with_outcome)
{
    struct kv_queue *queue = &kv->queue;
    NK_ASSERT(queue->head_known);
    NK_ASSERT(queue->first < queue->next);
    struct kv_key key;
    if (with_outcome) {
        kv_key_make(&key, KV_SPACE_SESSION, nk_bytes_of(queue->head_key, queue->head_key_size));
        write_tombstone(kv, &key, version);
    }
    kv_session_queue_key(&key, queue->first);
    write_tombstone(kv, &key, version);
    queue->first++;
    queue->head_known = false;
}
