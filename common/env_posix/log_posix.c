/* The log: JSON or text, one event a line.
 *
 *   {"timestamp":"2025-03-01T12:00:00.123Z","level":"info","target":"gateway","message":
 *    "listening","fields":{"address":"0.0.0.0:7447","attempt":1}}
 *   2025-03-01T12:00:00.123Z info  gateway: listening address="0.0.0.0:7447" attempt=1
 *
 * A line is at most PIPE_BUF (4096) bytes and written by one write(2): several processes share one
 * stderr, and the kernel keeps such writes whole.  Each text is cut to a share of the line, so a
 * line is always complete JSON.
 *
 * Not blocking for long: O_NONBLOCK would hold for everybody who shares the descriptor, so poll(2)
 * is asked instead.  For a pipe "writable" means room for PIPE_BUF bytes.  Another process may take
 * that room between the two calls; then, and only then, this write waits for the reader. */

#include "env_posix.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/units.h"

#define LINE_BYTES_MAX   ((size_t)PIPE_BUF)
#define TEXT_BYTES_MAX   ((size_t)1024) /* of the message and of each value, as printed */
#define NAME_BYTES_MAX   ((size_t)64)
#define FIELD_BYTES_MAX  (NAME_BYTES_MAX + TEXT_BYTES_MAX + 16) /* with quotes, colon, comma */
#define ENDING_BYTES_MAX ((size_t)64)                           /* "cut", "dropped", brackets */

struct env_posix_log {
    struct nk_clock clock;
    int fd;
    bool json;
    enum nk_log_level level_min;

    pthread_mutex_t lock; /* one line at a time; protects what follows */
    bool stuck;           /* the last event was dropped */
    uint64_t dropped;     /* since a line last got through */
};

static void begin_line(struct env_posix_log *log, struct nk_text *line, enum nk_log_level level,
                       const char *target, const char *message);
static void add_name(const struct env_posix_log *log, struct nk_text *line, bool first,
                     const char *name);
static void add_time(struct nk_text *line, uint64_t wall_ms);
static void add_plain(struct nk_text *line, const char *string, size_t size_max);
static void add_quoted(struct nk_text *line, const char *string, size_t size_max);
static size_t utf8_size(const uint8_t *at);
static void write_line(struct env_posix_log *log, const struct nk_text *line);

static const char *const level_names[] = {[NK_LOG_DEBUG] = "debug",
                                          [NK_LOG_INFO] = "info",
                                          [NK_LOG_WARN] = "warn",
                                          [NK_LOG_ERROR] = "error"};

void env_posix_log_open(const struct env_posix_log_options *options, struct env_posix_log **out_log)
{
    struct env_posix_log *log = nk_alloc_zero(1, sizeof *log);
    log->clock = env_posix_clock();
    log->fd = options->fd;
    log->json = options->json;
    log->level_min = options->level_min;
    int failed = pthread_mutex_init(&log->lock, NULL);
    NK_ASSERT(failed == 0);
    *out_log = log;
}

void env_posix_log_close(struct env_posix_log **log)
{
    if (log == NULL || *log == NULL) {
        return;
    }
    (void)pthread_mutex_destroy(&(*log)->lock);
    nk_free(*log);
    *log = NULL;
}

static void event(void *ctx, enum nk_log_level level, const char *target, const char *message,
                  const struct nk_log_field *fields, size_t field_count)
{
    struct env_posix_log *log = ctx;
    char memory[LINE_BYTES_MAX + 1]; /* a text keeps a NUL behind what is written */
    struct nk_text line;
    nk_text_init(&line, memory, sizeof memory);

    (void)pthread_mutex_lock(&log->lock);
    begin_line(log, &line, level, target, message);
    size_t i = 0;
    for (; i < field_count; i++) {
        if (LINE_BYTES_MAX - line.size < FIELD_BYTES_MAX + ENDING_BYTES_MAX) {
            break;
        }
        add_name(log, &line, i == 0, fields[i].name);
        if (fields[i].text != NULL) {
            add_quoted(&line, fields[i].text, TEXT_BYTES_MAX);
        } else {
            nk_text_add_u64(&line, fields[i].number);
        }
    }
    if (i < field_count) {
        add_name(log, &line, i == 0, "cut"); /* how many fields had no room */
        nk_text_add_u64(&line, field_count - i);
    }
    if (log->dropped > 0) {
        add_name(log, &line, field_count == 0, "dropped");
        nk_text_add_u64(&line, log->dropped);
    }
    nk_text_add(&line, log->json ? "}}\n" : "\n");
    NK_ASSERT(!line.truncated);
    write_line(log, &line);
    (void)pthread_mutex_unlock(&log->lock);
}

struct nk_log env_posix_log(struct env_posix_log *log)
{
    static const struct nk_log_ops ops = {event};
    return (struct nk_log){&ops, log, log->level_min};
}

