#include "services/shardhost/lsm/key.h"

#include <assert.h>

#include "common/base/assert.h"
#include "common/base/codec.h"

#define TAG_TOMBSTONE 1
#define TAG_EXPIRES   2
#define TAG_KNOWN     (TAG_TOMBSTONE | TAG_EXPIRES)

static_assert(LSM_ENTRY_BYTES_MAX == 1 + 3 * NK_VARINT_BYTES_MAX, "tag and three varints");

void lsm_key_separator(struct nk_bytes last, struct nk_bytes next, struct nk_buf *out)
{
    NK_ASSERT(nk_bytes_compare(last, next) < 0);
    size_t shared = 0;
    while (shared < last.size && last.data[shared] == next.data[shared]) {
        shared++;
    }
    nk_buf_clear(out);
    /* A prefix of `last` with its final byte raised is greater than `last`; it is below `next` as
     * long as the raised byte is. */
    if (shared + 1 < last.size && last.data[shared] + 1 < next.data[shared]) {
        nk_buf_append(out, nk_bytes_of(last.data, shared));
        nk_buf_append_u8(out, (uint8_t)(last.data[shared] + 1));
        return;
    }
    nk_buf_append(out, last);
}

size_t lsm_entry_encode(const struct lsm_entry *entry, uint8_t *out)
{
    size_t size = 0;
    out[size++] = (uint8_t)((entry->tombstone ? TAG_TOMBSTONE : 0) |
                            (entry->expire_at_ms != 0 ? TAG_EXPIRES : 0));
    size += nk_put_varint(out + size, entry->version.term);
    size += nk_put_varint(out + size, entry->version.index);
    if (entry->expire_at_ms != 0) {
        size += nk_put_varint(out + size, entry->expire_at_ms);
    }
    return size;
}

enum nk_err lsm_entry_decode(struct nk_bytes payload, struct lsm_entry *out_entry,
                             struct nk_bytes *out_value)
{
    struct nk_reader reader = nk_reader_of(payload);
    struct lsm_entry entry = {0};
    if (payload.size == 0) {
        return NK_CORRUPT;
    }
    uint8_t tag = *reader.next++;
    entry.version.term = lsm_read_varint(&reader);
    entry.version.index = lsm_read_varint(&reader);
    if ((tag & TAG_EXPIRES) != 0) {
        entry.expire_at_ms = lsm_read_varint(&reader);
    }
    entry.tombstone = (tag & TAG_TOMBSTONE) != 0;
    if (reader.failed || (tag & ~TAG_KNOWN) != 0) {
        return NK_CORRUPT;
    }
    *out_value = nk_bytes_of(reader.next, nk_reader_left(&reader));
    if (entry.tombstone && out_value->size > 0) {
        return NK_CORRUPT;
    }
    *out_entry = entry;
    return NK_OK;
}
