#include "percent.h"

static int digit_of(uint8_t character);

bool http_percent_decode(struct nk_bytes text, uint8_t *out, size_t capacity, size_t *out_size)
{
    size_t size = 0;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = text.data[i];
        if (byte == '%') {
            int high = text.size - i > 2 ? digit_of(text.data[i + 1]) : -1;
            int low = text.size - i > 2 ? digit_of(text.data[i + 2]) : -1;
            if (high < 0 || low < 0) {
                return false;
            }
            byte = (uint8_t)(high << 4 | low);
            i += 2;
        }
        if (size < capacity) {
            out[size] = byte;
        }
        size++;
    }
    *out_size = size;
    return true;
}

/* -1: none. */
static int digit_of(uint8_t character)
{
    if (character >= '0' && character <= '9') {
        return character - '0';
    }
    if (character >= 'a' && character <= 'f') {
        return character - 'a' + 10;
    }
    if (character >= 'A' && character <= 'F') {
        return character - 'A' + 10;
    }
    return -1;
}
