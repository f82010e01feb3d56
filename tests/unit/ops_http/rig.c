#include "rig.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/units.h"

#define PATIENCE_MS 20000 /* bounds a hang, decides nothing */

/* ---- The handler ---- */

static void echo(struct nk_http_exchange *exchange)
{
    struct nk_buf body = {0};
    const char *const lines[] = {exchange->method, exchange->path, exchange->query};
    for (size_t i = 0; i < NK_COUNT_OF(lines); i++) {
        nk_buf_append_string(&body, lines[i]);
        nk_buf_append_u8(&body, '\n');
    }
    nk_buf_append(&body, exchange->body);
    char told[300] = "";
    size_t told_count;
    struct nk_bytes value = exchange->ops->header(exchange, "x-told", &told_count);
    (void)snprintf(told, sizeof told, "%zu%s%.*s", told_count, value.data != NULL ? ":" : "",
                   (int)value.size, value.data != NULL ? (const char *)value.data : "");
    const struct nk_http_field fields[] = {{"X-Told", told}, {"X-Broken", "a\r\nX-Forged: b"}};
    const struct nk_http_answer answer = {
        .status = 200,
        .content_type = "text/plain",
        .fields = fields,
        .field_count = NK_COUNT_OF(fields),
        .body = nk_buf_bytes(&body),
    };
    exchange->ops->answer(exchange, &answer);
    nk_buf_deinit(&body);
}

static bool begin(void *ctx, struct nk_http_exchange *exchange, size_t *out_body_max)
{
    (void)ctx;
    *out_body_max = RIG_BODY_MAX;
    if (strcmp(exchange->path, "/refused") == 0) {
        exchange->ops->answer_error(exchange, 418, "TEAPOT", "no \"coffee\"", NULL, 0);
        return true;
    }
    return strcmp(exchange->path, "/echo") == 0 || strcmp(exchange->path, "/later") == 0 ||
           strcmp(exchange->path, "/held") == 0;
}

static void *answer_later(void *exchange)
{
    struct nk_http_exchange *plain = exchange;
    const struct nk_http_answer answer = {.status = 200, .body = plain->body};
    plain->ops->answer(plain, &answer);
    return NULL;
}

static void request(void *ctx, struct nk_http_exchange *exchange)
{
    struct rig *rig = ctx;
    atomic_fetch_add(&rig->request_count, 1);
    if (strcmp(exchange->path, "/echo") == 0) {
        echo(exchange);
        return;
    }
    (void)pthread_mutex_lock(&rig->lock);
    if (strcmp(exchange->path, "/held") == 0) {
        rig->held = exchange;
    } else {
        cr_assert_lt(rig->answering_count, RIG_THREADS_MAX);
        int failed =
            pthread_create(&rig->answering[rig->answering_count++], NULL, answer_later, exchange);
        cr_assert_eq(failed, 0);
    }
    (void)pthread_mutex_unlock(&rig->lock);
}

struct nk_http_exchange *rig_take_held(struct rig *rig)
{
    struct nk_http_exchange *held = NULL;
    for (int waited_ms = 0; held == NULL; waited_ms++) {
        cr_assert_lt(waited_ms, PATIENCE_MS, "no request to /held");
        (void)pthread_mutex_lock(&rig->lock);
        held = rig->held;
        rig->held = NULL;
        (void)pthread_mutex_unlock(&rig->lock);
        (void)poll(NULL, 0, held == NULL ? 1 : 0);
    }
    return held;
}

/* ---- The daemon ---- */

static uint64_t mono_us(void *ctx)
{
    struct rig *rig = ctx;
    const struct nk_clock real = env_posix_clock();
    return nk_mono_us(&real) + atomic_load(&rig->added_us);
}

static uint64_t wall_ms(void *ctx)
{
    (void)ctx;
    const struct nk_clock real = env_posix_clock();
    return nk_wall_ms(&real);
}

static const struct nk_clock_ops clock_ops = {mono_us, wall_ms};

void rig_advance(struct rig *rig, uint64_t span_ms)
{
    atomic_fetch_add(&rig->added_us, span_ms * NK_US_PER_MS);
}

void rig_open(struct rig *rig, const struct rig_limits *limits)
{
    memset(rig, 0, sizeof *rig);
    (void)pthread_mutex_init(&rig->lock, NULL);
    rig->clock = (struct nk_clock){&clock_ops, rig};
    const struct env_posix_log_options log = {.fd = STDERR_FILENO, .level_min = NK_LOG_ERROR};
    env_posix_log_open(&log, &rig->posix_log);
    nk_registry_open(&rig->metrics);
    nk_registry_add_build_info(rig->metrics, "1.2.3", "test");
    nk_health_open(&rig->clock, "test", "node7", 16, &rig->health);
    const struct nk_http_handler handler = {begin, request, rig};
    const struct ops_http_options options = {
        .address = "127.0.0.1:0",
        .health = rig->health,
        .metrics = limits->no_metrics ? NULL : rig->metrics,
        .handler = &handler,
        .clock = rig->clock,
        .log = env_posix_log(rig->posix_log),
        .connection_max = limits->connection_max,
        .idle_timeout_s = limits->idle_timeout_s,
        .body_total_bytes_max = limits->body_total_bytes_max,
    };
    char memory[256];
    struct nk_text reason;
    nk_text_init(&reason, memory, sizeof memory);
    enum nk_err err = ops_http_open(&options, &rig->http, &reason);
    cr_assert_eq(err, NK_OK, "%s", memory);
}

