#include <criterion/criterion.h>

#include "common/base/units.h"
#include "common/ops_http/head.h"

TestSuite(ops_http_head, .timeout = 5);

#define TEXT(text) nk_bytes_of((text), sizeof(text) - 1)

struct memory {
    uint8_t bytes[2 * HEAD_BYTES_MAX];
    size_t size;
};

/* What the library makes of the end of the request line and these lines: line ends are NULs, and so
 * is the first colon of a line. */
static struct nk_bytes fields_of(struct nk_bytes lines, struct memory *memory)
{
    static const uint8_t line_end[] = {0, 0};
    memcpy(memory->bytes, line_end, sizeof line_end);
    memory->size = sizeof line_end;
    bool named = false;
    cr_assert_leq(lines.size, sizeof memory->bytes - memory->size);
    for (size_t i = 0; i < lines.size; i++) {
        uint8_t byte = lines.data[i];
        bool ends =
            byte == '\n' || (byte == '\r' && i + 1 < lines.size && lines.data[i + 1] == '\n');
        bool colon = byte == ':' && !named;
        memory->bytes[memory->size++] = ends || colon ? 0 : byte;
        named = (named || colon) && byte != '\n';
    }
    return nk_bytes_of(memory->bytes, memory->size);
}

/* The status; 0: nothing is wrong. */
static unsigned verdict(const char *version, struct nk_bytes lines)
{
    struct memory memory;
    const struct head head = {
        .line_is_whole = true,
        .target = TEXT("/"),
        .version = version,
        .fields = fields_of(lines, &memory),
    };
    const struct head_refusal *refusal = head_check(&head);
    return refusal != NULL ? refusal->status : 0;
}

struct lines_case {
    struct nk_bytes lines;
    unsigned status;
};

#define CASE(text, wanted)                                                                         \
    {                                                                                              \
        {(const uint8_t *)(text), sizeof(text) - 1}, wanted                                        \
    }

static void check(const char *version, const struct lines_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        cr_expect_eq(verdict(version, cases[i].lines), cases[i].status, "%s, case %zu", version, i);
    }
}

Test(ops_http_head, what_clients_send_passes)
{
    static const struct lines_case cases[] = {
        CASE("Host: x\r\n\r\n", 0),
        CASE("host:x\r\nAccept: */*\r\nX-Empty:\r\nX-Blank: \r\n\r\n", 0),
        CASE("Host: [::1]:8080\r\nUser-Agent: a (b; c) d/1.0\t\r\n\r\n", 0),
        CASE("Host: x\r\nContent-Length: 12\r\n\r\n", 0),
        CASE("Host: x\r\nTransfer-Encoding: chunked\r\n\r\n", 0),
        CASE("Host: x\r\ntransfer-encoding:\t Chunked\r\n\r\n", 0),
        CASE("Host: x\r\nX-!#$%&'*+-.^_`|~1: \xe4\xff\r\n\r\n", 0),
    };
    check("HTTP/1.1", cases, NK_COUNT_OF(cases));
}

Test(ops_http_head, a_line_is_a_name_a_colon_and_a_value)
{
    static const struct lines_case cases[] = {
        CASE("", 400),
        CASE("Host: x\r\n", 400),           /* never ends */
        CASE("Host: x\n\n", 400),           /* no CR */
        CASE("Host: x\r\nX: y\n\r\n", 400), /* one without CR */
        CASE("Host : x\r\n\r\n", 400),      /* a blank before the colon */
        CASE("Host: x\r\nX Y: z\r\n\r\n", 400),
        CASE("Host: x\r\n: y\r\n\r\n", 400), /* no name */
        CASE("Host: x\r\nnothing\r\n\r\n", 400),
        CASE(" Host: x\r\n\r\n", 400),
        CASE("Host: x\r\n folded\r\n\r\n", 400),
        CASE("Host: x\r\nX: y\r\n\tfolded: z\r\n\r\n", 400),
        CASE("Host: x\r\nX: a\0b\r\n\r\n", 400),
        CASE("Host: x\r\nX: a\0\0b\r\n\r\n", 400),
        CASE("Host: x\r\nX: a\0\0b\0\0\0\r\n\r\n", 400),
        CASE("Host: x\r\nX\0Y: a\r\n\r\n", 400),
        CASE("Host: x\r\nX: a\rb\r\n\r\n", 400),
        CASE("Host: x\r\nX: a\x01\r\n\r\n", 400),
        CASE("Host: x\r\nX: a\x7f\r\n\r\n", 400),
        CASE("Host: x\r\nX\xe4: a\r\n\r\n", 400),
        CASE("Host: x\r\n\r\nmore", 400),
    };
    check("HTTP/1.1", cases, NK_COUNT_OF(cases));
}

