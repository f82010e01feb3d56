/* Blocks whose handles are lost.
 *
 * Blocks lie side by side, each with its trailer behind it, whose checksum covers the block and its
 * place: from where a block begins its end is the first place with a trailer that is right.  Behind
 * a block that is damaged the next one begins where some trailer ends; those that may be one are
 * tried in turn.  What a search may cost is limited for the file as a whole, so that bytes made for
 * it do not take for ever. */

#include "services/shardhost/lsm/inspect/look.h"

/* Whether what stands at `at` may be the trailer of a block that begins at `begin` or, unless
 * `exactly`, somewhere between. */
static bool may_be_trailer(const struct look *look, uint64_t begin, uint64_t at, bool exactly)
{
    const uint8_t *trailer = look->file.data + at;
    uint64_t size = at - begin;
    uint64_t raw_size = nk_get_u32(trailer + 1);
    switch (trailer[0]) {
    case LSM_COMPRESSION_NONE:
        return exactly ? raw_size == size : raw_size > 0 && raw_size <= size;
    case LSM_COMPRESSION_LZ4:
    case LSM_COMPRESSION_ZSTD:
        return raw_size <= LSM_BLOCK_RAW_BYTES_MAX && (!exactly || raw_size >= size);
    default:
        return false;
    }
}

/* Takes `bytes` from what may still be looked at; false: there is no more. */
static bool spend(struct look *look, uint64_t bytes)
{
    if (look->search_left < bytes) {
        look->search_left = 0;
        return false;
    }
    look->search_left -= bytes;
    return true;
}

/* The block that begins at `begin` and ends, trailer and all, at or before `limit`. */
static bool find_block(struct look *look, uint64_t begin, uint64_t limit,
                       struct lsm_handle *out_handle)
{
    for (uint64_t at = begin + 1; at + LSM_TRAILER_BYTES <= limit; at++) {
        uint64_t size = at - begin;
        if (size > LSM_BLOCK_RAW_BYTES_MAX || !spend(look, 1)) {
            return false;
        }
        if (!may_be_trailer(look, begin, at, true)) {
            continue;
        }
        uint8_t way = 0;
        uint32_t raw_size = 0;
        if (!spend(look, size)) {
            return false;
        }
        if (lsm_trailer_decode(look->file.data + begin, (size_t)size, begin, &way, &raw_size)) {
            *out_handle = (struct lsm_handle){begin, size};
            return true;
        }
    }
    return false;
}

/* The next place behind `begin` where a block is found, or `limit`. */
static uint64_t find_next(struct look *look, uint64_t begin, uint64_t limit)
{
    for (uint64_t at = begin; at + LSM_TRAILER_BYTES < limit && spend(look, 1); at++) {
        struct lsm_handle handle;
        if (may_be_trailer(look, begin, at, false) &&
            find_block(look, at + LSM_TRAILER_BYTES, limit, &handle)) {
            return handle.offset;
        }
    }
    return limit;
}

static void tell_lost(struct look *look, uint64_t offset, uint64_t size)
{
    /* A bad footer was told already. */
    if (!look->has_footer && (size == LSM_FOOTER_BYTES || size == LSM_FOOTER_1_BYTES) &&
        offset + size == look->file.size) {
        return;
    }
    look->lost = true;
    report_begin(look->report, "lost");
    report_number(look->report, "offset", offset);
    report_number(look->report, "bytes", size);
    report_end(look->report);
    report_damage(look->report, offset,
                  look->search_left > 0 ? "no block that can be read"
                                        : "not searched: too much looks like blocks");
}

void look_search(struct look *look, uint64_t offset, uint64_t limit)
{
    while (offset < limit) {
        struct look_block block = {.kind = LOOK_UNKNOWN};
        if (find_block(look, offset, limit, &block.handle)) {
            look_at_block(look, &block);
            offset += block.handle.size + LSM_TRAILER_BYTES;
            continue;
        }
        uint64_t next = find_next(look, offset, limit);
        tell_lost(look, offset, next - offset);
        offset = next;
    }
}
