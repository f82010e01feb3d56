/* Text to typed field and back.  Parsing is strict: "yes" is no bool, "64MB" no size, "1e3" no
 * number, so that a value means the same to everybody who reads the file. */

#include "value.h"

#include "common/base/assert.h"
#include "common/base/limits.h"

#include "address.h"

struct byte_unit {
    const char *suffix;
    uint64_t factor;
};

/* Largest first: formatting takes the first that divides. */
static const struct byte_unit byte_units[] = {
    {"TiB", 1024 * NK_GIB}, {"GiB", NK_GIB}, {"MiB", NK_MIB}, {"KiB", NK_KIB}, {"", 1},
};

static void *field(const struct config_key *key, struct nk_config *config)
{
    return (char *)config + key->offset;
}

static const void *const_field(const struct config_key *key, const struct nk_config *config)
{
    return (const char *)config + key->offset;
}

const char *config_copy_text(struct nk_arena *arena, struct nk_bytes text)
{
    if (text.size == 0) {
        return "";
    }
    char *copy = nk_arena_alloc(arena, text.size + 1);
    memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    return copy;
}

/* ---- Text to field ---- */

static bool type_is_text(enum config_type type);
static bool parse_scalar(const struct config_key *key, struct nk_bytes text,
                         struct nk_config *config);
static bool text_valid(const struct config_key *key, struct nk_bytes text);

static void set_text(const struct config_key *key, const char *text, struct nk_config *config)
{
    NK_ASSERT(key->size == sizeof text);
    memcpy(field(key, config), &text, sizeof text);
}

bool config_value_parse(const struct config_key *key, struct nk_bytes text, struct nk_arena *arena,
                        struct nk_config *config)
{
    NK_ASSERT(!config_type_is_list(key->type));
    if (!type_is_text(key->type)) {
        return parse_scalar(key, text, config);
    }
    bool may_be_empty = key->fallback != NULL && key->fallback[0] == '\0';
    if (text.size == 0 ? !may_be_empty : !text_valid(key, text)) {
        return false;
    }
    set_text(key, config_copy_text(arena, text), config);
    return true;
}

void config_value_default(const struct config_key *key, struct nk_config *config)
{
    const char *fallback = key->fallback == NULL ? "" : key->fallback;
    if (config_type_is_list(key->type)) {
        NK_ASSERT(fallback[0] == '\0');
        config_list_set(key, NULL, 0, NULL, config);
    } else if (type_is_text(key->type)) {
        set_text(key, fallback, config);
    } else {
        bool right = parse_scalar(key, nk_bytes_of_string(fallback), config);
        NK_ASSERT(right);
    }
}

static bool type_is_text(enum config_type type)
{
    return type == CONFIG_NODE_ID || type == CONFIG_PATH || type == CONFIG_ADDRESS ||
           type == CONFIG_BUS_ADDRESS || type == CONFIG_HOST;
}

static bool parse_number(const struct config_key *key, struct nk_bytes text,
                         struct nk_config *config);
static bool parse_bool(const struct config_key *key, struct nk_bytes text,
                       struct nk_config *config);
static bool parse_choice(const struct config_key *key, struct nk_bytes text,
                         struct nk_config *config);

static bool parse_scalar(const struct config_key *key, struct nk_bytes text,
                         struct nk_config *config)
{
    if (key->type == CONFIG_BOOL) {
        return parse_bool(key, text, config);
    }
    if (key->type == CONFIG_CHOICE) {
        return parse_choice(key, text, config);
    }
    return parse_number(key, text, config);
}

static bool parse_size(struct nk_bytes text, uint64_t *out_size);

static bool parse_number(const struct config_key *key, struct nk_bytes text,
                         struct nk_config *config)
{
    uint64_t number;
    bool parsed =
        key->type == CONFIG_BYTES ? parse_size(text, &number) : nk_text_parse_u64(text, &number);
    if (!parsed || number < key->min || number > key->max) {
        return false;
    }
    if (key->size == sizeof(uint32_t)) {
        NK_ASSERT(number <= UINT32_MAX);
        uint32_t narrow = (uint32_t)number;
        memcpy(field(key, config), &narrow, sizeof narrow);
    } else {
        NK_ASSERT(key->size == sizeof number);
        memcpy(field(key, config), &number, sizeof number);
    }
    return true;
}

