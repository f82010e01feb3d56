#pragma once

/* What a caller is told for each outcome: one table for both fronts.  The gRPC numbers are those of
 * https://grpc.io/docs/guides/status-codes. */

#include "common/base/err.h"
#include "common/base/text.h"

#define GATEWAY_GRPC_INTERNAL 13 /* our bug: its words are not for callers */

struct gateway_status {
    enum nk_err err;
    int grpc;
    const char *name; /* of the gRPC status; "code" in HTTP errors */
    int http;
    const char *prefix; /* the message starts with it, then ": "; "" none */
};

/* INTERNAL for every err that is not in the table. */
const struct gateway_status *gateway_status_of(enum nk_err err);

/* Writes prefix and message; a message that has the prefix already does not get it twice. */
void gateway_status_text(const struct gateway_status *status, const char *message,
                         struct nk_text *text);
