#pragma once

/* Writes JSON into a buffer, one value after the other; commas come by themselves.  There is no
 * tree and no reading.
 *
 *   nk_json_open(&json, '{');
 *   nk_json_name(&json, "role");
 *   nk_json_text(&json, "gossip");
 *   nk_json_close(&json, '}'); */

#include "common/base/buf.h"

struct nk_json {
    struct nk_buf *out; /* appended to */
    bool comma;         /* one is due before the next name or value */
};

void nk_json_init(struct nk_json *json, struct nk_buf *out);

void nk_json_open(struct nk_json *json, char bracket); /* '{' or '[' */
void nk_json_close(struct nk_json *json, char bracket);
void nk_json_name(struct nk_json *json, const char *name); /* a name of ours: not escaped */
void nk_json_number(struct nk_json *json, uint64_t number);
void nk_json_bool(struct nk_json *json, bool value);
void nk_json_null(struct nk_json *json);

/* Escaped; what is not printable ASCII beyond that becomes U+FFFD, so the output is always JSON. */
void nk_json_text(struct nk_json *json, const char *text);
