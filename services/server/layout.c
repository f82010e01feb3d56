#include "layout.h"

#include "common/base/assert.h"

static const char *const names[SUPERVISE_CHILD_COUNT] = {
    [SUPERVISE_GOSSIP] = "gossip",
    [SUPERVISE_SHARDHOST] = "shardhost",
    [SUPERVISE_GATEWAY] = "gateway",
    [SUPERVISE_ADMIN] = "admin",
};

static const uint32_t steps[SUPERVISE_CHILD_COUNT] = {
    [SUPERVISE_GATEWAY] = 0,
    [SUPERVISE_SHARDHOST] = 1,
    [SUPERVISE_GOSSIP] = 2,
    [SUPERVISE_ADMIN] = 3,
};

const char *server_role_name(enum supervise_child child)
{
    NK_ASSERT(child < SUPERVISE_CHILD_COUNT);
    return names[child];
}

enum nk_err server_http_address(const struct nk_config *config, enum supervise_child child,
                                struct nk_text *out_address, struct nk_text *reason)
{
    struct nk_config_address address;
    enum nk_err err = nk_config_address_parse(config->http_addr, &address);
    NK_ASSERT(err == NK_OK); /* the settings have been checked */
    bool any = steps[child] > 0 && (address.port == 0 || config->server.http_port_step == 0);
    uint64_t port = any ? 0 : address.port + (uint64_t)steps[child] * config->server.http_port_step;
    if (port > UINT16_MAX) {
        nk_text_add(reason, "server.http_port_step: the HTTP port of the ");
        nk_text_add(reason, server_role_name(child));
        nk_text_add(reason, " would be ");
        nk_text_add_u64(reason, port);
        nk_text_add(reason, "; it must be at most 65535");
        return NK_INVALID;
    }
    nk_text_add(out_address, address.ipv6 ? "[" : "");
    nk_text_add(out_address, address.host);
    nk_text_add(out_address, address.ipv6 ? "]:" : ":");
    nk_text_add_u64(out_address, port);
    return NK_OK;
}

/* ---- Run files ----
 *
 * One flat object of our own writing (services/program.c), whose texts need no escapes: a name is
 * found with its quotes and colon, its value ends with the quote or the last digit. */

/* What follows `"name":`; empty: there is no such name. */
static struct nk_bytes value_of(struct nk_bytes text, const char *name)
{
    char memory[32];
    struct nk_text quoted;
    nk_text_init(&quoted, memory, sizeof memory);
    nk_text_add(&quoted, "\"");
    nk_text_add(&quoted, name);
    nk_text_add(&quoted, "\":");
    struct nk_bytes wanted = nk_bytes_of(quoted.data, quoted.size);
    while (text.size > 0 && !nk_bytes_starts_with(text, wanted)) {
        text = nk_bytes_of(text.data + 1, text.size - 1);
    }
    size_t skip = text.size > 0 ? wanted.size : 0;
    return nk_bytes_of(text.data + skip, text.size - skip);
}

static bool read_text(struct nk_bytes text, const char *name, char *out, size_t capacity)
{
    struct nk_bytes value = value_of(text, name);
    if (value.size == 0 || value.data[0] != '"') {
        return false;
    }
    size_t end = 1;
    while (end < value.size && value.data[end] != '"' && value.data[end] != '\\') {
        end++;
    }
    if (end == value.size || value.data[end] != '"' || end > capacity) {
        return false;
    }
    memcpy(out, value.data + 1, end - 1);
    out[end - 1] = '\0';
    return true;
}

static bool read_number(struct nk_bytes text, const char *name, uint64_t *out_number)
{
    struct nk_bytes value = value_of(text, name);
    size_t end = 0;
    while (end < value.size && value.data[end] >= '0' && value.data[end] <= '9') {
        end++;
    }
    return nk_text_parse_u64(nk_bytes_of(value.data, end), out_number);
}

enum nk_err server_run_file_read(struct nk_bytes text, struct server_run_file *out_file)
{
    struct server_run_file file;
    bool whole = text.size >= 2 && text.data[0] == '{' && text.data[text.size - 1] == '\n' &&
                 text.data[text.size - 2] == '}';
    if (!whole || !read_number(text, "pid", &file.pid) ||
        !read_text(text, "rpc_addr", file.rpc_addr, sizeof file.rpc_addr) ||
        !read_text(text, "http_addr", file.http_addr, sizeof file.http_addr)) {
        return NK_INVALID;
    }
    *out_file = file;
    return NK_OK;
}
