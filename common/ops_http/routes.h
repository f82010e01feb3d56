#pragma once

/* The routes that every process has. */

#include "exchange.h"
#include "ops_http.h"

/* Answers the exchange if its path is one of ours; false: it is not. */
bool routes_serve(struct exchange *exchange, struct nk_health *health, struct nk_registry *metrics);
