/* A group of one: what it says about itself, and how it tells packets apart. */

#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>

#include "common/base/codec.h"
#include "common/base/crc32c.h"
#include "common/base/units.h"
#include "services/gossip/swim/swim.h"

TestSuite(swim, .timeout = 10);

Test(swim, it_announces_itself_once_and_asks_for_nothing)
{
    struct swim *swim;
    swim_open("n1", 7, &swim);
    struct swim_output output;
    swim_tick(swim, 0, &output);
    cr_assert_eq(output.event_count, 1);
    cr_expect_str_eq(output.events[0].node_id, "n1");
    cr_expect_eq(output.events[0].incarnation, 7);
    cr_expect_eq(output.events[0].state, SWIM_STATE_ALIVE);
    cr_expect_eq(output.packet_count, 0);
    cr_expect_eq(output.next_tick_ms, UINT64_MAX);
    swim_tick(swim, 1000, &output);
    cr_expect_eq(output.event_count, 0);
    cr_expect_eq(output.packet_count, 0);
    swim_close(&swim);
}

Test(swim, a_packet_may_be_the_first_thing_it_hears)
{
    struct swim *swim;
    swim_open("n1", 7, &swim);
    struct swim_output output;
    swim_receive(swim, nk_bytes_of(NULL, 0), 0, &output);
    cr_expect_eq(output.event_count, 1);
    swim_tick(swim, 1, &output);
    cr_expect_eq(output.event_count, 0);
    swim_close(&swim);
}

Test(swim, it_is_the_only_member_in_its_table)
{
    struct swim *swim;
    swim_open("n1", UINT64_MAX, &swim);
    cr_assert_eq(swim_member_count(swim), 1);
    cr_expect_str_eq(swim_member_at(swim, 0)->node_id, "n1");
    cr_expect_eq(swim_member_at(swim, 0)->incarnation, UINT64_MAX);
    swim_close(&swim);
    cr_expect_null(swim);
    swim_close(&swim);
    swim_close(NULL);
}

/* A packet of `size` bytes as a member would make it. */
static void make_packet(uint8_t *packet, size_t size, uint8_t type)
{
    for (size_t i = 0; i < size; i++) {
        packet[i] = (uint8_t)(i * 7);
    }
    nk_put_u16(packet, 0x534E);
    packet[2] = 1;
    packet[3] = type;
    uint32_t crc =
        nk_crc32c_extend(nk_crc32c(nk_bytes_of(packet, 4)), nk_bytes_of(packet + 8, size - 8));
    nk_put_u32(packet + 4, crc);
}

Test(swim, a_well_formed_packet_is_a_strangers)
{
    static const struct {
        size_t size;
        uint8_t type;
        bool well_formed;
    } cases[] = {
        {8, 1, true},     {8, 2, true},    {8, 3, true},    {100, 1, true},    {1400, 3, true},
        {1401, 3, false}, {100, 0, false}, {100, 4, false}, {100, 255, false},
    };
    struct swim *swim;
    swim_open("n1", 7, &swim);
    struct swim_counts expected = {0};
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        uint8_t packet[1401];
        make_packet(packet, cases[i].size, cases[i].type);
        struct swim_output output;
        swim_receive(swim, nk_bytes_of(packet, cases[i].size), i, &output);
        *(cases[i].well_formed ? &expected.strangers : &expected.malformed) += 1;
        cr_expect_eq(output.packet_count, 0, "case %zu", i);
        cr_expect_eq(swim_counts(swim)->strangers, expected.strangers, "case %zu", i);
        cr_expect_eq(swim_counts(swim)->malformed, expected.malformed, "case %zu", i);
        cr_expect_eq(swim_counts(swim)->probes, 0);
    }
    swim_close(&swim);
}

Test(swim, every_flipped_bit_and_every_lost_byte_makes_a_packet_malformed)
{
    struct swim *swim;
    swim_open("n1", 7, &swim);
    uint8_t packet[64];
    make_packet(packet, sizeof packet, 1);
    struct swim_output output;
    uint64_t malformed = 0;
    for (size_t bit = 0; bit < 8 * sizeof packet; bit++) {
        packet[bit / 8] ^= (uint8_t)(1 << bit % 8);
        swim_receive(swim, nk_bytes_of(packet, sizeof packet), 0, &output);
        cr_expect_eq(swim_counts(swim)->malformed, ++malformed, "bit %zu", bit);
        packet[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t size = 0; size < sizeof packet; size++) {
        uint8_t *exact = malloc(size > 0 ? size : 1); /* so that reading past it shows */
        memcpy(exact, packet, size);
        swim_receive(swim, nk_bytes_of(exact, size), 0, &output);
        cr_expect_eq(swim_counts(swim)->malformed, ++malformed, "size %zu", size);
        free(exact);
    }
    cr_expect_eq(swim_counts(swim)->strangers, 0);
    swim_close(&swim);
}

Test(swim, an_empty_name_is_a_programmer_error, .signal = SIGABRT)
{
    struct swim *swim;
    swim_open("", 7, &swim);
}

Test(swim, incarnation_zero_is_a_programmer_error, .signal = SIGABRT)
{
    struct swim *swim;
    swim_open("n1", 0, &swim);
}

Test(swim, a_second_member_is_a_programmer_error, .signal = SIGABRT)
{
    struct swim *swim;
    swim_open("n1", 7, &swim);
    (void)swim_member_at(swim, 1);
}