void rig_close(struct rig *rig)
{
    for (size_t i = 0; i < rig->answering_count; i++) {
        (void)pthread_join(rig->answering[i], NULL);
    }
    ops_http_close(&rig->http);
    nk_health_close(&rig->health);
    nk_registry_close(&rig->metrics);
    env_posix_log_close(&rig->posix_log);
    (void)pthread_mutex_destroy(&rig->lock);
}

/* ---- Clients ---- */

int rig_connect(const struct rig *rig)
{
    const char *port = strrchr(ops_http_address(rig->http), ':') + 1;
    struct sockaddr_in place = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)strtoul(port, NULL, 10)),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_geq(fd, 0);
    cr_assert_eq(connect(fd, (const struct sockaddr *)&place, sizeof place), 0);
    return fd;
}

void rig_send(int fd, const char *text)
{
    rig_send_bytes(fd, nk_bytes_of_string(text));
}

/* What an ended connection does not take is lost. */
void rig_send_bytes(int fd, struct nk_bytes bytes)
{
    while (bytes.size > 0) {
        ssize_t sent = send(fd, bytes.data, bytes.size, MSG_NOSIGNAL);
        if (sent <= 0) {
            return;
        }
        bytes = nk_bytes_of(bytes.data + sent, bytes.size - (size_t)sent);
    }
}

/* At most `size` bytes; 0: the connection has ended. */
static size_t receive(int fd, char *out, size_t size)
{
    struct pollfd one = {.fd = fd, .events = POLLIN};
    cr_assert_eq(poll(&one, 1, PATIENCE_MS), 1, "nothing comes");
    ssize_t got = recv(fd, out, size, 0);
    return got > 0 ? (size_t)got : 0;
}

bool rig_has_ended(int fd)
{
    char byte;
    return receive(fd, &byte, 1) == 0;
}

void rig_receive_head(int fd, struct reply *reply)
{
    size_t size = 0;
    memset(reply, 0, sizeof *reply);
    while (size < 4 || memcmp(reply->head + size - 4, "\r\n\r\n", 4) != 0) {
        cr_assert_lt(size + 1, sizeof reply->head);
        if (receive(fd, reply->head + size, 1) == 0) {
            cr_assert_eq(size, 0, "a head that is cut: %s", reply->head);
            return;
        }
        size++;
    }
    cr_assert_eq(sscanf(reply->head, "HTTP/1.1 %u", &reply->status), 1, "%s", reply->head);
    if (reply->status == 100) {
        rig_receive_head(fd, reply);
    }
}

void rig_receive(int fd, struct reply *reply)
{
    rig_receive_head(fd, reply);
    const char *length = reply_header(reply, "Content-Length");
    size_t size = length != NULL ? strtoul(length, NULL, 10) : 0;
    cr_assert_lt(size, sizeof reply->body);
    while (reply->body_size < size) {
        size_t got = receive(fd, reply->body + reply->body_size, size - reply->body_size);
        cr_assert_gt(got, 0, "a body that is cut");
        reply->body_size += got;
    }
    reply->body[size] = '\0';
}

const char *reply_header(struct reply *reply, const char *name)
{
    static char value[1024];
    size_t size = strlen(name);
    for (const char *line = reply->head; line != NULL; line = strstr(line, "\r\n")) {
        line += line == reply->head ? 0 : 2;
        if (strncasecmp(line, name, size) == 0 && line[size] == ':') {
            (void)snprintf(value, sizeof value, "%.*s", (int)strcspn(line + size + 2, "\r"),
                           line + size + 2);
            return value;
        }
    }
    return NULL;
}

void rig_ask(const struct rig *rig, const char *request_text, struct reply *reply)
{
    int fd = rig_connect(rig);
    rig_send(fd, request_text);
    if (strncmp(request_text, "HEAD ", 5) == 0) {
        rig_receive_head(fd, reply);
    } else {
        rig_receive(fd, reply);
    }
    (void)close(fd);
}

unsigned rig_status(const struct rig *rig, struct nk_bytes request_bytes)
{
    struct reply reply;
    int fd = rig_connect(rig);
    rig_send_bytes(fd, request_bytes);
    rig_receive(fd, &reply);
    (void)close(fd);
    return reply.status;
}