Test(ops_http_head, the_body_has_one_length_and_the_request_one_host)
{
    static const struct lines_case cases[] = {
        CASE("\r\n", 400),
        CASE("Accept: x\r\n\r\n", 400),
        CASE("Host: x\r\nHost: x\r\n\r\n", 400),
        CASE("Host: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400),
        CASE("Host: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        CASE("Host: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        CASE("Host: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        CASE("Host: x\r\nTransfer-Encoding: xchunked\r\n\r\n", 501),
        CASE("Host: x\r\nTransfer-Encoding:\r\n\r\n", 501),
    };
    check("HTTP/1.1", cases, NK_COUNT_OF(cases));
    static const struct lines_case old[] = {
        CASE("\r\n", 0),
        CASE("Host: x\r\n\r\n", 0),
        CASE("Host: x\r\nHost: y\r\n\r\n", 400),
        CASE("Content-Length: 3\r\n\r\n", 0),
        CASE("Transfer-Encoding: chunked\r\n\r\n", 400),
    };
    check("HTTP/1.0", old, NK_COUNT_OF(old));
}

Test(ops_http_head, the_target_is_visible_and_whole)
{
    static const struct lines_case cases[] = {
        CASE("/", 0),       CASE("*", 0),        CASE("/\xe4\xb8\x96?#", 0),
        CASE("", 400),      CASE("/a b", 400),   CASE("/a\tb", 400),
        CASE("/a\0b", 400), CASE("/a\x7f", 400), CASE("/a\x1f", 400),
    };
    struct memory memory;
    struct head head = {
        .line_is_whole = true,
        .version = "HTTP/1.1",
        .fields = fields_of(TEXT("Host: x\r\n\r\n"), &memory),
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        head.target = cases[i].lines;
        const struct head_refusal *refusal = head_check(&head);
        cr_expect_eq(refusal != NULL ? refusal->status : 0, cases[i].status, "case %zu", i);
    }
    head.target = TEXT("/");
    head.line_is_whole = false;
    cr_expect_eq(head_check(&head)->status, 400);
}

Test(ops_http_head, long_targets_and_long_heads_are_told_apart)
{
    static uint8_t target[HEAD_TARGET_BYTES_MAX + 1];
    static uint8_t lines[HEAD_BYTES_MAX];
    struct memory memory;
    memset(target, 'a', sizeof target);
    struct head head = {
        .line_is_whole = true,
        .target = nk_bytes_of(target, HEAD_TARGET_BYTES_MAX),
        .version = "HTTP/1.1",
        .fields = fields_of(TEXT("Host: x\r\n\r\n"), &memory),
    };
    cr_expect_null(head_check(&head));
    head.target.size++;
    cr_expect_eq(head_check(&head)->status, 414);

    /* The head is target, end of the request line, and lines. */
    memset(lines, 'a', sizeof lines);
    memcpy(lines, "Host: ", 6);
    size_t size = HEAD_BYTES_MAX - 1 - 2;
    memcpy(lines + size - 4, "\r\n\r\n", 4);
    head.target = TEXT("/");
    head.fields = fields_of(nk_bytes_of(lines, size), &memory);
    cr_expect_null(head_check(&head));
    head.target = TEXT("/a");
    cr_expect_eq(head_check(&head)->status, 431);
}
