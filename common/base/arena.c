#include "common/base/arena.h"

#include <stdint.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/units.h"

#define ARENA_ALIGN ((size_t)16)

struct nk_arena_chunk {
    struct nk_arena_chunk *next;
    size_t size_bytes; /* with this header */
};

static_assert(sizeof(struct nk_arena_chunk) % ARENA_ALIGN == 0, "blocks start aligned");

void nk_arena_init(struct nk_arena *arena, size_t chunk_size_bytes, size_t limit_bytes)
{
    NK_ASSERT(chunk_size_bytes > sizeof(struct nk_arena_chunk));
    memset(arena, 0, sizeof *arena);
    arena->chunk_size_bytes = chunk_size_bytes;
    arena->limit_bytes = limit_bytes;
}

void nk_arena_deinit(struct nk_arena *arena)
{
    struct nk_arena_chunk *chunk = arena->chunks;
    while (chunk != NULL) {
        struct nk_arena_chunk *next = chunk->next;
        nk_free(chunk);
        chunk = next;
    }
    nk_arena_init(arena, arena->chunk_size_bytes, arena->limit_bytes);
}

void nk_arena_reset(struct nk_arena *arena)
{
    struct nk_arena_chunk *keep = arena->chunks;
    if (keep == NULL) {
        return;
    }
    while (keep->next != NULL) {
        struct nk_arena_chunk *older = keep->next;
        nk_free(keep);
        keep = older;
    }
    arena->chunks = keep;
    arena->next = (char *)(keep + 1);
    arena->end = (char *)keep + keep->size_bytes;
    arena->used_bytes = 0;
    arena->total_bytes = keep->size_bytes;
}

void *nk_arena_try(struct nk_arena *arena, size_t size)
{
    if (size > SIZE_MAX / 4) {
        return NULL;
    }
    size_t rounded = (nk_max_size(size, 1) + ARENA_ALIGN - 1) & ~(ARENA_ALIGN - 1);
    if (arena->limit_bytes > 0 && rounded > arena->limit_bytes - arena->used_bytes) {
        return NULL;
    }
    if (arena->chunks == NULL || rounded > (size_t)(arena->end - arena->next)) {
        size_t chunk_size =
            nk_max_size(arena->chunk_size_bytes, rounded + sizeof(struct nk_arena_chunk));
        struct nk_arena_chunk *chunk = nk_alloc(chunk_size);
        chunk->next = arena->chunks;
        chunk->size_bytes = chunk_size;
        arena->chunks = chunk;
        arena->next = (char *)(chunk + 1);
        arena->end = (char *)chunk + chunk_size;
        arena->total_bytes += chunk_size;
    }
    void *block = arena->next;
    arena->next += rounded;
    arena->used_bytes += rounded;
    return block;
}

void *nk_arena_alloc(struct nk_arena *arena, size_t size)
{
    void *block = nk_arena_try(arena, size);
    NK_ASSERT(block != NULL);
    return block;
}
