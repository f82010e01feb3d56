#pragma once

/* The head of a request, looked at once more.  libmicrohttpd lets through what two servers can read
 * in two ways: names with blanks before the colon, folded lines (which it glues to the name), NULs
 * (which cut the text they are in), two lengths of one body, no Host.  Whoever stands between a
 * client and this server could be made to see other requests than we do, so all of that is refused.
 * RFC 9112, sections 2.2, 3.2, 5 and 6.
 *
 * Pure: bytes in, verdict out. */

#include "common/base/bytes.h"

#define HEAD_BYTES_MAX        ((size_t)8192)
#define HEAD_TARGET_BYTES_MAX ((size_t)4096)

struct head {
    bool line_is_whole;     /* method, target and version follow each other in memory */
    struct nk_bytes target; /* as it came */
    const char *version;    /* "HTTP/1.1" */

    /* From the end of the version to the end of the head, as the library leaves it in its memory:
     * the first colon of each line, each CR and each LF that ends one is a NUL. */
    struct nk_bytes fields;
};

struct head_refusal {
    unsigned status;
    const char *code;
    const char *message;
};

/* NULL: nothing is wrong. */
const struct head_refusal *head_check(const struct head *head);
