#include "services/gateway/utf8.h"

#include "common/base/assert.h"

size_t gateway_utf8_character(struct nk_bytes bytes)
{
    if (bytes.size == 0) {
        return 0;
    }
    const uint8_t *c = bytes.data;
    if (c[0] < 0x80) {
        return 1;
    }
    /* The second byte's range excludes overlong forms, surrogates and what is too large. */
    size_t size = c[0] < 0xE0 ? 2 : c[0] < 0xF0 ? 3 : 4;
    uint8_t second_min = c[0] == 0xE0 ? 0xA0 : c[0] == 0xF0 ? 0x90 : 0x80;
    uint8_t second_max = c[0] == 0xED ? 0x9F : c[0] == 0xF4 ? 0x8F : 0xBF;
    if (c[0] < 0xC2 || c[0] > 0xF4 || bytes.size < size || c[1] < second_min || c[1] > second_max) {
        return 0;
    }
    for (size_t i = 2; i < size; i++) {
        if ((c[i] & 0xC0) != 0x80) {
            return 0;
        }
    }
    return size;
}

bool gateway_utf8_valid(struct nk_bytes bytes)
{
    while (bytes.size > 0) {
        size_t size = gateway_utf8_character(bytes);
        if (size == 0) {
            return false;
        }
        bytes = nk_bytes_of(bytes.data + size, bytes.size - size);
    }
    return true;
}

void gateway_utf8_sanitize(char *text)
{
    size_t left = strlen(text);
    while (left > 0) {
        size_t size = gateway_utf8_character(nk_bytes_of(text, left));
        if (size == 0 || (size == 1 && ((unsigned char)*text < 0x20 || *text == 0x7F))) {
            *text = '?';
            size = 1;
        }
        NK_ASSERT(size <= left);
        text += size;
        left -= size;
    }
}