/* "1024", "64KiB", "64 KiB". */
static bool parse_size(struct nk_bytes text, uint64_t *out_size)
{
    size_t digits = 0;
    while (digits < text.size && text.data[digits] >= '0' && text.data[digits] <= '9') {
        digits++;
    }
    size_t suffix = digits;
    if (suffix + 1 < text.size && text.data[suffix] == ' ') {
        suffix++;
    }
    uint64_t number;
    if (!nk_text_parse_u64(nk_bytes_of(text.data, digits), &number)) {
        return false;
    }
    struct nk_bytes unit = nk_bytes_of(text.data + suffix, text.size - suffix);
    for (size_t i = 0; i < NK_COUNT_OF(byte_units); i++) {
        if (nk_bytes_equal(unit, nk_bytes_of_string(byte_units[i].suffix))) {
            if (number > UINT64_MAX / byte_units[i].factor) {
                return false;
            }
            *out_size = number * byte_units[i].factor;
            return true;
        }
    }
    return false;
}

static bool parse_bool(const struct config_key *key, struct nk_bytes text, struct nk_config *config)
{
    bool value = nk_bytes_equal(text, nk_bytes_of_string("true"));
    if (!value && !nk_bytes_equal(text, nk_bytes_of_string("false"))) {
        return false;
    }
    NK_ASSERT(key->size == sizeof value);
    memcpy(field(key, config), &value, sizeof value);
    return true;
}

static_assert(sizeof(enum nk_config_log_level) == sizeof(int) &&
                  sizeof(enum nk_config_log_format) == sizeof(int) &&
                  sizeof(enum nk_config_compression) == sizeof(int),
              "choices are stored as int");

static bool parse_choice(const struct config_key *key, struct nk_bytes text,
                         struct nk_config *config)
{
    NK_ASSERT(key->size == sizeof(int));
    for (int i = 0; key->choices[i] != NULL; i++) {
        if (nk_bytes_equal(text, nk_bytes_of_string(key->choices[i]))) {
            memcpy(field(key, config), &i, sizeof i);
            return true;
        }
    }
    return false;
}

static bool node_id_valid(struct nk_bytes text)
{
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
              c == '.' || c == '_' || c == '-')) {
            return false;
        }
    }
    return true;
}

/* The code point at *position, moved behind it; UINT32_MAX: not UTF-8 there. */
static uint32_t next_code_point(struct nk_bytes text, size_t *position)
{
    uint8_t lead = text.data[(*position)++];
    if (lead < 0x80) {
        return lead;
    }
    size_t more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    if (lead < 0xc0 || lead > 0xf7 || more > text.size - *position) {
        return UINT32_MAX;
    }
    uint32_t point = lead & (0x3fu >> more);
    for (size_t i = 0; i < more; i++) {
        uint8_t byte = text.data[(*position)++];
        if ((byte & 0xc0) != 0x80) {
            return UINT32_MAX;
        }
        point = point << 6 | (byte & 0x3fu);
    }
    bool surrogate = point >= 0xd800 && point <= 0xdfff;
    return point < least[more] || point > 0x10ffff || surrogate ? UINT32_MAX : point;
}

/* Whether the text stays itself in a line of a log and between quotes in YAML: UTF-8 without
 * control characters, line separators and what is no character. */
static bool printable(struct nk_bytes text)
{
    for (size_t i = 0; i < text.size;) {
        uint32_t point = next_code_point(text, &i);
        if (point < 0x20 || (point >= 0x7f && point <= 0x9f) || point == 0x2028 ||
            point == 0x2029 || point == 0xfeff || point == 0xfffe || point == 0xffff ||
            point == UINT32_MAX) {
            return false;
        }
    }
    return true;
}

static bool address_valid(const struct config_key *key, struct nk_bytes text)
{
    struct nk_config_address address;
    return config_address_parse(text, &address) && address.port >= key->min &&
           address.port <= key->max;
}

