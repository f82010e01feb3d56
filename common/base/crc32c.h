#pragma once

/* CRC-32C (Castagnoli, RFC 3720 appendix B.4), as in iSCSI, ext4 and every format of this store. */

#include "common/base/bytes.h"

/* nk_crc32c of a concatenation: nk_crc32c_extend(nk_crc32c(a), b). */
uint32_t nk_crc32c_extend(uint32_t crc, struct nk_bytes bytes);

static inline uint32_t nk_crc32c(struct nk_bytes bytes)
{
    return nk_crc32c_extend(0, bytes);
}
