#pragma once

/* Bump allocation with one common end of life.  Blocks are 16-byte aligned.  Not thread-safe. */

#include <stddef.h>

struct nk_arena_chunk;

struct nk_arena {
    struct nk_arena_chunk *chunks; /* newest first */
    char *next;                    /* chunk start <= next <= end */
    char *end;
    size_t chunk_size_bytes;
    size_t used_bytes;  /* handed out */
    size_t total_bytes; /* held from the allocator */
    size_t limit_bytes; /* 0: none; nk_arena_try returns NULL beyond it */
};

/* Nothing is allocated before first use. */
void nk_arena_init(struct nk_arena *arena, size_t chunk_size_bytes, size_t limit_bytes);
void nk_arena_deinit(struct nk_arena *arena);

/* Forget all blocks, keep the first chunk for reuse. */
void nk_arena_reset(struct nk_arena *arena);

void *nk_arena_alloc(struct nk_arena *arena, size_t size); /* the limit is asserted */
void *nk_arena_try(struct nk_arena *arena, size_t size);   /* NULL beyond the limit */
