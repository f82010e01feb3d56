#include "services/shardhost/lsm/block_builder.h"

#include "common/base/assert.h"
#include "common/base/codec.h"

void lsm_block_builder_init(struct lsm_block_builder *builder, uint32_t restart_interval)
{
    NK_ASSERT(restart_interval > 0);
    memset(builder, 0, sizeof *builder);
    builder->restart_interval = restart_interval;
    builder->restart_bytes = SIZE_MAX;
}

void lsm_block_builder_deinit(struct lsm_block_builder *builder)
{
    nk_buf_deinit(&builder->bytes);
    nk_buf_deinit(&builder->restarts);
    nk_buf_deinit(&builder->last_key);
}

static void start_block(struct lsm_block_builder *builder)
{
    nk_buf_clear(&builder->bytes);
    nk_buf_clear(&builder->restarts);
    nk_buf_clear(&builder->last_key);
    builder->since_restart = 0;
}

static size_t shared_bytes(struct nk_bytes a, struct nk_bytes b)
{
    size_t limit = a.size < b.size ? a.size : b.size;
    size_t shared = 0;
    while (shared + 8 <= limit) {
        uint64_t left;
        uint64_t right;
        memcpy(&left, a.data + shared, 8);
        memcpy(&right, b.data + shared, 8);
        if (left != right) {
            break;
        }
        shared += 8;
    }
    while (shared < limit && a.data[shared] == b.data[shared]) {
        shared++;
    }
    return shared;
}

static uint8_t *put_bytes(uint8_t *out, struct nk_bytes bytes)
{
    if (bytes.size > 0) {
        memcpy(out, bytes.data, bytes.size);
    }
    return out + bytes.size;
}

void lsm_block_builder_add(struct lsm_block_builder *builder, struct nk_bytes key,
                           struct nk_bytes head, struct nk_bytes tail)
{
    NK_ASSERT(key.size <= LSM_KEY_BYTES_MAX);
    if (builder->count == 0) {
        start_block(builder);
    }
    struct nk_bytes last = nk_buf_bytes(&builder->last_key);
    size_t shared = shared_bytes(last, key);
    if (builder->count > 0) {
        NK_ASSERT(shared < key.size);
        NK_ASSERT(shared == last.size || last.data[shared] < key.data[shared]);
    }
    if (builder->since_restart == builder->restart_interval || builder->count == 0 ||
        builder->bytes.size - builder->restart_at >= builder->restart_bytes) {
        NK_ASSERT(builder->bytes.size <= UINT32_MAX);
        nk_put_u32(nk_buf_extend(&builder->restarts, 4), (uint32_t)builder->bytes.size);
        builder->since_restart = 0;
        builder->restart_at = builder->bytes.size;
        shared = 0;
    }
    size_t unshared = key.size - shared;
    nk_buf_reserve(&builder->bytes, 3 * NK_VARINT_BYTES_MAX + unshared + head.size + tail.size);
    uint8_t *out = builder->bytes.data + builder->bytes.size;
    out += nk_put_varint(out, shared);
    out += nk_put_varint(out, unshared);
    out += nk_put_varint(out, head.size + tail.size);
    out = put_bytes(out, nk_bytes_of(key.data + shared, unshared));
    out = put_bytes(out, head);
    out = put_bytes(out, tail);
    builder->bytes.size = (size_t)(out - builder->bytes.data);
    builder->last_key.size = shared;
    nk_buf_append(&builder->last_key, nk_bytes_of(key.data + shared, unshared));
    builder->since_restart++;
    builder->count++;
}

size_t lsm_block_builder_size(const struct lsm_block_builder *builder)
{
    return builder->count == 0 ? 0 : builder->bytes.size + builder->restarts.size + 4;
}

struct nk_bytes lsm_block_builder_finish(struct lsm_block_builder *builder)
{
    NK_ASSERT(builder->count > 0);
    uint32_t restart_count = (uint32_t)(builder->restarts.size / 4);
    nk_buf_append(&builder->bytes, nk_buf_bytes(&builder->restarts));
    nk_put_u32(nk_buf_extend(&builder->bytes, 4), restart_count);
    builder->count = 0;
    return nk_buf_bytes(&builder->bytes);
}
