#include "common/base/text.h"

#include "common/base/assert.h"

void nk_text_init(struct nk_text *text, char *memory, size_t capacity)
{
    NK_ASSERT(capacity > 0);
    text->data = memory;
    text->size = 0;
    text->capacity = capacity;
    text->truncated = false;
    text->data[0] = '\0';
}

void nk_text_add_bytes(struct nk_text *text, struct nk_bytes bytes)
{
    size_t room = text->capacity - 1 - text->size;
    size_t size = bytes.size;
    if (size > room) {
        size = room;
        text->truncated = true;
    }
    if (size > 0) {
        memcpy(text->data + text->size, bytes.data, size);
    }
    text->size += size;
    text->data[text->size] = '\0';
}

void nk_text_add(struct nk_text *text, const char *string)
{
    nk_text_add_bytes(text, nk_bytes_of_string(string));
}

void nk_text_add_u64(struct nk_text *text, uint64_t number)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    nk_text_add_bytes(text, nk_bytes_of(digits + at, sizeof digits - at));
}

void nk_text_add_hex(struct nk_text *text, uint64_t number, unsigned digits)
{
    NK_ASSERT(digits >= 1);
    NK_ASSERT(digits <= 16);
    char out[16];
    for (unsigned i = 0; i < digits; i++) {
        out[digits - 1 - i] = "0123456789abcdef"[(number >> (4 * i)) & 15];
    }
    nk_text_add_bytes(text, nk_bytes_of(out, digits));
}

void nk_text_add_escaped(struct nk_text *text, struct nk_bytes bytes)
{
    for (size_t i = 0; i < bytes.size; i++) {
        uint8_t byte = bytes.data[i];
        if (byte >= 0x20 && byte < 0x7f && byte != '\\') {
            nk_text_add_bytes(text, nk_bytes_of(&byte, 1));
        } else {
            nk_text_add(text, "\\x");
            nk_text_add_hex(text, byte, 2);
        }
    }
}

bool nk_text_parse_u64(struct nk_bytes digits, uint64_t *out_number)
{
    if (digits.size == 0) {
        return false;
    }
    uint64_t number = 0;
    for (size_t i = 0; i < digits.size; i++) {
        uint8_t byte = digits.data[i];
        if (byte < '0' || byte > '9') {
            return false;
        }
        uint64_t digit = (uint64_t)(byte - '0');
        if (number > (UINT64_MAX - digit) / 10) {
            return false;
        }
        number = number * 10 + digit;
    }
    *out_number = number;
    return true;
}
