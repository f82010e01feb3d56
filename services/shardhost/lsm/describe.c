#include "services/shardhost/lsm/db.h"

void lsm_get_shape(const struct lsm_db *db, struct lsm_shape *out_shape)
{
    struct lsm_shape shape = {
        .memtable_bytes = db->memtable_bytes,
        .immutable_count = db->sealed_count,
        .table_count = lsm_levels_table_count(db->levels),
        .table_bytes = lsm_levels_bytes(db->levels),
        .debt_bytes = db->debt_bytes,
    };
    for (size_t i = 0; i < LSM_LEVEL_COUNT; i++) {
        const struct lsm_level *level = &db->levels->levels[i];
        shape.levels[i].table_count = level->count;
        for (size_t t = 0; t < level->count; t++) {
            shape.levels[i].bytes += lsm_table_meta(level->tables[t])->size_bytes;
        }
    }
    *out_shape = shape;
}

/* "shard-7 applied=3.41 durable=38 memtable=4096 sealed=1 L0=2:81920 L1=..." */
void lsm_describe(const struct lsm_db *db, struct nk_text *out)
{
    nk_text_add(out, db->directory);
    nk_text_add(out, " applied=");
    nk_text_add_u64(out, db->position.applied.term);
    nk_text_add(out, ".");
    nk_text_add_u64(out, db->position.applied.index);
    nk_text_add(out, " durable=");
    nk_text_add_u64(out, db->durable.applied.index);
    nk_text_add(out, " memtable=");
    nk_text_add_u64(out, db->memtable_bytes);
    nk_text_add(out, " sealed=");
    nk_text_add_u64(out, db->sealed_count);
    for (size_t i = 0; i < LSM_LEVEL_COUNT; i++) {
        const struct lsm_level *level = &db->levels->levels[i];
        uint64_t bytes = 0;
        for (size_t t = 0; t < level->count; t++) {
            bytes += lsm_table_meta(level->tables[t])->size_bytes;
        }
        if (level->count > 0) {
            nk_text_add(out, " L");
            nk_text_add_u64(out, i);
            nk_text_add(out, "=");
            nk_text_add_u64(out, level->count);
            nk_text_add(out, ":");
            nk_text_add_u64(out, bytes);
        }
    }
}
