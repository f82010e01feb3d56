#pragma once

/* Memory of the process.  Every large consumer has a budget in bytes (limits.h, configuration), so
 * running out is a programming or sizing error: these calls never return NULL, they stop the
 * process, all but nk_alloc_try. */

#include <stddef.h>

void *nk_alloc(size_t size);                    /* uninitialised */
void *nk_alloc_zero(size_t count, size_t size); /* checks the product for overflow */
void *nk_realloc(void *memory, size_t size);    /* size > 0 */
void nk_free(void *memory);                     /* NULL is a no-op */

/* For what has no budget, the size of somebody's file: NULL if there is not that much. */
void *nk_alloc_try(size_t size);
char *nk_strdup(const char *text); /* caller frees with nk_free */
