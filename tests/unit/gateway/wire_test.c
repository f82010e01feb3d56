/* Protobuf bytes, field by field. */

#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>

#include "common/base/units.h"
#include "services/gateway/wire.h"

TestSuite(gateway_wire, .timeout = 10);

#define BYTES(text)                                                                                \
    {                                                                                              \
        (const uint8_t *)(text), sizeof(text) - 1                                                  \
    }

Test(gateway_wire, each_type_of_field_is_read)
{
    static const struct {
        struct nk_bytes message;
        uint32_t number;
        enum wire_type type;
        uint64_t value;
        size_t bytes_size;
    } cases[] = {
        {BYTES("\x08\x00"), 1, WIRE_VARINT, 0, 0},
        {BYTES("\x08\x96\x01"), 1, WIRE_VARINT, 150, 0},
        {BYTES("\x78\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), 15, WIRE_VARINT, UINT64_MAX, 0},
        {BYTES("\x08\x80\x80\x80\x00"), 1, WIRE_VARINT, 0, 0}, /* longer than needed */
        {BYTES("\x09\x01\x02\x03\x04\x05\x06\x07\x08"), 1, WIRE_FIXED64, 0x0807060504030201, 0},
        {BYTES("\x0d\x01\x02\x03\x04"), 1, WIRE_FIXED32, 0x04030201, 0},
        {BYTES("\x0a\x00"), 1, WIRE_BYTES, 0, 0},
        {BYTES("\x0a\x03"
               "abc"),
         1, WIRE_BYTES, 0, 3},
        {BYTES("\xf8\xff\xff\xff\x0f\x07"), (1u << 29) - 1, WIRE_VARINT, 7, 0},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        size_t position = 0;
        struct wire_field field;
        cr_assert_eq(wire_next(cases[i].message, &position, &field), NK_OK, "case %zu", i);
        cr_expect_eq(field.number, cases[i].number, "case %zu", i);
        cr_expect_eq(field.type, cases[i].type, "case %zu", i);
        cr_expect_eq(field.value, cases[i].value, "case %zu", i);
        cr_expect_eq(field.bytes.size, cases[i].bytes_size, "case %zu", i);
        cr_expect_eq(position, cases[i].message.size, "case %zu", i);
        cr_expect_eq(wire_next(cases[i].message, &position, &field), NK_NOT_FOUND, "case %zu", i);
    }
}

Test(gateway_wire, what_is_no_field_is_invalid_and_the_position_stays)
{
    static const struct nk_bytes cases[] = {
        BYTES("\x08"),                                             /* no value */
        BYTES("\x08\x80"),                                         /* half a value */
        BYTES("\x80"),                                             /* half a tag */
        BYTES("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), /* eleven bytes */
        BYTES("\x00\x01"),                                         /* field 0 */
        BYTES("\x80\x80\x80\x80\x10\x01"),                         /* field 2^29 */
        BYTES("\x09\x01\x02\x03\x04\x05\x06\x07"),                 /* cut fixed64 */
        BYTES("\x0d\x01\x02\x03"),                                 /* cut fixed32 */
        BYTES("\x0a\x04"
              "abc"), /* cut bytes */
        BYTES("\x0a"),
        BYTES("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), /* a length beyond all */
        BYTES("\x0b\x0c"),                                     /* groups */
        BYTES("\x0e\x01"),                                     /* types that mean nothing */
        BYTES("\x0f\x01"),
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        size_t position = 0;
        struct wire_field field;
        cr_expect_eq(wire_next(cases[i], &position, &field), NK_INVALID, "case %zu", i);
        cr_expect_eq(position, 0, "case %zu", i);
    }
}

Test(gateway_wire, a_message_cut_anywhere_is_read_up_to_the_cut_and_not_beyond)
{
    static const char whole[] = "\x08\x96\x01\x12\x03"
                                "abc\x1d\x01\x02\x03\x04\x21\x01\x02\x03\x04\x05\x06\x07\x08";
    static const size_t ends[] = {0, 3, 8, 13, 22};
    for (size_t size = 0; size < sizeof whole; size++) {
        uint8_t *exact = malloc(size > 0 ? size : 1); /* so that reading past it shows */
        memcpy(exact, whole, size);
        size_t position = 0;
        size_t fields = 0;
        struct wire_field field;
        enum nk_err err;
        while ((err = wire_next(nk_bytes_of(exact, size), &position, &field)) == NK_OK) {
            fields++;
            cr_assert_lt(fields, NK_COUNT_OF(ends));
            cr_expect_eq(position, ends[fields], "size %zu", size);
        }
        bool at_end = false;
        for (size_t i = 0; i < NK_COUNT_OF(ends); i++) {
            at_end = at_end || ends[i] == size;
        }
        cr_expect_eq(err, at_end ? NK_NOT_FOUND : NK_INVALID, "size %zu", size);
        free(exact);
    }
}

Test(gateway_wire, a_position_behind_the_message_is_a_programmer_error, .signal = SIGABRT)
{
    size_t position = 1;
    struct wire_field field;
    cr_expect_eq(wire_next(nk_bytes_of(NULL, 0), &position, &field), NK_NOT_FOUND);
}
