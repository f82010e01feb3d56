#include "tests/unit/lsm/model.h"

#include <stdlib.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/codec.h"

static int compare_keys(const void *a, const void *b)
{
    const struct model_key *left = a;
    const struct model_key *right = b;
    return nk_bytes_compare(nk_bytes_of(left->bytes, left->size),
                            nk_bytes_of(right->bytes, right->size));
}

static void draw_key(struct model_key *key, struct nk_prng *prng)
{
    static const size_t sizes[] = {1, 2, 3, 4, 8, 16, 40, 254, 255, 256, 257, 258, 300, 1025};
    bool long_key = nk_prng_chance(prng, 300000);
    size_t choices = sizeof sizes / sizeof sizes[0];
    key->size = sizes[nk_prng_below(prng, long_key ? choices : 7)];
    uint8_t filler = (uint8_t)(nk_prng_chance(prng, 500000) ? 'a' : 0);
    for (size_t i = 0; i < key->size; i++) {
        /* Mostly the same byte, so that keys part late or not at all but in size. */
        key->bytes[i] = nk_prng_chance(prng, 30000) ? (uint8_t)nk_prng_below(prng, 256) : filler;
    }
    for (size_t i = key->size > 3 ? key->size - 3 : 0; i < key->size; i++) {
        key->bytes[i] = nk_prng_chance(prng, 500000) ? (uint8_t)nk_prng_below(prng, 4) : filler;
    }
}

void model_init(struct model *model, struct nk_prng *prng)
{
    memset(model, 0, sizeof *model);
    for (size_t i = 0; i < MODEL_KEYS;) {
        struct model_key *key = &model->keys[i];
        draw_key(key, prng);
        bool fresh = true;
        for (size_t other = 0; other < i; other++) {
            fresh = fresh && compare_keys(key, &model->keys[other]) != 0;
        }
        i += fresh;
    }
    qsort(model->keys, MODEL_KEYS, sizeof model->keys[0], compare_keys);
}

void model_deinit(struct model *model)
{
    for (size_t i = 0; i < MODEL_KEYS; i++) {
        nk_free(model->keys[i].versions);
    }
}

struct nk_bytes model_key_bytes(const struct model *model, size_t key)
{
    return nk_bytes_of(model->keys[key].bytes, model->keys[key].size);
}

static size_t draw_value_size(struct nk_prng *prng)
{
    switch (nk_prng_below(prng, 20)) {
    case 0:
        return 0;
    case 1:
        return nk_prng_below(prng, 12000);
    default:
        return nk_prng_below(prng, 200);
    }
}

static void add_version(struct model *model, size_t number, struct nk_prng *prng)
{
    struct model_key *key = &model->keys[number];
    if (key->count > 0 && key->versions[key->count - 1].version.index == model->index) {
        return; /* an entry writes a key once */
    }
    if (key->count == key->capacity) {
        key->capacity = key->capacity == 0 ? 4 : 2 * key->capacity;
        key->versions = nk_realloc(key->versions, key->capacity * sizeof *key->versions);
    }
    struct model_version version = {
        .version = {1 + model->index / 100, model->index},
        .tombstone = nk_prng_chance(prng, 250000),
    };
    if (!version.tombstone) {
        version.value_size = draw_value_size(prng);
        version.fill = nk_prng_next(prng);
        version.expire_at_ms = nk_prng_chance(prng, 100000)
                                   ? model_time(model->index) + nk_prng_between(prng, 1, 5000)
                                   : 0;
    }
    key->versions[key->count++] = version;
}

void model_add_entry(struct model *model, struct nk_prng *prng)
{
    model->index++;
    size_t records = nk_prng_below(prng, 12) == 0 ? 0 : nk_prng_between(prng, 1, 3);
    for (size_t i = 0; i < records; i++) {
        add_version(model, nk_prng_below(prng, MODEL_KEYS), prng);
    }
}

/* Half of it repeats, so that compression has something to do. */
static void make_value(const struct model_version *version, struct nk_buf *out)
{
    struct nk_prng prng;
    nk_prng_init(&prng, version->fill);
    nk_buf_clear(out);
    for (size_t i = 0; i < version->value_size; i++) {
        uint8_t byte = i % 64 < 32 ? 'v' : (uint8_t)nk_prng_below(&prng, 256);
        nk_buf_append_u8(out, byte);
    }
}

struct nk_bytes model_state(uint64_t index, uint8_t out[LSM_STATE_BYTES_MAX])
{
    size_t size = index % (LSM_STATE_BYTES_MAX + 1);
    for (size_t i = 0; i < size; i++) {
        out[i] = (uint8_t)(index * 31 + i);
    }
    return nk_bytes_of(out, index == 0 ? 0 : size);
}

void model_write_entry(const struct model *model, uint64_t index, struct lsm_db *db)
{
    struct nk_buf value = {0};
    for (size_t i = 0; i < MODEL_KEYS; i++) {
        const struct model_version *version = model_find(model, i, index);
        if (version == NULL || version->version.index != index) {
            continue;
        }
        make_value(version, &value);
        struct lsm_record record = {
            .key = model_key_bytes(model, i),
            .value = nk_buf_bytes(&value),
            .version = version->version,
            .expire_at_ms = version->expire_at_ms,
            .tombstone = version->tombstone,
        };
        lsm_write(db, &record);
    }
    nk_buf_deinit(&value);
    uint8_t state[LSM_STATE_BYTES_MAX];
    lsm_commit(db, (struct lsm_version){1 + index / 100, index}, model_time(index),
               model_state(index, state));
}

const struct model_version *model_find(const struct model *model, size_t key, uint64_t index_max)
{
    const struct model_key *from = &model->keys[key];
    for (size_t i = from->count; i-- > 0;) {
        if (from->versions[i].version.index <= index_max) {
            return &from->versions[i];
        }
    }
    return NULL;
}

uint64_t model_time(uint64_t index)
{
    return 10 * index;
}

static bool expired(const struct model_version *version, uint64_t durable)
{
    return version->expire_at_ms != 0 && version->expire_at_ms <= model_time(durable);
}

bool model_may_be_gone(const struct model_version *version, uint64_t durable)
{
    return version == NULL || version->tombstone || expired(version, durable);
}

bool model_matches(const struct model_version *version, const struct lsm_entry *entry,
                   struct nk_bytes value, uint64_t durable)
{
    if (entry == NULL) {
        return model_may_be_gone(version, durable);
    }
    if (version == NULL || version->version.term != entry->version.term ||
        version->version.index != entry->version.index) {
        return false;
    }
    if (entry->tombstone && expired(version, durable)) {
        return value.size == 0;
    }
    if (version->expire_at_ms != entry->expire_at_ms || version->tombstone != entry->tombstone) {
        return false;
    }
    struct nk_buf expected = {0};
    make_value(version, &expected);
    bool equal = nk_bytes_equal(nk_buf_bytes(&expected), value);
    nk_buf_deinit(&expected);
    return equal;
}
