#pragma once

/* UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF. */

#include "common/base/bytes.h"

/* The length of the valid character that `bytes` starts with; 0: none. */
size_t gateway_utf8_character(struct nk_bytes bytes);

bool gateway_utf8_valid(struct nk_bytes bytes);

/* Makes a NUL-terminated text fit for a status message: each byte that is no valid UTF-8, and each
 * control character, becomes '?'.  Also cuts the half character that a truncation left. */
void gateway_utf8_sanitize(char *text);
