#pragma once

/* What exchanges need of their daemon. */

#include "ops_http.h"

bool daemon_is_stopping(const struct ops_http *http);

/* A handler has kept its promise.  Any thread. */
void daemon_answered(struct ops_http *http);
