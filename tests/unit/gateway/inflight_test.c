/* The in-flight table: its bounds, its ids, and the place that the probe has for itself. */

#include <criterion/criterion.h>
#include <signal.h>

#include "services/gateway/inflight.h"

TestSuite(gateway_inflight, .timeout = 10);

#define COUNT_MAX 2
#define BYTES_MAX 100

static struct gateway_request request_of(enum gateway_op op, size_t bytes)
{
    static const uint8_t message[BYTES_MAX + 1];
    struct gateway_request request = {.op = op, .message = nk_bytes_of(message, bytes)};
    return request;
}

Test(gateway_inflight, beyond_its_count_or_its_bytes_a_request_is_refused)
{
    struct gateway_inflight inflight;
    gateway_inflight_init(&inflight, COUNT_MAX, BYTES_MAX);
    struct gateway_request first = request_of(GATEWAY_OP_PUT, BYTES_MAX - 1);
    struct gateway_request large = request_of(GATEWAY_OP_PUT, 2);
    struct gateway_request second = request_of(GATEWAY_OP_PUT, 1);
    struct gateway_request third = request_of(GATEWAY_OP_GET, 0);
    struct gateway_entry *entry = NULL;
    cr_assert_eq(gateway_inflight_add(&inflight, &first, 1, &entry), NK_OK);
    cr_assert_eq(gateway_inflight_add(&inflight, &large, 1, &entry), NK_BUSY);
    cr_assert_eq(gateway_inflight_add(&inflight, &second, 1, &entry), NK_OK);
    cr_assert_eq(gateway_inflight_add(&inflight, &third, 1, &entry), NK_BUSY);
    gateway_inflight_remove(&inflight, first.entry);
    cr_assert_eq(gateway_inflight_add(&inflight, &third, 1, &entry), NK_OK);
    gateway_inflight_remove(&inflight, second.entry);
    gateway_inflight_remove(&inflight, third.entry);
    gateway_inflight_deinit(&inflight);
}

Test(gateway_inflight, the_probe_takes_no_place_of_a_request_and_waits_for_none)
{
    struct gateway_inflight inflight;
    gateway_inflight_init(&inflight, COUNT_MAX, BYTES_MAX);
    struct gateway_request probe = request_of(GATEWAY_OP_PROBE, 0);
    struct gateway_request puts[COUNT_MAX + 1];
    struct gateway_entry *entry = NULL;
    for (size_t round = 0; round < 2; round++) {
        if (round == 0) { /* the probe first, then last */
            cr_assert_eq(gateway_inflight_add(&inflight, &probe, 1, &entry), NK_OK);
        }
        for (size_t i = 0; i < COUNT_MAX; i++) {
            puts[i] = request_of(GATEWAY_OP_PUT, 1);
            cr_assert_eq(gateway_inflight_add(&inflight, &puts[i], 1, &entry), NK_OK);
        }
        puts[COUNT_MAX] = request_of(GATEWAY_OP_PUT, 1);
        cr_assert_eq(gateway_inflight_add(&inflight, &puts[COUNT_MAX], 1, &entry), NK_BUSY);
        if (round == 1) {
            cr_assert_eq(gateway_inflight_add(&inflight, &probe, 1, &entry), NK_OK);
        }
        cr_assert_eq(gateway_inflight_find(&inflight, entry->id), entry);
        gateway_inflight_remove(&inflight, probe.entry);
        for (size_t i = 0; i < COUNT_MAX; i++) {
            gateway_inflight_remove(&inflight, puts[i].entry);
        }
    }
    gateway_inflight_deinit(&inflight);
}

Test(gateway_inflight, the_id_of_one_that_is_gone_never_names_the_next_in_its_place)
{
    struct gateway_inflight inflight;
    gateway_inflight_init(&inflight, 1, BYTES_MAX);
    struct gateway_request request = request_of(GATEWAY_OP_PUT, 1);
    struct gateway_entry *entry = NULL;
    uint64_t former = 0;
    for (size_t i = 0; i < 100; i++) {
        cr_assert_eq(gateway_inflight_add(&inflight, &request, 1, &entry), NK_OK);
        cr_assert_neq(entry->id, former);
        cr_assert_null(gateway_inflight_find(&inflight, former));
        cr_assert_eq(gateway_inflight_find(&inflight, entry->id), entry);
        former = entry->id;
        gateway_inflight_remove(&inflight, entry);
    }
    cr_assert_null(gateway_inflight_find(&inflight, UINT64_MAX));
    gateway_inflight_deinit(&inflight);
}

Test(gateway_inflight, deadlines_and_retries_come_due_in_the_order_of_their_times)
{
    struct gateway_inflight inflight;
    gateway_inflight_init(&inflight, COUNT_MAX, BYTES_MAX);
    cr_assert_eq(gateway_inflight_next_us(&inflight), UINT64_MAX);
    struct gateway_request requests[] = {request_of(GATEWAY_OP_PUT, 1),
                                         request_of(GATEWAY_OP_GET, 1)};
    struct gateway_entry *first = NULL;
    struct gateway_entry *second = NULL;
    cr_assert_eq(gateway_inflight_add(&inflight, &requests[0], 200, &first), NK_OK);
    cr_assert_eq(gateway_inflight_add(&inflight, &requests[1], 100, &second), NK_OK);
    cr_expect_eq(gateway_inflight_next_us(&inflight), 100);
    cr_expect_null(gateway_inflight_expired(&inflight, 99));
    cr_expect_eq(gateway_inflight_expired(&inflight, 100), second);
    cr_expect_null(gateway_inflight_due(&inflight, UINT64_MAX)); /* nobody pauses yet */
    gateway_inflight_wait(&inflight, first, 60);
    gateway_inflight_wait(&inflight, second, 50);
    cr_expect_eq(gateway_inflight_next_us(&inflight), 50);
    cr_expect_null(gateway_inflight_due(&inflight, 49));
    cr_expect_eq(gateway_inflight_due(&inflight, 50), second);
    gateway_inflight_wait(&inflight, second, 70); /* again, later */
    cr_expect_eq(gateway_inflight_due(&inflight, 65), first);
    struct nk_list list;
    nk_list_init(&list);
    gateway_inflight_move(&inflight, first, GATEWAY_ENTRY_UNSENT, &list);
    cr_expect_eq(gateway_inflight_due(&inflight, UINT64_MAX), second); /* who is sent pauses not */
    cr_expect_eq(list.next, &first->place);
    gateway_inflight_remove(&inflight, first);
    cr_expect(nk_list_empty(&list));
    cr_expect_eq(gateway_inflight_next_us(&inflight), 70);
    gateway_inflight_remove(&inflight, second);
    cr_expect_eq(gateway_inflight_next_us(&inflight), UINT64_MAX);
    cr_expect_null(requests[0].entry);
    gateway_inflight_deinit(&inflight);
}

Test(gateway_inflight, ending_with_requests_inside_is_a_programmer_error, .signal = SIGABRT)
{
    struct gateway_inflight inflight;
    gateway_inflight_init(&inflight, COUNT_MAX, BYTES_MAX);
    struct gateway_request request = request_of(GATEWAY_OP_PUT, 1);
    struct gateway_entry *entry = NULL;
    cr_assert_eq(gateway_inflight_add(&inflight, &request, 1, &entry), NK_OK);
    gateway_inflight_deinit(&inflight);
}
