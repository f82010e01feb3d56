#pragma once

/* A run of bytes that one thread replaces and any number of threads read, none waiting for another:
 * an immutable block with a count of its users.  The flag is held only to swap or to share the
 * pointer: a reader that is put to sleep in the middle of its work holds a block, not the flag. */

#include <stdatomic.h>

#include "common/base/buf.h"

struct nk_board_block; /* 16-byte aligned bytes */

struct nk_board {
    atomic_flag flag;             /* protects the pointer, not the block */
    struct nk_board_block *block; /* NULL: nothing was shown yet */
};

void nk_board_init(struct nk_board *board);
void nk_board_deinit(struct nk_board *board); /* nobody reads any more */

/* The writing thread only.  Copies. */
void nk_board_show(struct nk_board *board, struct nk_bytes bytes);

/* Any thread: what is shown now, valid until nk_board_release(*out_block); empty and NULL before
 * the first nk_board_show. */
struct nk_bytes nk_board_share(struct nk_board *board, struct nk_board_block **out_block);
void nk_board_release(struct nk_board_block *block); /* NULL is a no-op */

/* Any thread: appends what is shown now. */
void nk_board_copy(struct nk_board *board, struct nk_buf *out);
