/* What an apply will look at, asked beforehand. */

#include <criterion/criterion.h>
#include <stdio.h>

#include "common/base/codec.h"
#include "common/base/units.h"

#include "store.h"

TestSuite(kv_foresee, .timeout = 10);

static enum nk_err foresee(struct store *store, const struct request *request,
                           struct nk_buf *out_cold)
{
    struct nk_buf packed = {0};
    request_pack(request, &packed);
    enum nk_err err =
        kv_foresee(store->kv, request->op, &store->stamp, nk_buf_bytes(&packed), out_cold);
    cr_expect_eq(err == NK_WOULD_BLOCK, out_cold->size > 0);
    nk_buf_deinit(&packed);
    return err;
}

/* The first byte of each name, which says whose it is. */
static const char *spaces(const struct nk_buf *cold)
{
    static char text[16];
    size_t count = 0;
    for (size_t at = 0; at < cold->size; at += 2 + nk_get_u16(cold->data + at)) {
        text[count] = (char)cold->data[at + 2];
        count++;
    }
    text[count] = '\0';
    return text;
}

static void store_reopen_cold(struct store *store)
{
    store_flush(store);
    store_close(store);
    store_recover(store);
}

/* A store with two sessions of at most two, nothing of which is in memory.  The value is so long
 * that other records are in other blocks. */
static void start_cold(struct store *store)
{
    static char value[9000];
    memset(value, 'v', sizeof value - 1);
    store_start(store);
    store->stamp.session_count_max = 2;
    struct request put = {.op = KV_OP_PUT, .key = "a", .value = value, .idempotency_key = "x"};
    (void)store_apply(store, &put);
    put.idempotency_key = "y";
    (void)store_apply(store, &put);
    store_reopen_cold(store);
}

Test(kv_foresee, a_command_asks_for_the_records_that_decide_it)
{
    static const struct {
        struct request request;
        const char *spaces;
    } cases[] = {
        {{.op = KV_OP_PUT, .key = "a", .value = "2"}, ""},
        {{.op = KV_OP_PUT, .key = "a", .value = "2", .has_if_match = true}, "k"},
        {{.op = KV_OP_DELETE, .key = "a"}, "k"},
        {{.op = KV_OP_PUT, .key = "a", .value = "1", .idempotency_key = "x"}, "sqq"},
        {{.op = KV_OP_DELETE, .key = "a", .idempotency_key = "xx"}, "sqqk"},
        {{.op = KV_OP_CLOCK}, ""},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct store store;
        start_cold(&store);
        struct nk_buf cold = {0};
        enum nk_err err = foresee(&store, &cases[i].request, &cold);
        cr_expect_eq(err, cases[i].spaces[0] == '\0' ? NK_OK : NK_WOULD_BLOCK, "case %zu", i);
        cr_expect_str_eq(spaces(&cold), cases[i].spaces, "case %zu", i);
        struct kv_reader reader;
        kv_reader_acquire(store.kv, &reader);
        cr_expect_eq(kv_reader_fetch(&reader, nk_buf_bytes(&cold)), NK_OK);
        kv_reader_release(&reader);
        cr_expect_eq(foresee(&store, &cases[i].request, &cold), NK_OK, "case %zu", i);
        (void)store_apply(&store, &cases[i].request);
        nk_buf_deinit(&cold);
        store_stop(&store);
    }
}

Test(kv_foresee, a_retry_known_in_memory_asks_for_nothing_else)
{
    struct store store;
    start_cold(&store);
    struct request removal = {.op = KV_OP_DELETE, .key = "b", .idempotency_key = "new"};
    (void)store_apply(&store, &removal);
    struct nk_buf cold = {0};
    removal.key = "a";
    cr_expect_eq(foresee(&store, &removal, &cold), NK_OK); /* will be refused by the session */
    store.stamp.now_ms += store.stamp.session_ttl_ms;
    cr_expect_eq(foresee(&store, &removal, &cold), NK_WOULD_BLOCK); /* it will have expired */
    nk_buf_deinit(&cold);
    store_stop(&store);
}

/* The head of the queue is read once; while there is room and it lives, nobody looks behind it. */
Test(kv_foresee, the_queue_is_asked_for_only_if_a_session_has_to_leave)
{
    struct store store;
    start_cold(&store);
    store.stamp.session_count_max = 100;
    struct request put = {.op = KV_OP_PUT, .key = "a", .value = "1", .idempotency_key = "z"};
    struct nk_buf cold = {0};
    cr_expect_eq(foresee(&store, &put, &cold), NK_WOULD_BLOCK);
    (void)store_apply(&store, &put);
    store_flush(&store);
    put.idempotency_key = "other";
    (void)foresee(&store, &put, &cold);
    cr_expect_null(strchr(spaces(&cold), 'q'), "%s", spaces(&cold));
    nk_buf_deinit(&cold);
    store_stop(&store);
}

Test(kv_foresee, what_kv_request_check_refuses_is_refused)
{
    struct store store;
    store_start(&store);
    struct request bad[] = {{.op = KV_OP_PUT, .key = "", .value = "1"},
                            {.op = KV_OP_DELETE, .key = ""}};
    struct nk_buf cold = {0};
    for (size_t i = 0; i < NK_COUNT_OF(bad); i++) {
        cr_expect_eq(foresee(&store, &bad[i], &cold), NK_INVALID, "case %zu", i);
    }
    struct nk_bytes torn = nk_bytes_of_string("\x0a\x02"
                                              "a");
    cr_expect_eq(kv_foresee(store.kv, KV_OP_PUT, &store.stamp, torn, &cold), NK_INVALID);
    nk_buf_deinit(&cold);
    store_stop(&store);
}
