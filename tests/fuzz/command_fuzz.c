/* Bytes as entries of a log: pieces of a two-byte length each, applied to a fresh state machine one
 * after the other.  Whatever they are, kv_apply ends with an outcome or says that no version of it
 * wrote this; and what kv_request_check lets through is carried out. */

#include "common/base/assert.h"
#include "common/base/codec.h"
#include "common/base/units.h"
#include "services/shardhost/kv/kv.h"
#include "tests/sim/fs.h"

#define HEADER_BYTES ((size_t)22) /* of a command: services/shardhost/kv/FORMAT.md */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool check(struct kv *kv, struct nk_bytes payload)
{
    if (payload.size < HEADER_BYTES || payload.data[0] != 1) {
        return false;
    }
    enum kv_op op = (enum kv_op)payload.data[1];
    struct nk_bytes request = nk_bytes_of(payload.data + HEADER_BYTES, payload.size - HEADER_BYTES);
    struct kv_stamp stamp = {.now_ms = kv_time_ms(kv), .session_count_max = 1};
    struct nk_buf cold = {0};
    enum nk_err foreseen = kv_foresee(kv, op, &stamp, request, &cold);
    nk_buf_deinit(&cold);
    enum nk_err checked = kv_request_check(kv, op, request);
    NK_ASSERT(foreseen == checked); /* nothing has left the memtable, so nothing blocks */
    return checked == NK_OK;
}

/* False: the log ends here, as for the host of a shard. */
static bool apply(struct kv *kv, uint64_t index, struct nk_bytes payload)
{
    bool checked = check(kv, payload);
    struct kv_result result = {0};
    enum nk_err err = kv_apply(kv, (struct lsm_version){1, index}, payload, &result);
    if (err != NK_OK) {
        NK_ASSERT(err == NK_CORRUPT || err == NK_FORMAT_TOO_NEW);
        NK_ASSERT(!checked);
        return false;
    }
    NK_ASSERT(result.err == NK_OK || result.err == NK_CONFLICT || result.err == NK_EXISTS ||
              result.err == NK_INVALID);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sim_fs *sim = sim_fs_new(1);
    struct nk_fs fs = sim_fs_handle(sim);
    struct lsm_options options = {
        .memtable_bytes = 4 * NK_MIB,
        .write_buffer_total_bytes = 4 * NK_MIB,
        .block_cache_bytes = NK_MIB,
    };
    struct lsm_engine *engine;
    struct lsm_db *db;
    struct kv *kv;
    struct kv_options kv_options = {.shard = 1};
    lsm_engine_open(&fs, &options, &engine);
    enum nk_err err = lsm_open(engine, "s", &db, NULL);
    NK_ASSERT(err == NK_OK);
    err = kv_open(db, &kv_options, &kv);
    NK_ASSERT(err == NK_OK);

    struct nk_reader reader = nk_reader_of(nk_bytes_of(data, size));
    bool going = true;
    for (uint64_t index = 1; going && nk_reader_left(&reader) >= 2; index++) {
        size_t length = nk_read_u16(&reader);
        length = nk_min_size(length, nk_reader_left(&reader));
        going = apply(kv, index, nk_read_bytes(&reader, length));
    }
    kv_close(&kv);
    lsm_close(&db);
    lsm_engine_close(&engine);
    sim_fs_free(&sim);
    return 0;
}
