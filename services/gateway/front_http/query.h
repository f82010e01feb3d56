#pragma once

/* The query of a request target: name=value, separated by '&'.  Pure. */

#include "common/base/bytes.h"

struct http_parameter {
    struct nk_bytes name; /* as they came, borrowed from the query */
    struct nk_bytes value;
};

/* The next parameter; *query moves behind it.  False: there is none.  Empty ones are passed over;
 * without a '=' the value is empty. */
bool http_query_next(struct nk_bytes *query, struct http_parameter *out_parameter);
