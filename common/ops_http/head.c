#include "head.h"

#include <strings.h>

#include "common/base/assert.h"

/* One header line. */
struct field {
    struct nk_bytes name;
    struct nk_bytes value;
};

/* What the lines say about the frame of the request. */
struct frame {
    size_t hosts;
    size_t lengths;
    size_t codings;
    bool chunked;
};

enum line {
    LINE_FIELD,
    LINE_END, /* the empty one */
    LINE_BAD,
};

static const struct head_refusal target_too_long = {414, "INVALID_ARGUMENT",
                                                    "the request target has more than 4096 bytes"};
static const struct head_refusal head_too_long = {431, "INVALID_ARGUMENT",
                                                  "the request head has more than 8192 bytes"};
static const struct head_refusal bad_line = {
    400, "INVALID_ARGUMENT", "the request line is not a method, a target and a version"};
static const struct head_refusal bad_target = {
    400, "INVALID_ARGUMENT", "the request target has a blank or a control character in it"};
static const struct head_refusal bad_field = {400, "INVALID_ARGUMENT",
                                              "a header line is not \"name: value\" and CRLF"};
static const struct head_refusal bad_host = {400, "INVALID_ARGUMENT",
                                             "there must be one Host header"};
static const struct head_refusal two_lengths = {400, "INVALID_ARGUMENT",
                                                "the length of the body is said twice"};
static const struct head_refusal old_chunked = {400, "INVALID_ARGUMENT",
                                                "HTTP/1.0 has no transfer codings"};
static const struct head_refusal unknown_coding = {501, "UNIMPLEMENTED",
                                                   "the only transfer coding is chunked"};

static bool target_is_clean(struct nk_bytes target);
static enum line next_line(struct nk_bytes fields, size_t *position, struct field *out_field);
static bool is_name_byte(uint8_t byte);
static bool is_value_byte(uint8_t byte);
static void count_field(const struct field *field, struct frame *frame);
static bool is_text(struct nk_bytes bytes, const char *text);
static const struct head_refusal *frame_check(const struct frame *frame, const char *version);

static_assert(HEAD_BYTES_MAX == 8192, "the messages above name it");
static_assert(HEAD_TARGET_BYTES_MAX == 4096, "the messages above name it");

const struct head_refusal *head_check(const struct head *head)
{
    if (head->target.size > HEAD_TARGET_BYTES_MAX) {
        return &target_too_long;
    }
    if (head->target.size + head->fields.size > HEAD_BYTES_MAX) {
        return &head_too_long;
    }
    if (!head->line_is_whole) {
        return &bad_line;
    }
    if (!target_is_clean(head->target)) {
        return &bad_target;
    }
    struct frame frame = {0};
    struct field field;
    size_t position = 0;
    enum line line = LINE_BAD;
    if (head->fields.size >= 2 && head->fields.data[0] == 0 && head->fields.data[1] == 0) {
        position = 2; /* the end of the request line */
        while ((line = next_line(head->fields, &position, &field)) == LINE_FIELD) {
            count_field(&field, &frame);
        }
    }
    return line == LINE_END ? frame_check(&frame, head->version) : &bad_field;
}

static bool target_is_clean(struct nk_bytes target)
{
    for (size_t i = 0; i < target.size; i++) {
        if (target.data[i] <= 0x20 || target.data[i] == 0x7f) {
            return false;
        }
    }
    return target.size > 0;
}

/* name NUL value NUL NUL, or NUL NUL and nothing behind. */
static enum line next_line(struct nk_bytes fields, size_t *position, struct field *out_field)
{
    const uint8_t *bytes = fields.data;
    size_t at = *position;
    size_t start = at;
    while (at < fields.size && is_name_byte(bytes[at])) {
        at++;
    }
    out_field->name = nk_bytes_of(bytes + start, at - start);
    if (at == start) {
        bool end = fields.size - at == 2 && bytes[at] == 0 && bytes[at + 1] == 0;
        return end ? LINE_END : LINE_BAD;
    }
    if (at == fields.size || bytes[at] != 0) {
        return LINE_BAD;
    }
    start = ++at;
    while (at < fields.size && is_value_byte(bytes[at])) {
        at++;
    }
    out_field->value = nk_bytes_of(bytes + start, at - start);
    if (fields.size - at < 2 || bytes[at] != 0 || bytes[at + 1] != 0) {
        return LINE_BAD;
    }
    *position = at + 2;
    return LINE_FIELD;
}

/* A tchar of RFC 9110, 5.6.2. */
static bool is_name_byte(uint8_t byte)
{
    return (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= 'a' && byte <= 'z') || (byte != 0 && strchr("!#$%&'*+-.^_`|~", byte) != NULL);
}

static bool is_value_byte(uint8_t byte)
{
    return byte == '\t' || (byte >= 0x20 && byte != 0x7f);
}

static void count_field(const struct field *field, struct frame *frame)
{
    if (is_text(field->name, "Host")) {
        frame->hosts++;
    } else if (is_text(field->name, "Content-Length")) {
        frame->lengths++;
    } else if (is_text(field->name, "Transfer-Encoding")) {
        struct nk_bytes value = field->value;
        while (value.size > 0 && (value.data[0] == ' ' || value.data[0] == '\t')) {
            value = nk_bytes_of(value.data + 1, value.size - 1);
        }
        frame->codings++;
        frame->chunked = is_text(value, "chunked");
    }
}

static bool is_text(struct nk_bytes bytes, const char *text)
{
    return bytes.size == strlen(text) &&
           strncasecmp((const char *)bytes.data, text, bytes.size) == 0;
}

static const struct head_refusal *frame_check(const struct frame *frame, const char *version)
{
    bool old = strcmp(version, "HTTP/1.0") == 0;
    if (frame->hosts > 1 || (frame->hosts == 0 && !old)) {
        return &bad_host;
    }
    if (frame->lengths + frame->codings > 1) {
        return &two_lengths;
    }
    if (frame->codings > 0 && old) {
        return &old_chunked;
    }
    if (frame->codings > 0 && !frame->chunked) {
        return &unknown_coding;
    }
    return NULL;
}
