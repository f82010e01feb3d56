#include <signal.h>

#include <criterion/criterion.h>

#include "common/base/buf.h"

TestSuite(base_buf, .timeout = 10);

Test(base_buf, a_zeroed_struct_is_an_empty_buffer)
{
    struct nk_buf buf = {0};
    cr_expect_eq(nk_buf_bytes(&buf).size, 0);
    nk_buf_append_string(&buf, "x");
    cr_expect(nk_bytes_equal(nk_buf_bytes(&buf), nk_bytes_of_string("x")));
    nk_buf_deinit(&buf);
}

Test(base_buf, appends_keep_what_was_there)
{
    struct nk_buf buf;
    nk_buf_init(&buf);
    for (int i = 0; i < 100000; i++) {
        nk_buf_append_u8(&buf, (uint8_t)i);
    }
    cr_assert_eq(buf.size, 100000);
    cr_expect_geq(buf.capacity, buf.size);
    for (int i = 0; i < 100000; i++) {
        cr_assert_eq(buf.data[i], (uint8_t)i);
    }
    nk_buf_append(&buf, nk_bytes_of(NULL, 0));
    cr_expect_eq(buf.size, 100000);
    nk_buf_deinit(&buf);
}

Test(base_buf, reserved_room_is_not_moved)
{
    struct nk_buf buf;
    nk_buf_init(&buf);
    nk_buf_reserve(&buf, 1000);
    const uint8_t *data = buf.data;
    uint8_t *tail = nk_buf_extend(&buf, 1000);
    cr_expect_eq(tail, data);
    cr_expect_eq(buf.data, data);
    cr_expect_not_null(nk_buf_extend(&buf, 0));
    cr_expect_eq(buf.size, 1000);
    nk_buf_deinit(&buf);
}

Test(base_buf, clear_keeps_the_memory_and_deinit_leaves_a_usable_buffer)
{
    struct nk_buf buf;
    nk_buf_init(&buf);
    nk_buf_append_string(&buf, "hello");
    size_t capacity = buf.capacity;
    nk_buf_clear(&buf);
    cr_expect_eq(buf.size, 0);
    cr_expect_eq(buf.capacity, capacity);
    nk_buf_deinit(&buf);
    cr_expect_eq(buf.capacity, 0);
    nk_buf_append_string(&buf, "again");
    cr_expect_eq(buf.size, 5);
    nk_buf_deinit(&buf);
}

Test(base_buf, a_size_that_overflows_is_a_programmer_error, .signal = SIGABRT)
{
    struct nk_buf buf;
    nk_buf_init(&buf);
    nk_buf_append_u8(&buf, 1);
    nk_buf_reserve(&buf, SIZE_MAX - 1);
}
