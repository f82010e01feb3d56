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

/* ---- The check ---- */

/* Whether the child's HTTP address is the one of gRPC.  Two of port 0 never meet. */
static bool meets_rpc(const struct nk_config *config, const char *http_address)
{
    struct nk_config_address rpc;
    struct nk_config_address http;
    enum nk_err err = nk_config_address_parse(config->rpc_addr, &rpc);
    NK_ASSERT(err == NK_OK); /* the settings have been checked */
    err = nk_config_address_parse(http_address, &http);
    NK_ASSERT(err == NK_OK);
    return rpc.port != 0 && rpc.port == http.port &&
           (strcmp(rpc.host, http.host) == 0 || nk_config_host_is_any(rpc.host) ||
            nk_config_host_is_any(http.host));
}

enum nk_err server_layout_check(const struct nk_config *config, struct nk_text *reason)
{
    if (strcmp(config->bus.addr, "ipc") != 0) {
        nk_text_add(reason, "bus.addr: \"");
        nk_text_add(reason, config->bus.addr);
        nk_text_add(reason, "\" is refused; under norikv-server it must be ipc");
        return NK_INVALID;
    }
    for (size_t i = 0; i < SUPERVISE_CHILD_COUNT; i++) {
        enum supervise_child child = (enum supervise_child)i;
        char memory[SERVER_ADDRESS_BYTES];
        struct nk_text address;
        nk_text_init(&address, memory, sizeof memory);
        enum nk_err err = server_http_address(config, child, &address, reason);
        if (err != NK_OK) {
            return err;
        }
        NK_ASSERT(!address.truncated);
        if (meets_rpc(config, memory)) {
            nk_text_add(reason, "rpc_addr: \"");
            nk_text_add(reason, config->rpc_addr);
            nk_text_add(reason, "\" is also the HTTP address of the ");
            nk_text_add(reason, server_role_name(child));
            nk_text_add(reason, " (http_addr, server.http_port_step); it must be another one");
            return NK_INVALID;
        }
    }
    return NK_OK;
}

/* ---- Arguments ---- */

/* Whether this flag gives a value to http_addr; `value` is what stands behind it. */
static bool sets_http_addr(const char *flag, const char *value)
{
    static const char set[] = "--set=http_addr=";
    return strcmp(flag, "--http-addr") == 0 || strncmp(flag, "--http-addr=", 12) == 0 ||
           strncmp(flag, set, sizeof set - 1) == 0 ||
           (strcmp(flag, "--set") == 0 && strncmp(value, "http_addr=", 10) == 0);
}

/* Of the flags, only those without a value end the program before it has children. */
void server_child_arguments(const char *const *arguments, size_t count, const char *http_address,
                            const char **out_arguments)
{
    size_t out = 1;
    for (size_t i = 0; i < count;) {
        bool attached = strchr(arguments[i], '=') != NULL;
        NK_ASSERT(attached || i + 1 < count);
        size_t words = attached ? 1 : 2;
        if (!sets_http_addr(arguments[i], attached ? "" : arguments[i + 1])) {
            for (size_t word = 0; word < words; word++) {
                out_arguments[out++] = arguments[i + word];
            }
        }
        i += words;
    }
    out_arguments[out++] = "--http-addr";
    out_arguments[out++] = http_address;
    out_arguments[out++] = NULL;
    NK_ASSERT(out <= count + SERVER_ARGUMENTS_MORE);
}

/* ---- Run files ----
 *
 * One flat object of our own writing (services/program/program.c), whose texts need no escapes: a
 * name is found with its quotes and colon, its value ends with the quote or the last digit. */

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

static void write_text(struct nk_buf *out, const char *name, const char *text)
{
    nk_buf_append_string(out, ",\"");
    nk_buf_append_string(out, name);
    nk_buf_append_string(out, "\":\"");
    nk_buf_append_string(out, text);
    nk_buf_append_string(out, "\"");
}

void server_run_file_write(const char *node_id, uint64_t pid, const struct server_run_file *gateway,
                           struct nk_buf *out)
{
    char memory[24];
    struct nk_text number;
    nk_text_init(&number, memory, sizeof memory);
    nk_text_add_u64(&number, pid);
    nk_buf_append_string(out, "{\"role\":\"server\"");
    write_text(out, "node_id", node_id);
    write_text(out, "version", NK_BUILD_VERSION);
    nk_buf_append_string(out, ",\"pid\":");
    nk_buf_append_string(out, memory);
    write_text(out, "rpc_addr", gateway->rpc_addr);
    write_text(out, "http_addr", gateway->http_addr);
    nk_buf_append_string(out, "}\n");
}
