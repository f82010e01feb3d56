/* host:port.  A host is a name, an IPv4 address or, in brackets, an IPv6 address.  A name of digits
 * and dots only is a mistyped IPv4 address, not a name. */

#include "common/config/config.h"

#include <arpa/inet.h>

#include "common/base/assert.h"
#include "common/base/limits.h"
#include "common/base/text.h"

#include "address.h"

static_assert(sizeof((struct nk_config_address *)NULL)->host > NK_ADDRESS_BYTES_MAX,
              "every host that passes the length check fits");

/* With "tcp://", brackets and a port it is still an address. */
#define HOST_BYTES_MAX (NK_ADDRESS_BYTES_MAX - (sizeof "tcp://[]:65535" - 1))

static bool split(struct nk_bytes text, struct nk_bytes *out_host, struct nk_bytes *out_port,
                  bool *out_bracketed);
static bool is_ipv6(struct nk_bytes host);
static bool is_name_or_ipv4(struct nk_bytes host);

bool config_address_parse(struct nk_bytes text, struct nk_config_address *out_address)
{
    struct nk_bytes host;
    struct nk_bytes port;
    bool bracketed;
    uint64_t number;
    if (text.size > NK_ADDRESS_BYTES_MAX || !split(text, &host, &port, &bracketed) ||
        !(bracketed ? is_ipv6(host) : is_name_or_ipv4(host)) || port.size > 5 ||
        !nk_text_parse_u64(port, &number) || number > UINT16_MAX) {
        return false;
    }
    memcpy(out_address->host, host.data, host.size);
    out_address->host[host.size] = '\0';
    out_address->port = (uint16_t)number;
    out_address->ipv6 = bracketed;
    return true;
}

bool config_host_valid(struct nk_bytes text)
{
    return text.size > 0 && text.size <= HOST_BYTES_MAX && (is_name_or_ipv4(text) || is_ipv6(text));
}

enum nk_err nk_config_address_parse(const char *text, struct nk_config_address *out_address)
{
    return config_address_parse(nk_bytes_of_string(text), out_address) ? NK_OK : NK_INVALID;
}

static bool split(struct nk_bytes text, struct nk_bytes *out_host, struct nk_bytes *out_port,
                  bool *out_bracketed)
{
    size_t colon = text.size;
    while (colon > 0 && text.data[colon - 1] != ':') {
        colon--;
    }
    if (colon < 2) { /* no colon, or nothing before it */
        return false;
    }
    *out_port = nk_bytes_of(text.data + colon, text.size - colon);
    *out_host = nk_bytes_of(text.data, colon - 1);
    *out_bracketed = text.data[0] == '[';
    if (*out_bracketed) {
        if (out_host->size < 2 || out_host->data[out_host->size - 1] != ']') {
            return false;
        }
        *out_host = nk_bytes_of(out_host->data + 1, out_host->size - 2);
    }
    return true;
}

static bool is_name_byte(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' ||
           c == '-' || c == '_';
}

/* An address and, for link-local ones, %zone. */
static bool is_ipv6(struct nk_bytes host)
{
    char text[INET6_ADDRSTRLEN];
    size_t size = 0;
    while (size < host.size && host.data[size] != '%') {
        size++;
    }
    if (size >= sizeof text || size + 1 == host.size) {
        return false;
    }
    for (size_t i = size + 1; i < host.size; i++) {
        if (!is_name_byte(host.data[i])) {
            return false;
        }
    }
    memcpy(text, host.data, size);
    text[size] = '\0';
    struct in6_addr ignored;
    return memchr(text, '\0', size) == NULL && inet_pton(AF_INET6, text, &ignored) == 1;
}

static bool is_name_or_ipv4(struct nk_bytes host)
{
    bool only_digits = true;
    for (size_t i = 0; i < host.size; i++) {
        uint8_t c = host.data[i];
        if (!is_name_byte(c)) {
            return false;
        }
        only_digits = only_digits && (c == '.' || (c >= '0' && c <= '9'));
    }
    if (!only_digits) {
        return host.data[0] != '-' && host.data[0] != '.';
    }
    char text[INET_ADDRSTRLEN];
    if (host.size >= sizeof text) {
        return false;
    }
    memcpy(text, host.data, host.size);
    text[host.size] = '\0';
    struct in_addr ignored;
    return inet_pton(AF_INET, text, &ignored) == 1;
}

/* ---- What others are told ---- */

bool nk_config_host_is_any(const char *host)
{
    struct in_addr ipv4;
    struct in6_addr ipv6;
    return (inet_pton(AF_INET, host, &ipv4) == 1 && ipv4.s_addr == INADDR_ANY) ||
           (inet_pton(AF_INET6, host, &ipv6) == 1 && IN6_IS_ADDR_UNSPECIFIED(&ipv6));
}

const char *nk_config_advertised_host(const char *advertise_host, const char *address,
                                      const char *host_name)
{
    struct nk_config_address bound;
    if (advertise_host[0] != '\0') {
        return advertise_host;
    }
    if (nk_config_address_parse(address, &bound) != NK_OK || !nk_config_host_is_any(bound.host) ||
        !config_host_valid(nk_bytes_of_string(host_name))) {
        return NULL;
    }
    return host_name;
}

void nk_config_advertise(const char *advertise_host, const char *address, const char *host_name,
                         struct nk_text *out_address)
{
    struct nk_config_address bound;
    const char *host = nk_config_advertised_host(advertise_host, address, host_name);
    if (host == NULL || nk_config_address_parse(address, &bound) != NK_OK) {
        nk_text_add(out_address, address);
        return;
    }
    bool ipv6 = strchr(host, ':') != NULL;
    nk_text_add(out_address, ipv6 ? "[" : "");
    nk_text_add(out_address, host);
    nk_text_add(out_address, ipv6 ? "]:" : ":");
    nk_text_add_u64(out_address, bound.port);
}
