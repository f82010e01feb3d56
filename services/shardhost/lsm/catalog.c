#include "services/shardhost/lsm/catalog.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "services/shardhost/lsm/names.h"

#define KEYS_CHUNK_BYTES 4096
#define EDIT_ADD_1       3 /* an ADD of version 1: without a digest */

void lsm_catalog_init(struct lsm_catalog *catalog)
{
    memset(catalog, 0, sizeof *catalog);
    catalog->number_next = 1;
    nk_arena_init(&catalog->keys, KEYS_CHUNK_BYTES, 0);
    nk_map_init(&catalog->places);
}

void lsm_catalog_deinit(struct lsm_catalog *catalog)
{
    nk_free(catalog->tables);
    nk_arena_deinit(&catalog->keys);
    nk_map_deinit(&catalog->places);
    memset(catalog, 0, sizeof *catalog);
}

/* ---- Writing ---- */

static void put_varint(struct nk_buf *out, uint64_t value)
{
    nk_buf_reserve(out, NK_VARINT_BYTES_MAX);
    out->size += nk_put_varint(out->data + out->size, value);
}

static void put_bytes(struct nk_buf *out, struct nk_bytes bytes)
{
    put_varint(out, bytes.size);
    nk_buf_append(out, bytes);
}

void lsm_catalog_put_position(struct nk_buf *out, const struct lsm_position *position)
{
    NK_ASSERT(position->state_size <= LSM_STATE_BYTES_MAX);
    put_varint(out, LSM_EDIT_POSITION);
    put_varint(out, position->applied.term);
    put_varint(out, position->applied.index);
    put_varint(out, position->time_ms);
    put_bytes(out, nk_bytes_of(position->state, position->state_size));
}

void lsm_catalog_put_number_next(struct nk_buf *out, uint64_t number_next)
{
    put_varint(out, LSM_EDIT_NUMBER_NEXT);
    put_varint(out, number_next);
}

void lsm_catalog_put_add(struct nk_buf *out, uint32_t level, const struct lsm_table_meta *meta)
{
    NK_ASSERT(level < LSM_LEVEL_COUNT);
    put_varint(out, LSM_EDIT_ADD);
    put_varint(out, level);
    put_varint(out, meta->number);
    put_varint(out, meta->size_bytes);
    put_varint(out, meta->digest);
    put_varint(out, meta->record_count);
    put_varint(out, meta->tombstone_count);
    put_varint(out, meta->index_min);
    put_varint(out, meta->index_max);
    put_varint(out, meta->expire_count);
    put_varint(out, meta->expire_min_ms);
    put_varint(out, meta->expire_max_ms);
    put_bytes(out, meta->smallest);
    put_bytes(out, meta->largest);
}

void lsm_catalog_put_remove(struct nk_buf *out, uint32_t level, uint64_t number)
{
    put_varint(out, LSM_EDIT_REMOVE);
    put_varint(out, level);
    put_varint(out, number);
}

void lsm_catalog_put_snapshot(struct nk_buf *out, const struct lsm_position *position,
                              uint64_t number_next, const struct lsm_levels *levels)
{
    lsm_catalog_put_position(out, position);
    lsm_catalog_put_number_next(out, number_next);
    for (uint32_t i = 0; i < LSM_LEVEL_COUNT; i++) {
        for (size_t t = 0; t < levels->levels[i].count; t++) {
            lsm_catalog_put_add(out, i, lsm_table_meta(levels->levels[i].tables[t]));
        }
    }
}

/* ---- Reading ---- */

static bool read_position(struct nk_reader *reader, struct lsm_position *position)
{
    memset(position, 0, sizeof *position);
    position->applied.term = nk_read_varint(reader);
    position->applied.index = nk_read_varint(reader);
    position->time_ms = nk_read_varint(reader);
    struct nk_bytes state = nk_read_bytes(reader, nk_read_varint(reader));
    if (reader->failed || state.size > LSM_STATE_BYTES_MAX) {
        return false;
    }
    position->state_size = state.size;
    if (state.size > 0) {
        memcpy(position->state, state.data, state.size);
    }
    return true;
}

static void read_meta(struct nk_reader *reader, bool digested, struct lsm_table_meta *meta)
{
    meta->number = nk_read_varint(reader);
    meta->size_bytes = nk_read_varint(reader);
    uint64_t digest = digested ? nk_read_varint(reader) : 0;
    meta->digest = (uint32_t)digest;
    reader->failed |= digest > UINT32_MAX;
    meta->record_count = nk_read_varint(reader);
    meta->tombstone_count = nk_read_varint(reader);
    meta->index_min = nk_read_varint(reader);
    meta->index_max = nk_read_varint(reader);
    meta->expire_count = nk_read_varint(reader);
    meta->expire_min_ms = nk_read_varint(reader);
    meta->expire_max_ms = nk_read_varint(reader);
    meta->smallest = nk_read_bytes(reader, nk_read_varint(reader));
    meta->largest = nk_read_bytes(reader, nk_read_varint(reader));
}

