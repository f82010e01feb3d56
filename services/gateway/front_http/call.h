#pragma once

/* One request to /kv/{key} on its way through the gateway. */

#include "request.h"

struct nk_http_exchange;

/* Hands the request over; the exchange is answered when the gateway has an answer, on its loop
 * thread, or at once when it takes nothing new. */
void http_call_submit(struct gateway *gateway, struct nk_http_exchange *exchange,
                      const struct http_request *request);
