#pragma once

/* Private to common/service. */

#include "common/base/assert.h"
#include "common/service/health.h"
#include "common/service/json.h"

/* Copies a text that is known to fit, with its NUL. */
static inline void field_copy(char *out, size_t capacity, const char *text)
{
    size_t size = strlen(text);
    NK_ASSERT(size < capacity);
    memcpy(out, text, size + 1);
}

/* "nodes": [{id, addr, role}, ...], the same in /health and in /meta/cluster. */
void field_write_nodes(struct nk_json *json, const struct nk_health_node *nodes, size_t count);
