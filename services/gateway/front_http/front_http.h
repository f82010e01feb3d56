#pragma once

/* The gateway's HTTP side.  Turns a request into a gateway_request and back; decides nothing about
 * data.  The exchanges are common/ops_http's.
 *
 *   PUT    /kv/{key}   200 and ETag       body: the value; ?ttl_ms=; If-Match, If-None-Match: *,
 *                                         Idempotency-Key
 *   GET    /kv/{key}   200 and ETag       the value; ?consistency=
 *   HEAD   /kv/{key}                      the same without the value
 *   DELETE /kv/{key}   204                If-Match, Idempotency-Key; 404: no live key was there,
 *                                         and the delete is done all the same
 *   GET    /meta/cluster, /meta/targets   JSON
 *
 * {key} is everything between "/kv/" and the question mark, percent-decoded once: any bytes, also
 * '/' and "..".  An ETag is "term.index", the version of the key; If-Match takes exactly one.
 * Conditions and idempotency keys are for writes, reads do not look at them.  A query parameter
 * that the method does not have is an error, as is one given twice.
 *
 * Errors are those of gRPC (services/gateway/status.h), with 414 for a key that is too long. */

#include "common/env/http.h"
#include "services/gateway/gateway.h"

/* Valid as long as the gateway: from its init to its deinit. */
struct nk_http_handler front_http_handler(struct gateway *gateway);
