/* The command's bytes. */

#include <criterion/criterion.h>
#include <signal.h>

#include "common/base/alloc.h"
#include "common/base/codec.h"
#include "common/base/limits.h"

#include "store.h"

TestSuite(kv_command, .timeout = 10);

#define HEADER_BYTES 22

/* A put of a=1, as it lies in a log. */
static const uint8_t golden[] = {1, KV_OP_PUT, 0xe8, 3, 0,   0, 0, 0, 0,    0, 0xf4, 1,    0, 0,
                                 0, 0,         0,    0, 100, 0, 0, 0, 0x0a, 1, 'a',  0x12, 1, '1'};

Test(kv_command, the_encoding_is_what_the_format_says)
{
    static const struct kv_stamp stamp = {1000, 500, 100};
    static const uint8_t request[] = {0x0a, 1, 'a', 0x12, 1, '1'};
    struct nk_buf out = {0};
    kv_command_encode(KV_OP_PUT, &stamp, nk_bytes_of(request, sizeof request), &out);
    cr_expect(nk_bytes_equal(nk_buf_bytes(&out), nk_bytes_of(golden, sizeof golden)));
    nk_buf_deinit(&out);
}

Test(kv_command, encoding_appends)
{
    static const struct kv_stamp stamp = {1, 2, 3};
    struct nk_buf out = {0};
    nk_buf_append_u8(&out, 'x');
    kv_command_encode(KV_OP_CLOCK, &stamp, nk_bytes_of(NULL, 0), &out);
    cr_expect_eq(out.size, 1 + HEADER_BYTES);
    cr_expect_eq(out.data[0], 'x');
    nk_buf_deinit(&out);
}

Test(kv_command, a_command_of_the_first_version_still_applies)
{
    struct store store;
    store_start(&store);
    cr_expect_eq(store_apply_payload(&store, nk_bytes_of(golden, sizeof golden)).err, NK_OK);
    cr_expect_str_eq(store_get(&store, "a"), "1");
    cr_expect_eq(kv_time_ms(store.kv), 1000);
    store_stop(&store);
}

/* Applies a changed copy of the golden command. */
static enum nk_err try_changed(size_t position, uint8_t byte, size_t size)
{
    uint8_t copy[sizeof golden];
    memcpy(copy, golden, sizeof copy);
    copy[position] = byte;
    struct store store;
    store_start(&store);
    enum nk_err err = store_try(&store, nk_bytes_of(copy, size));
    store_stop(&store);
    return err;
}

Test(kv_command, what_no_version_wrote_is_corrupt)
{
    cr_expect_eq(try_changed(0, 0, sizeof golden), NK_CORRUPT, "version 0");
    cr_expect_eq(try_changed(1, 0, sizeof golden), NK_CORRUPT, "op 0");
    cr_expect_eq(try_changed(1, 4, sizeof golden), NK_CORRUPT, "op 4");
    cr_expect_eq(try_changed(1, 255, sizeof golden), NK_CORRUPT, "op 255");
    cr_expect_eq(try_changed(1, KV_OP_CLOCK, sizeof golden), NK_CORRUPT, "a clock with a request");
    cr_expect_eq(try_changed(HEADER_BYTES, 0x0b, sizeof golden), NK_CORRUPT, "wire type");
    cr_expect_eq(try_changed(HEADER_BYTES + 4, 200, sizeof golden), NK_CORRUPT, "length");
    for (size_t size = 1; size < HEADER_BYTES; size++) {
        cr_expect_eq(try_changed(0, 1, size), NK_CORRUPT, "cut at %zu", size);
    }
    cr_expect_eq(try_changed(0, 1, sizeof golden - 1), NK_CORRUPT, "cut in the request");
}

Test(kv_command, a_later_version_is_refused_as_such)
{
    cr_expect_eq(try_changed(0, 2, sizeof golden), NK_FORMAT_TOO_NEW);
    cr_expect_eq(try_changed(0, 255, 1), NK_FORMAT_TOO_NEW);
}

Test(kv_command, the_check_before_proposing_refuses_what_would_be_corrupt)
{
    struct store store;
    store_start(&store);
    static const uint8_t cut[] = {0x0a, 5, 'a'};
    struct nk_bytes bad = nk_bytes_of(cut, sizeof cut);
    cr_expect_eq(kv_request_check(store.kv, KV_OP_PUT, bad), NK_INVALID);
    cr_expect_eq(kv_request_check(store.kv, KV_OP_DELETE, bad), NK_INVALID);
    cr_expect_eq(kv_request_check(store.kv, KV_OP_CLOCK, bad), NK_INVALID);
    cr_expect_eq(kv_request_check(store.kv, (enum kv_op)9, bad), NK_INVALID);
    cr_expect_eq(kv_request_check(store.kv, KV_OP_CLOCK, nk_bytes_of(NULL, 0)), NK_OK);
    cr_expect_eq(kv_request_check(store.kv, KV_OP_PUT,
                                  nk_bytes_of(golden + HEADER_BYTES, sizeof golden - HEADER_BYTES)),
                 NK_OK);
    store_stop(&store);
}

Test(kv_command, a_request_of_unknown_fields_costs_bounded_memory)
{
    struct store store;
    store_start(&store);
    size_t size = NK_REQUEST_BYTES_MAX;
    uint8_t *request = nk_alloc(size);
    for (size_t i = 0; i < size; i += 2) { /* field 15, a varint, a million times */
        request[i] = 0x78;
        request[i + 1] = 1;
    }
    cr_expect_eq(kv_request_check(store.kv, KV_OP_PUT, nk_bytes_of(request, size)), NK_INVALID);
    nk_free(request);
    cr_expect_eq(store_put(&store, "a", "1").err, NK_OK, "and the next request finds room");
    store_stop(&store);
}

Test(kv_command, a_clock_with_a_request_is_a_programmer_error, .signal = SIGABRT)
{
    static const struct kv_stamp stamp = {1, 2, 3};
    struct nk_buf out = {0};
    kv_command_encode(KV_OP_CLOCK, &stamp, nk_bytes_of_string("x"), &out);
}
