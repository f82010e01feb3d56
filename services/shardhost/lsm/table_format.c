#include "services/shardhost/lsm/table_format.h"

#include <assert.h>

#include "common/base/assert.h"
#include "common/base/crc32c.h"

#define TRAILER_CRC_AT      5

/* Footer: three handles, then these. */
#define FOOTER_FILE_SIZE_AT 48
#define FOOTER_DIGEST_AT    56
#define FOOTER_VERSION_AT   60
#define FOOTER_CRC_AT       64
#define FOOTER_MAGIC_AT     68

static_assert(LSM_FOOTER_BYTES == FOOTER_MAGIC_AT + 8, "the magic number ends the file");

enum property {
    PROPERTY_RECORD_COUNT = 1,
    PROPERTY_TOMBSTONE_COUNT = 2,
    PROPERTY_INDEX_MIN = 3,
    PROPERTY_INDEX_MAX = 4,
    PROPERTY_EXPIRE_MIN_MS = 5,
    PROPERTY_SMALLEST = 6,
    PROPERTY_LARGEST = 7,
    PROPERTY_EXPIRE_COUNT = 8,
    PROPERTY_EXPIRE_MAX_MS = 9,
};

/* ---- Trailer ---- */

/* The checksum covers where the block belongs, so that a block in the wrong place is found too. */
static uint32_t block_crc(struct nk_bytes stored, const uint8_t way_and_size[5], uint64_t offset)
{
    uint8_t place[8];
    nk_put_u64(place, offset);
    uint32_t crc = nk_crc32c(stored);
    crc = nk_crc32c_extend(crc, nk_bytes_of(way_and_size, 5));
    return nk_crc32c_extend(crc, nk_bytes_of(place, sizeof place));
}

void lsm_trailer_encode(struct nk_bytes stored, uint64_t offset, uint8_t way, uint32_t raw_size,
                        uint8_t out[LSM_TRAILER_BYTES])
{
    out[0] = way;
    nk_put_u32(out + 1, raw_size);
    nk_put_u32(out + TRAILER_CRC_AT, block_crc(stored, out, offset));
}

uint32_t lsm_digest_extend(uint32_t digest, const uint8_t trailer[LSM_TRAILER_BYTES])
{
    return nk_crc32c_extend(digest, nk_bytes_of(trailer + TRAILER_CRC_AT, sizeof(uint32_t)));
}

bool lsm_trailer_decode(const uint8_t *stored, size_t stored_size, uint64_t offset,
                        uint8_t *out_way, uint32_t *out_raw_size)
{
    const uint8_t *trailer = stored + stored_size;
    if (block_crc(nk_bytes_of(stored, stored_size), trailer, offset) !=
        nk_get_u32(trailer + TRAILER_CRC_AT)) {
        return false;
    }
    *out_way = trailer[0];
    *out_raw_size = nk_get_u32(trailer + 1);
    return *out_raw_size <= LSM_BLOCK_RAW_BYTES_MAX;
}

/* ---- Handles ---- */

size_t lsm_handle_encode(struct lsm_handle handle, uint8_t out[LSM_HANDLE_BYTES_MAX])
{
    size_t size = nk_put_varint(out, handle.offset);
    return size + nk_put_varint(out + size, handle.size);
}

static bool handle_fits(struct lsm_handle handle, uint64_t limit)
{
    return handle.size > 0 && handle.size <= LSM_BLOCK_RAW_BYTES_MAX && handle.offset <= limit &&
           handle.size + LSM_TRAILER_BYTES <= limit - handle.offset;
}

bool lsm_handle_decode(struct nk_bytes bytes, uint64_t limit, struct lsm_handle *out_handle)
{
    struct nk_reader reader = nk_reader_of(bytes);
    struct lsm_handle handle;
    handle.offset = nk_read_varint(&reader);
    handle.size = nk_read_varint(&reader);
    if (reader.failed || nk_reader_left(&reader) > 0 || !handle_fits(handle, limit)) {
        return false;
    }
    *out_handle = handle;
    return true;
}

/* ---- Footer ---- */

void lsm_footer_encode(const struct lsm_footer *footer, uint8_t out[LSM_FOOTER_BYTES])
{
    const struct lsm_handle handles[3] = {footer->index, footer->filter, footer->properties};
    for (size_t i = 0; i < 3; i++) {
        nk_put_u64(out + 16 * i, handles[i].offset);
        nk_put_u64(out + 16 * i + 8, handles[i].size);
    }
    nk_put_u64(out + FOOTER_FILE_SIZE_AT, footer->file_size);
    nk_put_u32(out + FOOTER_DIGEST_AT, footer->digest);
    nk_put_u32(out + FOOTER_VERSION_AT, LSM_TABLE_VERSION);
    nk_put_u32(out + FOOTER_CRC_AT, nk_crc32c(nk_bytes_of(out, FOOTER_CRC_AT)));
    nk_put_u64(out + FOOTER_MAGIC_AT, LSM_TABLE_MAGIC);
}