static bool text_valid(const struct config_key *key, struct nk_bytes text)
{
    switch (key->type) {
    case CONFIG_NODE_ID:
        return text.size >= key->min && text.size <= key->max && node_id_valid(text);
    case CONFIG_PATH:
        return text.size >= key->min && text.size <= key->max && printable(text);
    case CONFIG_BUS_ADDRESS:
        return nk_bytes_equal(text, nk_bytes_of_string("ipc")) || address_valid(key, text);
    case CONFIG_HOST:
        return config_host_valid(text);
    default:
        NK_ASSERT(key->type == CONFIG_ADDRESS);
        return address_valid(key, text);
    }
}

/* ---- Lists ---- */

bool config_type_is_list(enum config_type type)
{
    return type == CONFIG_ADDRESS_LIST || type == CONFIG_LINK_LIST;
}

bool config_item_valid(const struct config_key *key, struct nk_bytes item)
{
    if (key->type == CONFIG_ADDRESS_LIST) {
        return address_valid(key, item);
    }
    NK_ASSERT(key->type == CONFIG_LINK_LIST);
    static const char tcp[] = "tcp://";
    static const char ipc[] = "ipc://";
    if (nk_bytes_starts_with(item, nk_bytes_of_string(tcp))) {
        size_t prefix = sizeof tcp - 1;
        return address_valid(key, nk_bytes_of(item.data + prefix, item.size - prefix));
    }
    size_t prefix = sizeof ipc - 1;
    return nk_bytes_starts_with(item, nk_bytes_of_string(ipc)) && item.size > prefix &&
           item.size <= prefix + CONFIG_SOCKET_PATH_BYTES_MAX && printable(item);
}

void config_list_set(const struct config_key *key, const struct nk_bytes *items, size_t count,
                     struct nk_arena *arena, struct nk_config *config)
{
    NK_ASSERT(count <= NK_CONFIG_LIST_MAX);
    struct nk_config_list list = {NULL, count};
    NK_ASSERT(key->size == sizeof list);
    if (count > 0) {
        const char **copies = nk_arena_alloc(arena, count * sizeof *copies);
        for (size_t i = 0; i < count; i++) {
            NK_ASSERT(config_item_valid(key, items[i]));
            copies[i] = config_copy_text(arena, items[i]);
        }
        list.items = copies;
    }
    memcpy(field(key, config), &list, sizeof list);
}

static struct nk_bytes trim(struct nk_bytes text)
{
    while (text.size > 0 && text.data[0] == ' ') {
        text = nk_bytes_of(text.data + 1, text.size - 1);
    }
    while (text.size > 0 && text.data[text.size - 1] == ' ') {
        text.size--;
    }
    return text;
}

bool config_list_split(struct nk_bytes text, struct nk_bytes out_items[static NK_CONFIG_LIST_MAX],
                       size_t *out_count)
{
    size_t count = 0;
    size_t start = 0;
    if (trim(text).size > 0) {
        for (size_t i = 0; i <= text.size; i++) {
            if (i == text.size || text.data[i] == ',') {
                if (count == NK_CONFIG_LIST_MAX) {
                    return false;
                }
                out_items[count++] = trim(nk_bytes_of(text.data + start, i - start));
                start = i + 1;
            }
        }
    }
    *out_count = count;
    return true;
}

/* ---- What would be right ---- */

static void add_range(struct nk_text *out, const char *what, uint64_t min, uint64_t max,
                      const char *unit)
{
    nk_text_add(out, what);
    nk_text_add(out, "from ");
    nk_text_add_u64(out, min);
    nk_text_add(out, " to ");
    nk_text_add_u64(out, max);
    nk_text_add(out, unit);
}

static const struct byte_unit *unit_of(uint64_t size)
{
    const struct byte_unit *unit = byte_units;
    while (size % unit->factor != 0) {
        unit++;
    }
    return size == 0 ? &byte_units[NK_COUNT_OF(byte_units) - 1] : unit;
}

static void add_size(struct nk_text *out, uint64_t size)
{
    const struct byte_unit *unit = unit_of(size);
    nk_text_add_u64(out, size / unit->factor);
    nk_text_add(out, unit->suffix);
}

static void add_list_of(const struct config_key *key, struct nk_text *out)
{
    if (config_type_is_list(key->type)) {
        nk_text_add(out, "a list of up to ");
        nk_text_add_u64(out, NK_CONFIG_LIST_MAX);
        nk_text_add(out, " ");
    }
}

