#include "tests/unit/lsm/rig.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "common/base/codec.h"
#include "common/base/units.h"

struct lsm_options rig_options(void)
{
    struct lsm_options options = {
        .memtable_bytes = 16 * NK_KIB,
        .write_buffer_total_bytes = 64 * NK_KIB,
        .block_cache_bytes = 32 * NK_KIB,
        .filter_bits_per_key = 10,
        .compression = LSM_COMPRESSION_LZ4,
    };
    return options;
}

void rig_init_on(struct rig *rig, struct sim_fs *sim, const struct lsm_options *options)
{
    memset(rig, 0, sizeof *rig);
    rig->fs = sim_fs_handle(sim);
    rig->options = *options;
    lsm_engine_open(&rig->fs, options, &rig->engine);
}

void rig_init(struct rig *rig, uint64_t seed, const struct lsm_options *options)
{
    struct sim_fs *sim = sim_fs_new(seed);
    rig_init_on(rig, sim, options);
    rig->sim = sim;
}

void rig_deinit(struct rig *rig)
{
    rig_close(rig);
    lsm_engine_close(&rig->engine);
    sim_fs_free(&rig->sim);
}

enum nk_err rig_open(struct rig *rig, struct lsm_fault *out_fault)
{
    return lsm_open(rig->engine, RIG_DIRECTORY, &rig->db, out_fault);
}

void rig_must_open(struct rig *rig)
{
    struct lsm_fault fault;
    enum nk_err err = rig_open(rig, &fault);
    if (err != NK_OK) {
        cr_assert_fail("open: %s: %s at %llu: %s", nk_err_name(err), fault.file,
                       (unsigned long long)fault.offset, fault.what);
    }
}

void rig_close(struct rig *rig)
{
    lsm_close(&rig->db);
}

void rig_reopen(struct rig *rig)
{
    rig_close(rig);
    rig_must_open(rig);
}

void rig_commit(struct rig *rig, uint64_t index)
{
    uint8_t state[8];
    nk_put_u64(state, index);
    lsm_commit(rig->db, (struct lsm_version){1, index}, 0, nk_bytes_of(state, sizeof state));
}

void rig_put(struct rig *rig, uint64_t index, const char *key, const char *value)
{
    struct lsm_record record = {
        .key = nk_bytes_of_string(key),
        .value = nk_bytes_of_string(value),
        .version = {1, index},
    };
    lsm_write(rig->db, &record);
    rig_commit(rig, index);
}

void rig_delete(struct rig *rig, uint64_t index, const char *key)
{
    struct lsm_record record = {
        .key = nk_bytes_of_string(key),
        .version = {1, index},
        .tombstone = true,
    };
    lsm_write(rig->db, &record);
    rig_commit(rig, index);
}

enum nk_err rig_work(struct rig *rig, size_t budget_bytes)
{
    enum nk_err err = NK_OK;
    lsm_resume_work(rig->db);
    while (err == NK_OK) {
        struct lsm_db *db = lsm_engine_pick(rig->engine, rig->now_us);
        if (db == NULL && lsm_engine_next_us(rig->engine) != UINT64_MAX) {
            rig->now_us = lsm_engine_next_us(rig->engine);
            continue;
        }
        if (db == NULL) {
            break;
        }
        bool more = true;
        while (err == NK_OK && more) {
            err = lsm_work(db, budget_bytes, &more);
        }
        lsm_work_ended(db, rig->now_us);
    }
    return err;
}

void rig_flush(struct rig *rig)
{
    lsm_request_flush(rig->db);
    cr_assert_eq(rig_work(rig, SIZE_MAX), NK_OK);
}

const char *rig_get(struct rig *rig, const char *key)
{
    static char text[512];
    struct lsm_entry entry;
    struct nk_buf value = {0};
    enum nk_err err = lsm_get(rig->db, nk_bytes_of_string(key), LSM_DISK, &entry, &value);
    if (err == NK_NOT_FOUND) {
        (void)snprintf(text, sizeof text, "%s", "");
    } else if (err != NK_OK) {
        (void)snprintf(text, sizeof text, "%s", nk_err_name(err));
    } else if (entry.tombstone) {
        (void)snprintf(text, sizeof text, "-");
    } else {
        (void)snprintf(text, sizeof text, "%.*s", (int)value.size, (const char *)value.data);
    }
    nk_buf_deinit(&value);
    return text;
}
