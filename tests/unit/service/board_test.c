/* Bytes that one thread replaces and others read (several threads: tests/stress). */

#include <criterion/criterion.h>

#include "common/service/board.h"

TestSuite(service_board, .timeout = 10);

Test(service_board, a_new_one_shows_nothing)
{
    struct nk_board board;
    nk_board_init(&board);
    struct nk_board_block *block = (struct nk_board_block *)&board;
    cr_expect_eq(nk_board_share(&board, &block).size, 0);
    cr_expect_null(block);
    nk_board_release(block);
    struct nk_buf out = {0};
    nk_board_copy(&board, &out);
    cr_expect_eq(out.size, 0);
    nk_buf_deinit(&out);
    nk_board_deinit(&board);
}

Test(service_board, what_was_shared_stays_while_something_else_is_shown)
{
    struct nk_board board;
    nk_board_init(&board);
    nk_board_show(&board, nk_bytes_of_string("first"));
    struct nk_board_block *blocks[3];
    struct nk_bytes first = nk_board_share(&board, &blocks[0]);
    struct nk_bytes again = nk_board_share(&board, &blocks[1]);
    nk_board_show(&board, nk_bytes_of_string("second"));
    struct nk_bytes second = nk_board_share(&board, &blocks[2]);
    nk_board_release(blocks[0]);
    cr_expect(nk_bytes_equal(again, nk_bytes_of_string("first")));
    cr_expect_eq(first.data, again.data);
    nk_board_release(blocks[1]);
    nk_board_deinit(&board);
    cr_expect(nk_bytes_equal(second, nk_bytes_of_string("second")));
    nk_board_release(blocks[2]);
}

Test(service_board, it_copies_what_it_shows)
{
    struct nk_board board;
    nk_board_init(&board);
    char text[] = "before";
    nk_board_show(&board, nk_bytes_of_string(text));
    text[0] = 'x';
    struct nk_buf out = {0};
    nk_buf_append_string(&out, "> ");
    nk_board_copy(&board, &out);
    cr_expect(nk_bytes_equal(nk_buf_bytes(&out), nk_bytes_of_string("> before")));
    nk_board_show(&board, nk_bytes_of(NULL, 0));
    nk_buf_clear(&out);
    nk_board_copy(&board, &out);
    cr_expect_eq(out.size, 0);
    nk_buf_deinit(&out);
    nk_board_deinit(&board);
}

Test(service_board, shown_bytes_are_aligned_for_any_struct)
{
    struct nk_board board;
    nk_board_init(&board);
    for (size_t size = 1; size < 40; size++) {
        uint8_t bytes[40] = {0};
        nk_board_show(&board, nk_bytes_of(bytes, size));
        struct nk_board_block *block;
        struct nk_bytes shown = nk_board_share(&board, &block);
        cr_expect_eq((uintptr_t)shown.data % 16, 0, "size %zu", size);
        nk_board_release(block);
    }
    nk_board_deinit(&board);
}