enum nk_err lsm_edit_next(struct nk_reader *payload, struct lsm_edit *out_edit)
{
    if (nk_reader_left(payload) == 0) {
        return NK_NOT_FOUND;
    }
    uint64_t kind = nk_read_varint(payload);
    switch (kind) {
    case LSM_EDIT_POSITION:
        if (!read_position(payload, &out_edit->position)) {
            return NK_CORRUPT;
        }
        break;
    case LSM_EDIT_NUMBER_NEXT:
        out_edit->number_next = nk_read_varint(payload);
        break;
    case EDIT_ADD_1:
    case LSM_EDIT_ADD:
        out_edit->level = nk_read_varint(payload);
        read_meta(payload, kind == LSM_EDIT_ADD, &out_edit->meta);
        kind = LSM_EDIT_ADD;
        break;
    case LSM_EDIT_REMOVE:
        out_edit->level = nk_read_varint(payload);
        out_edit->meta.number = nk_read_varint(payload);
        break;
    default:
        return NK_CORRUPT;
    }
    out_edit->kind = (enum lsm_edit_kind)kind;
    return payload->failed ? NK_CORRUPT : NK_OK;
}

/* ---- Applying: false where an edit does not fit the catalog (FORMAT.md, M2 to M5) ---- */

static bool apply_position(struct lsm_catalog *catalog, const struct lsm_position *position)
{
    if (position->applied.index < catalog->position.applied.index ||
        position->time_ms < catalog->position.time_ms) {
        return false;
    }
    catalog->position = *position;
    return true;
}

static bool apply_number_next(struct lsm_catalog *catalog, uint64_t number_next)
{
    if (number_next < catalog->number_next || number_next > LSM_TABLE_NUMBER_LIMIT) {
        return false;
    }
    catalog->number_next = number_next;
    return true;
}

/* Copied: the payload goes away before the catalog does. */
static struct nk_bytes copy_key(struct lsm_catalog *catalog, struct nk_bytes key)
{
    uint8_t *copy = nk_arena_alloc(&catalog->keys, key.size);
    memcpy(copy, key.data, key.size);
    return nk_bytes_of(copy, key.size);
}

bool lsm_catalog_has(const struct lsm_catalog *catalog, uint64_t number)
{
    return nk_map_get(&catalog->places, nk_map_key_u64(&number)) != NULL;
}

static void set_place(struct lsm_catalog *catalog, uint64_t number, size_t place)
{
    size_t *kept = nk_map_get(&catalog->places, nk_map_key_u64(&number));
    if (kept == NULL) {
        kept = nk_arena_alloc(&catalog->keys, sizeof *kept);
        (void)nk_map_put(&catalog->places, nk_map_key_u64(&number), kept);
    }
    *kept = place;
}

static bool key_sensible(struct nk_bytes key)
{
    return key.size > 0 && key.size <= LSM_KEY_BYTES_MAX;
}

/* What every table that was written fulfils. */
static bool meta_sensible(const struct lsm_table_meta *meta)
{
    return meta->size_bytes > 0 && meta->size_bytes <= LSM_TABLE_BYTES_MAX &&
           meta->record_count > 0 && meta->tombstone_count <= meta->record_count &&
           meta->index_min <= meta->index_max &&
           meta->expire_count <= meta->record_count - meta->tombstone_count &&
           meta->expire_min_ms <= meta->expire_max_ms && key_sensible(meta->smallest) &&
           key_sensible(meta->largest) && nk_bytes_compare(meta->smallest, meta->largest) <= 0;
}

static bool apply_add(struct lsm_catalog *catalog, uint64_t level,
                      const struct lsm_table_meta *meta)
{
    if (level >= LSM_LEVEL_COUNT || meta->number >= catalog->number_next || !meta_sensible(meta) ||
        lsm_catalog_has(catalog, meta->number)) {
        return false;
    }
    if (catalog->table_count == catalog->table_capacity) {
        catalog->table_capacity = catalog->table_capacity == 0 ? 8 : 2 * catalog->table_capacity;
        catalog->tables =
            nk_realloc(catalog->tables, catalog->table_capacity * sizeof *catalog->tables);
    }
    struct lsm_catalog_table *table = &catalog->tables[catalog->table_count++];
    *table = (struct lsm_catalog_table){.level = (uint32_t)level, .meta = *meta};
    table->meta.smallest = copy_key(catalog, meta->smallest);
    table->meta.largest = copy_key(catalog, meta->largest);
    set_place(catalog, meta->number, catalog->table_count - 1);
    return true;
}

static bool apply_remove(struct lsm_catalog *catalog, uint64_t level, uint64_t number)
{
    const size_t *place = nk_map_get(&catalog->places, nk_map_key_u64(&number));
    if (place == NULL || catalog->tables[*place].level != level) {
        return false;
    }
    const struct lsm_catalog_table *last = &catalog->tables[--catalog->table_count];
    set_place(catalog, last->meta.number, *place);
    catalog->tables[*place] = *last;
    (void)nk_map_remove(&catalog->places, nk_map_key_u64(&number));
    return true;
}

static bool apply(struct lsm_catalog *catalog, const struct lsm_edit *edit)
{
    switch (edit->kind) {
    case LSM_EDIT_POSITION:
        return apply_position(catalog, &edit->position);
    case LSM_EDIT_NUMBER_NEXT:
        return apply_number_next(catalog, edit->number_next);
    case LSM_EDIT_ADD:
        return apply_add(catalog, edit->level, &edit->meta);
    case LSM_EDIT_REMOVE:
        return apply_remove(catalog, edit->level, edit->meta.number);
    }
    return false;
}

enum nk_err lsm_catalog_apply(struct lsm_catalog *catalog, struct nk_bytes payload)
{
    struct nk_reader reader = nk_reader_of(payload);
    struct lsm_edit edit = {.level = 0};
    enum nk_err err;
    while ((err = lsm_edit_next(&reader, &edit)) == NK_OK) {
        if (!apply(catalog, &edit)) {
            return NK_CORRUPT;
        }
    }
    return err == NK_NOT_FOUND ? NK_OK : err;
}
