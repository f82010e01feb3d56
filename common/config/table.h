#pragma once

/* The keys: one row each, and everything else (parsing, messages, --print-config, --help, the
 * environment's names) is made from the rows. */

#include "common/config/config.h"

enum config_type {
    CONFIG_NODE_ID,      /* [A-Za-z0-9._-], min..max characters */
    CONFIG_PATH,         /* min..max bytes, no control characters */
    CONFIG_ADDRESS,      /* host:port, min <= port <= max */
    CONFIG_BUS_ADDRESS,  /* "ipc" or host:port */
    CONFIG_HOST,         /* a name, an IPv4 or an IPv6 address, no port, no brackets */
    CONFIG_NUMBER,       /* min..max */
    CONFIG_MS,           /* min..max, milliseconds */
    CONFIG_BYTES,        /* min..max, KiB and so on allowed */
    CONFIG_BOOL,         /* true, false */
    CONFIG_CHOICE,       /* one of choices, stored as its place among them */
    CONFIG_ADDRESS_LIST, /* of CONFIG_ADDRESS */
    CONFIG_LINK_LIST,    /* of tcp://host:port and ipc://path */
};

struct config_key {
    const char *name; /* dotted */
    enum config_type type;
    size_t offset; /* of the field in struct nk_config */
    size_t size;   /* of the field */
    const char
        *fallback; /* the default as text; NULL: required.  "": an empty value is right too */
    uint64_t min;
    uint64_t max;
    const char *const *choices; /* CONFIG_CHOICE: ends with NULL */
    const char *flag;           /* NULL: only --set */
    const char *flag_alias;     /* NULL: none */
    bool unused;                /* accepted and checked, but nothing in this version reads it */
    const char *help;
};

size_t config_key_count(void);
const struct config_key *config_key_at(size_t i);

/* The place of the key of that dotted name, or config_key_count(). */
size_t config_key_find(struct nk_bytes name);

/* The key most like a name that is none, for "did you mean"; NULL: none is close. */
const struct config_key *config_key_nearest(struct nk_bytes name);

/* Whether keys exist below `name`, as below "raft". */
bool config_key_is_section(struct nk_bytes name);

#define CONFIG_SOCKET_PATH_BYTES_MAX ((size_t)107) /* sun_path without its NUL */

#define CONFIG_KEYS_MAX              ((size_t)64)
#define CONFIG_NAME_BYTES_MAX        ((size_t)64)
#define CONFIG_VARIABLE_BYTES        (sizeof "NORIKV_" + CONFIG_NAME_BYTES_MAX)

/* NORIKV_ and the name in upper case, dots as '_'. */
void config_key_variable(const struct config_key *key, char out_name[static CONFIG_VARIABLE_BYTES]);