static void begin_line(struct env_posix_log *log, struct nk_text *line, enum nk_log_level level,
                       const char *target, const char *message)
{
    uint64_t now_ms = nk_wall_ms(&log->clock);
    if (log->json) {
        nk_text_add(line, "{\"timestamp\":\"");
        add_time(line, now_ms);
        nk_text_add(line, "\",\"level\":\"");
        nk_text_add(line, level_names[level]);
        nk_text_add(line, "\",\"target\":");
        add_quoted(line, target, NAME_BYTES_MAX);
        nk_text_add(line, ",\"message\":");
        add_quoted(line, message, TEXT_BYTES_MAX);
        nk_text_add(line, ",\"fields\":{");
    } else {
        add_time(line, now_ms);
        nk_text_add(line, " ");
        nk_text_add(line, level_names[level]);
        nk_text_add(line, strlen(level_names[level]) == 4 ? "  " : " ");
        add_plain(line, target, NAME_BYTES_MAX);
        nk_text_add(line, ": ");
        add_plain(line, message, TEXT_BYTES_MAX);
    }
}

static void add_name(const struct env_posix_log *log, struct nk_text *line, bool first,
                     const char *name)
{
    if (log->json) {
        nk_text_add(line, first ? "" : ",");
        add_quoted(line, name, NAME_BYTES_MAX);
        nk_text_add(line, ":");
    } else {
        nk_text_add(line, " ");
        add_plain(line, name, NAME_BYTES_MAX);
        nk_text_add(line, "=");
    }
}

/* RFC 3339, milliseconds, UTC. */
static void add_time(struct nk_text *line, uint64_t wall_ms)
{
    time_t seconds = (time_t)(wall_ms / NK_MS_PER_SEC);
    struct tm date;
    char text[40];
    const struct tm *known = gmtime_r(&seconds, &date);
    NK_ASSERT(known != NULL);
    size_t size = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &date);
    NK_ASSERT(size > 0);
    (void)snprintf(text + size, sizeof text - size, ".%03uZ", (unsigned)(wall_ms % NK_MS_PER_SEC));
    nk_text_add(line, text);
}

/* A constant of ours: as it is, but never longer than its share. */
static void add_plain(struct nk_text *line, const char *string, size_t size_max)
{
    nk_text_add_bytes(line, nk_bytes_of(string, strnlen(string, size_max)));
}

/* A JSON string of at most `size_max` bytes with its quotes, "..." where something is missing. What
 * is not UTF-8 becomes U+FFFD, byte by byte. */
static void add_quoted(struct nk_text *line, const char *string, size_t size_max)
{
    static const char digits[] = "0123456789abcdef";
    size_t limit = line->size + size_max - strlen("...\"");
    nk_text_add(line, "\"");
    const uint8_t *at = (const uint8_t *)string;
    while (*at != '\0') {
        char escaped[8] = {'\\', 'u', '0', '0', digits[*at >> 4], digits[*at & 15], '\0'};
        struct nk_bytes piece = nk_bytes_of(escaped, 6);
        size_t size = utf8_size(at);
        if (size == 0) {
            piece = nk_bytes_of("\\ufffd", 6);
            size = 1;
        } else if (*at == '"' || *at == '\\') {
            escaped[1] = (char)*at;
            piece.size = 2;
        } else if (*at >= 0x20 && *at != 0x7f) {
            piece = nk_bytes_of(at, size);
        }
        if (piece.size > limit - line->size) {
            nk_text_add(line, "...");
            break;
        }
        nk_text_add_bytes(line, piece);
        at += size;
    }
    nk_text_add(line, "\"");
}

/* Bytes of the UTF-8 character at `at` (RFC 3629: shortest form, no surrogates, up to U+10FFFF), 0
 * if there is none.  The string's NUL is no continuation byte, so nothing is read behind it. */
static size_t utf8_size(const uint8_t *at)
{
    if (at[0] < 0x80) {
        return 1;
    }
    size_t size = at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
    if (at[0] < 0xc2 || at[0] > 0xf4) {
        return 0;
    }
    uint8_t second_min = at[0] == 0xe0 ? 0xa0 : at[0] == 0xf0 ? 0x90 : 0x80;
    uint8_t second_max = at[0] == 0xed ? 0x9f : at[0] == 0xf4 ? 0x8f : 0xbf;
    if (at[1] < second_min || at[1] > second_max) {
        return 0;
    }
    for (size_t i = 2; i < size; i++) {
        if (at[i] < 0x80 || at[i] > 0xbf) {
            return 0;
        }
    }
    return size;
}

static void write_line(struct env_posix_log *log, const struct nk_text *line)
{
    struct pollfd wait = {.fd = log->fd, .events = POLLOUT};
    int ready;
    do {
        ready = poll(&wait, 1, log->stuck ? 0 : ENV_POSIX_LOG_WAIT_MS);
    } while (ready < 0 && errno == EINTR);
    log->stuck = ready <= 0 || (wait.revents & POLLOUT) == 0 ||
                 write(log->fd, line->data, line->size) != (ssize_t)line->size;
    log->dropped = log->stuck ? log->dropped + 1 : 0;
}