void config_value_expected(const struct config_key *key, struct nk_text *out)
{
    switch (key->type) {
    case CONFIG_NODE_ID:
        add_range(out, "", key->min, key->max, " characters of A-Z, a-z, 0-9, dot, _ and -");
        break;
    case CONFIG_PATH:
        add_range(out, "a path of ", key->min, key->max,
                  " bytes of UTF-8 without control characters");
        break;
    case CONFIG_ADDRESS:
    case CONFIG_ADDRESS_LIST:
        add_list_of(key, out);
        nk_text_add(out, "host:port or [ipv6]:port");
        add_range(out, ", port ", key->min, key->max, "");
        break;
    case CONFIG_BUS_ADDRESS:
        nk_text_add(out, "ipc, or host:port or [ipv6]:port");
        add_range(out, ", port ", key->min, key->max, "");
        break;
    case CONFIG_HOST:
        nk_text_add(out, "a host name, an IPv4 or an IPv6 address, without a port");
        break;
    case CONFIG_LINK_LIST:
        add_list_of(key, out);
        nk_text_add(out, "tcp://host:port or ipc://path");
        break;
    case CONFIG_NUMBER:
        add_range(out, "a whole number ", key->min, key->max, "");
        break;
    case CONFIG_MS:
        add_range(out, "a whole number of milliseconds ", key->min, key->max, "");
        break;
    case CONFIG_BYTES:
        nk_text_add(out, "a size from ");
        add_size(out, key->min);
        nk_text_add(out, " to ");
        add_size(out, key->max);
        nk_text_add(out, ", as a number of bytes or with KiB, MiB, GiB, TiB");
        break;
    case CONFIG_BOOL:
        nk_text_add(out, "true or false");
        break;
    case CONFIG_CHOICE:
        nk_text_add(out, "one of");
        for (size_t i = 0; key->choices[i] != NULL; i++) {
            nk_text_add(out, i == 0 ? " " : ", ");
            nk_text_add(out, key->choices[i]);
        }
        break;
    }
}

/* ---- Field to text ---- */

static void format_text(const char *text, struct nk_buf *out)
{
    nk_buf_append_u8(out, '"');
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\') {
            nk_buf_append_u8(out, '\\');
        }
        nk_buf_append_u8(out, (uint8_t)*text);
    }
    nk_buf_append_u8(out, '"');
}

static void format_number(const struct config_key *key, const struct nk_config *config,
                          struct nk_buf *out)
{
    uint64_t number;
    if (key->size == sizeof(uint32_t)) {
        uint32_t narrow;
        memcpy(&narrow, const_field(key, config), sizeof narrow);
        number = narrow;
    } else {
        memcpy(&number, const_field(key, config), sizeof number);
    }
    char memory[32];
    struct nk_text text;
    nk_text_init(&text, memory, sizeof memory);
    if (key->type == CONFIG_BYTES) {
        add_size(&text, number);
    } else {
        nk_text_add_u64(&text, number);
    }
    nk_buf_append_string(out, memory);
}

static void format_list(const struct config_key *key, const struct nk_config *config,
                        struct nk_buf *out)
{
    struct nk_config_list list;
    memcpy(&list, const_field(key, config), sizeof list);
    nk_buf_append_u8(out, '[');
    for (size_t i = 0; i < list.count; i++) {
        nk_buf_append_string(out, i == 0 ? "" : ", ");
        format_text(list.items[i], out);
    }
    nk_buf_append_u8(out, ']');
}

void config_value_format(const struct config_key *key, const struct nk_config *config,
                         struct nk_buf *out)
{
    switch (key->type) {
    case CONFIG_NUMBER:
    case CONFIG_MS:
    case CONFIG_BYTES:
        format_number(key, config, out);
        break;
    case CONFIG_BOOL: {
        bool value;
        memcpy(&value, const_field(key, config), sizeof value);
        nk_buf_append_string(out, value ? "true" : "false");
        break;
    }
    case CONFIG_CHOICE: {
        int choice;
        memcpy(&choice, const_field(key, config), sizeof choice);
        nk_buf_append_string(out, key->choices[choice]);
        break;
    }
    case CONFIG_ADDRESS_LIST:
    case CONFIG_LINK_LIST:
        format_list(key, config, out);
        break;
    default: {
        const char *text;
        memcpy(&text, const_field(key, config), sizeof text);
        format_text(text, out);
        break;
    }
    }
}
