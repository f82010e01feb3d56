/* Filters of tables (services/shardhost/lsm/FORMAT.md, "Filter").
 *
 * First byte even: a hash and then the bytes of a filter.  Nothing outside of them is read, and one
 * that makes no sense lets everything through.
 * First byte odd: bits per key and then hashes.  A filter lets everything through that it was made
 * of, has the size that it should, and leaves alone what stood in the buffer before it. */

#include "common/base/assert.h"
#include "common/base/codec.h"
#include "services/shardhost/lsm/filter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_bytes(struct nk_reader *input)
{
    uint64_t hash = nk_read_u64(input);
    struct nk_bytes filter = nk_bytes_of(input->next, nk_reader_left(input));
    bool passes = lsm_filter_may_contain(filter, hash);
    bool sensible = filter.size > LSM_FILTER_LINE_BYTES && filter.size % LSM_FILTER_LINE_BYTES == 1;
    bool asks = sensible && filter.data[filter.size - 1] > 0;
    if (!asks) {
        NK_ASSERT(passes);
    }
}

static void fuzz_hashes(struct nk_reader *input)
{
    uint32_t bits_per_key = 1 + nk_read_u16(input);
    uint64_t hashes[512];
    size_t count = 0;
    while (nk_reader_left(input) >= 8 && count < sizeof hashes / sizeof hashes[0]) {
        hashes[count++] = nk_read_u64(input);
    }
    if (count == 0) {
        return;
    }
    struct nk_buf out = {0};
    nk_buf_append_string(&out, "before");
    lsm_filter_build(hashes, count, bits_per_key, &out);
    NK_ASSERT(nk_bytes_starts_with(nk_buf_bytes(&out), nk_bytes_of_string("before")));
    struct nk_bytes filter = nk_bytes_of(out.data + 6, out.size - 6);
    NK_ASSERT(filter.size > LSM_FILTER_LINE_BYTES);
    NK_ASSERT(filter.size % LSM_FILTER_LINE_BYTES == 1);
    NK_ASSERT(filter.data[filter.size - 1] >= 1);
    NK_ASSERT(filter.data[filter.size - 1] <= LSM_FILTER_PROBES_MAX);
    for (size_t i = 0; i < count; i++) {
        NK_ASSERT(lsm_filter_may_contain(filter, hashes[i]));
    }
    nk_buf_deinit(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nk_reader input = nk_reader_of(nk_bytes_of(data, size));
    bool made = nk_read_u8(&input) % 2 != 0;
    if (input.failed) {
        return 0;
    }
    if (made) {
        fuzz_hashes(&input);
    } else {
        fuzz_bytes(&input);
    }
    return 0;
}
