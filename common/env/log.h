#pragma once

/* Structured log: one event, one line.  Roles and shells log; libraries return what happened.
 * Implementations: common/env_posix/log_posix.c (JSON or text on stderr), tests/sim/process.c (the
 * trace).  Any thread. */

#include <stddef.h>
#include <stdint.h>

enum nk_log_level {
    NK_LOG_DEBUG,
    NK_LOG_INFO,
    NK_LOG_WARN,
    NK_LOG_ERROR,
};

struct nk_log_field {
    const char *name;
    const char *text; /* NULL: the number is the value */
    uint64_t number;
};

#define NK_LOG_TEXT(field_name, value) ((struct nk_log_field){(field_name), (value), 0})
#define NK_LOG_NUMBER(field_name, value)                                                           \
    ((struct nk_log_field){(field_name), NULL, (uint64_t)(value)})

struct nk_log_ops {
    /* `target` names the part that speaks ("gateway.router"), `message` is one constant sentence,
     * what varies is in the fields.  Nothing is kept. */
    void (*event)(void *ctx, enum nk_log_level level, const char *target, const char *message,
                  const struct nk_log_field *fields, size_t field_count);
};

struct nk_log {
    const struct nk_log_ops *ops;
    void *ctx;
    enum nk_log_level level_min; /* below it events are not even formatted */
};

static inline void nk_log_event(const struct nk_log *log, enum nk_log_level level,
                                const char *target, const char *message,
                                const struct nk_log_field *fields, size_t field_count)
{
    if (level >= log->level_min) {
        log->ops->event(log->ctx, level, target, message, fields, field_count);
    }
}

/* nk_log_info(log, "gateway", "listening", NK_LOG_TEXT("address", a), NK_LOG_NUMBER("port", p)); */
#define NK_LOG_AT(log, level, target, message, ...)                                                \
    nk_log_event((log), (level), (target), (message), (struct nk_log_field[]){__VA_ARGS__},        \
                 sizeof((struct nk_log_field[]){__VA_ARGS__}) / sizeof(struct nk_log_field))
#define nk_log_debug(log, target, ...) NK_LOG_AT((log), NK_LOG_DEBUG, (target), __VA_ARGS__)
#define nk_log_info(log, target, ...)  NK_LOG_AT((log), NK_LOG_INFO, (target), __VA_ARGS__)
#define nk_log_warn(log, target, ...)  NK_LOG_AT((log), NK_LOG_WARN, (target), __VA_ARGS__)
#define nk_log_error(log, target, ...) NK_LOG_AT((log), NK_LOG_ERROR, (target), __VA_ARGS__)
