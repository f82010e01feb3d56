#pragma once

/* Percent-encoding (RFC 3986, 2.1): "%XX" is one byte, every other byte is itself, '+' too.  Pure.
 */

#include "common/base/bytes.h"

/* Decodes once: the first `capacity` bytes go to `out`, *out_size counts all of them.  False: a '%'
 * that is not followed by two hexadecimal digits. */
bool http_percent_decode(struct nk_bytes text, uint8_t *out, size_t capacity, size_t *out_size);
