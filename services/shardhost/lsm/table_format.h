#pragma once

/* The fixed parts of a table file as bytes: block trailer, handles, properties, footer.  FORMAT.md
 * has the offsets; writer and reader share these functions. */

#include "common/base/codec.h"
#include "services/shardhost/lsm/table.h"

#define LSM_TABLE_MAGIC         UINT64_C(0x31656C6261744B4E) /* "NKtable1" */
#define LSM_TABLE_VERSION       UINT32_C(2)
#define LSM_FOOTER_BYTES        ((size_t)76)
#define LSM_FOOTER_1_BYTES      ((size_t)72) /* in version 1 */
#define LSM_TRAILER_BYTES       ((size_t)9)
#define LSM_HANDLE_BYTES_MAX    (2 * NK_VARINT_BYTES_MAX)
#define LSM_BLOCK_BYTES         ((size_t)4096) /* a data or index block is closed at this size */
#define LSM_BLOCK_RAW_BYTES_MAX ((size_t)(64 * NK_MIB)) /* no block is larger once decompressed */
#define LSM_RESTARTS_DATA       16
#define LSM_RESTARTS_INDEX      4
#define LSM_RESTART_BYTES       ((size_t)1024) /* of a data block; README.md, D8 */

/* Writes the trailer of a block stored at `offset`. */
void lsm_trailer_encode(struct nk_bytes stored, uint64_t offset, uint8_t way, uint32_t raw_size,
                        uint8_t out[LSM_TRAILER_BYTES]);

/* Adds a trailer to the digest of a table, which begins as 0: that of all trailers in their order.
 */
uint32_t lsm_digest_extend(uint32_t digest, const uint8_t trailer[LSM_TRAILER_BYTES]);

/* Checks `stored` with its trailer behind it.  False: damaged, or from another place. */
bool lsm_trailer_decode(const uint8_t *stored, size_t stored_size, uint64_t offset,
                        uint8_t *out_way, uint32_t *out_raw_size);

size_t lsm_handle_encode(struct lsm_handle handle, uint8_t out[LSM_HANDLE_BYTES_MAX]);

/* False unless the handle makes sense in a file whose footer starts at `limit`. */
bool lsm_handle_decode(struct nk_bytes bytes, uint64_t limit, struct lsm_handle *out_handle);

void lsm_footer_encode(const struct lsm_footer *footer, uint8_t out[LSM_FOOTER_BYTES]);

/* `in`: the last bytes of the file; a footer of version 1 is shorter and has them in part.
 * NK_CORRUPT, NK_FORMAT_TOO_NEW. */
NK_MUST_CHECK enum nk_err lsm_footer_decode(const uint8_t in[LSM_FOOTER_BYTES], uint64_t file_size,
                                            struct lsm_footer *out_footer);

/* What the properties block says: all of the meta but number, size and digest. */
void lsm_properties_encode(const struct lsm_table_meta *meta, struct nk_buf *out);

/* Keys are borrowed from `bytes`; number, size and digest are left alone.  NK_CORRUPT. */
NK_MUST_CHECK enum nk_err lsm_properties_decode(struct nk_bytes bytes,
                                                struct lsm_table_meta *out_meta);