enum nk_err lsm_footer_decode(const uint8_t in[LSM_FOOTER_BYTES], uint64_t file_size,
                              struct lsm_footer *out_footer)
{
    uint32_t version = nk_get_u32(in + FOOTER_VERSION_AT);
    size_t skipped = version == 1 ? LSM_FOOTER_BYTES - LSM_FOOTER_1_BYTES : 0;
    const uint8_t *from = in + skipped;
    if (nk_get_u64(in + FOOTER_MAGIC_AT) != LSM_TABLE_MAGIC) {
        return NK_CORRUPT;
    }
    if (nk_get_u32(in + FOOTER_CRC_AT) != nk_crc32c(nk_bytes_of(from, FOOTER_CRC_AT - skipped))) {
        return NK_CORRUPT;
    }
    if (version > LSM_TABLE_VERSION) {
        return NK_FORMAT_TOO_NEW;
    }
    struct lsm_footer footer = {
        .file_size = nk_get_u64(from + FOOTER_FILE_SIZE_AT),
        .version = version,
        .digest = version == 1 ? 0 : nk_get_u32(from + FOOTER_DIGEST_AT),
    };
    struct lsm_handle *handles[3] = {&footer.index, &footer.filter, &footer.properties};
    if (version == 0 || footer.file_size != file_size || file_size < LSM_FOOTER_BYTES) {
        return NK_CORRUPT;
    }
    footer.start = file_size - LSM_FOOTER_BYTES + skipped;
    for (size_t i = 0; i < 3; i++) {
        *handles[i] = (struct lsm_handle){nk_get_u64(from + 16 * i), nk_get_u64(from + 16 * i + 8)};
        bool absent = i == 1 && handles[i]->size == 0;
        if (!absent && !handle_fits(*handles[i], footer.start)) {
            return NK_CORRUPT;
        }
    }
    *out_footer = footer;
    return NK_OK;
}

/* ---- Properties: (id, size, bytes) each; an unknown id is skipped ---- */

static void put_property(struct nk_buf *out, enum property id, struct nk_bytes bytes)
{
    nk_buf_reserve(out, 2 * NK_VARINT_BYTES_MAX);
    out->size += nk_put_varint(out->data + out->size, (uint64_t)id);
    out->size += nk_put_varint(out->data + out->size, bytes.size);
    nk_buf_append(out, bytes);
}

static void put_number(struct nk_buf *out, enum property id, uint64_t number)
{
    uint8_t bytes[8];
    nk_put_u64(bytes, number);
    put_property(out, id, nk_bytes_of(bytes, sizeof bytes));
}

void lsm_properties_encode(const struct lsm_table_meta *meta, struct nk_buf *out)
{
    put_number(out, PROPERTY_RECORD_COUNT, meta->record_count);
    put_number(out, PROPERTY_TOMBSTONE_COUNT, meta->tombstone_count);
    put_number(out, PROPERTY_INDEX_MIN, meta->index_min);
    put_number(out, PROPERTY_INDEX_MAX, meta->index_max);
    put_number(out, PROPERTY_EXPIRE_COUNT, meta->expire_count);
    put_number(out, PROPERTY_EXPIRE_MIN_MS, meta->expire_min_ms);
    put_number(out, PROPERTY_EXPIRE_MAX_MS, meta->expire_max_ms);
    put_property(out, PROPERTY_SMALLEST, meta->smallest);
    put_property(out, PROPERTY_LARGEST, meta->largest);
}

static bool decode_number(struct nk_bytes bytes, uint64_t *out_number)
{
    if (bytes.size != 8) {
        return false;
    }
    *out_number = nk_get_u64(bytes.data);
    return true;
}

static bool decode_key(struct nk_bytes bytes, struct nk_bytes *out_key)
{
    *out_key = bytes;
    return bytes.size > 0 && bytes.size <= LSM_KEY_BYTES_MAX;
}

static bool decode_property(uint64_t id, struct nk_bytes bytes, struct lsm_table_meta *meta)
{
    switch (id) {
    case PROPERTY_RECORD_COUNT:
        return decode_number(bytes, &meta->record_count);
    case PROPERTY_TOMBSTONE_COUNT:
        return decode_number(bytes, &meta->tombstone_count);
    case PROPERTY_INDEX_MIN:
        return decode_number(bytes, &meta->index_min);
    case PROPERTY_INDEX_MAX:
        return decode_number(bytes, &meta->index_max);
    case PROPERTY_EXPIRE_COUNT:
        return decode_number(bytes, &meta->expire_count);
    case PROPERTY_EXPIRE_MAX_MS:
        return decode_number(bytes, &meta->expire_max_ms);
    case PROPERTY_EXPIRE_MIN_MS:
        return decode_number(bytes, &meta->expire_min_ms);
    case PROPERTY_SMALLEST:
        return decode_key(bytes, &meta->smallest);
    case PROPERTY_LARGEST:
        return decode_key(bytes, &meta->largest);
    default:
        return true;
    }
}

enum nk_err lsm_properties_decode(struct nk_bytes bytes, struct lsm_table_meta *out_meta)
{
    struct lsm_table_meta meta = {
        .number = out_meta->number,
        .size_bytes = out_meta->size_bytes,
        .digest = out_meta->digest,
    };
    struct nk_reader reader = nk_reader_of(bytes);
    while (nk_reader_left(&reader) > 0) {
        uint64_t id = nk_read_varint(&reader);
        struct nk_bytes value = nk_read_bytes(&reader, nk_read_varint(&reader));
        if (reader.failed || !decode_property(id, value, &meta)) {
            return NK_CORRUPT;
        }
    }
    if (meta.smallest.size == 0 || nk_bytes_compare(meta.smallest, meta.largest) > 0) {
        return NK_CORRUPT;
    }
    *out_meta = meta;
    return NK_OK;
}
