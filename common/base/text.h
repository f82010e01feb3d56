#pragma once

/* Bounded text in memory of the caller.  What does not fit is cut, `truncated` says so, and the
 * text is always NUL-terminated.  For pure code, which has no printf. */

#include "common/base/bytes.h"

struct nk_text {
    char *data;
    size_t size;     /* without the NUL; size < capacity */
    size_t capacity; /* > 0 */
    bool truncated;
};

/* Starts an empty text in `memory`. */
void nk_text_init(struct nk_text *text, char *memory, size_t capacity);

void nk_text_add(struct nk_text *text, const char *string);
void nk_text_add_bytes(struct nk_text *text, struct nk_bytes bytes); /* as they are */
void nk_text_add_u64(struct nk_text *text, uint64_t number);
void nk_text_add_hex(struct nk_text *text, uint64_t number, unsigned digits); /* zero padded */

/* Printable ASCII as it is, everything else and the backslash as \xNN. */
void nk_text_add_escaped(struct nk_text *text, struct nk_bytes bytes);

/* Decimal to number.  The whole input must be digits and fit; else false, *out_number untouched. */
bool nk_text_parse_u64(struct nk_bytes digits, uint64_t *out_number);
