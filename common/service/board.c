#include "common/service/board.h"

#include <stdalign.h>

#include "common/base/alloc.h"

struct nk_board_block {
    _Atomic size_t users; /* the board is one of them while it shows the block */
    size_t size;
    alignas(16) uint8_t data[];
};

static void lock(struct nk_board *board)
{
    while (atomic_flag_test_and_set_explicit(&board->flag, memory_order_acquire)) {
    }
}

static void unlock(struct nk_board *board)
{
    atomic_flag_clear_explicit(&board->flag, memory_order_release);
}

void nk_board_init(struct nk_board *board)
{
    atomic_flag_clear(&board->flag);
    board->block = NULL;
}

void nk_board_deinit(struct nk_board *board)
{
    nk_board_release(board->block);
    board->block = NULL;
}

void nk_board_show(struct nk_board *board, struct nk_bytes bytes)
{
    struct nk_board_block *block = nk_alloc(sizeof *block + bytes.size);
    atomic_init(&block->users, 1);
    block->size = bytes.size;
    if (bytes.size > 0) {
        memcpy(block->data, bytes.data, bytes.size);
    }
    lock(board);
    struct nk_board_block *former = board->block;
    board->block = block;
    unlock(board);
    nk_board_release(former);
}

struct nk_bytes nk_board_share(struct nk_board *board, struct nk_board_block **out_block)
{
    lock(board);
    struct nk_board_block *block = board->block;
    if (block != NULL) {
        atomic_fetch_add_explicit(&block->users, 1, memory_order_relaxed);
    }
    unlock(board);
    *out_block = block;
    return block != NULL ? nk_bytes_of(block->data, block->size) : nk_bytes_of(NULL, 0);
}

void nk_board_release(struct nk_board_block *block)
{
    if (block != NULL && atomic_fetch_sub_explicit(&block->users, 1, memory_order_acq_rel) == 1) {
        nk_free(block);
    }
}

void nk_board_copy(struct nk_board *board, struct nk_buf *out)
{
    struct nk_board_block *block;
    nk_buf_append(out, nk_board_share(board, &block));
    nk_board_release(block);
}
