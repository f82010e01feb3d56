#include "common/service/json.h"

#include "common/base/assert.h"
#include "common/base/text.h"

static void before_value(struct nk_json *json)
{
    if (json->comma) {
        nk_buf_append_u8(json->out, ',');
    }
    json->comma = true;
}

void nk_json_init(struct nk_json *json, struct nk_buf *out)
{
    json->out = out;
    json->comma = false;
}

void nk_json_open(struct nk_json *json, char bracket)
{
    NK_ASSERT(bracket == '{' || bracket == '[');
    before_value(json);
    nk_buf_append_u8(json->out, (uint8_t)bracket);
    json->comma = false;
}

void nk_json_close(struct nk_json *json, char bracket)
{
    NK_ASSERT(bracket == '}' || bracket == ']');
    nk_buf_append_u8(json->out, (uint8_t)bracket);
    json->comma = true;
}

void nk_json_name(struct nk_json *json, const char *name)
{
    before_value(json);
    nk_buf_append_u8(json->out, '"');
    nk_buf_append_string(json->out, name);
    nk_buf_append_string(json->out, "\":");
    json->comma = false;
}

void nk_json_number(struct nk_json *json, uint64_t number)
{
    before_value(json);
    char digits[24];
    struct nk_text text;
    nk_text_init(&text, digits, sizeof digits);
    nk_text_add_u64(&text, number);
    nk_buf_append_string(json->out, digits);
}

void nk_json_bool(struct nk_json *json, bool value)
{
    before_value(json);
    nk_buf_append_string(json->out, value ? "true" : "false");
}

void nk_json_null(struct nk_json *json)
{
    before_value(json);
    nk_buf_append_string(json->out, "null");
}

void nk_json_text(struct nk_json *json, const char *text)
{
    before_value(json);
    nk_buf_append_u8(json->out, '"');
    for (const char *at = text; *at != '\0'; at++) {
        uint8_t byte = (uint8_t)*at;
        if (byte == '"' || byte == '\\') {
            nk_buf_append_u8(json->out, '\\');
            nk_buf_append_u8(json->out, byte);
        } else if (byte >= 0x20 && byte < 0x7f) {
            nk_buf_append_u8(json->out, byte);
        } else {
            nk_buf_append_string(json->out, "\\ufffd");
        }
    }
    nk_buf_append_u8(json->out, '"');
}
