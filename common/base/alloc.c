#include "common/base/alloc.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/assert.h"

void *nk_alloc_try(size_t size)
{
    return malloc(size > 0 ? size : 1);
}

void *nk_alloc(size_t size)
{
    void *memory = nk_alloc_try(size);
    NK_ASSERT(memory != NULL);
    return memory;
}

void *nk_alloc_zero(size_t count, size_t size)
{
    NK_ASSERT(size == 0 || count <= SIZE_MAX / size);
    void *memory = calloc(count > 0 ? count : 1, size > 0 ? size : 1);
    NK_ASSERT(memory != NULL);
    return memory;
}

void *nk_realloc(void *memory, size_t size)
{
    NK_ASSERT(size > 0);
    void *moved = realloc(memory, size);
    NK_ASSERT(moved != NULL);
    return moved;
}

void nk_free(void *memory)
{
    free(memory);
}

char *nk_strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = nk_alloc(size);
    memcpy(copy, text, size);
    return copy;
}
