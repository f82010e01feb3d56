/* Exchanges under pressure: clients on their own connections, a handler whose answers come from
 * other threads, sometimes before request() has returned and sometimes long after, and clients who
 * go away in between.  Run under TSan.
 *
 * What must hold: every request that is handed over is answered once, every client who waits gets
 * the bytes that it sent, in its order, and nothing is left at the end. */

#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/assert.h"
#include "common/base/units.h"
#include "common/env_posix/env_posix.h"
#include "common/ops_http/ops_http.h"

#define CLIENTS       6u
#define REQUESTS_EACH 3000u
#define ANSWERERS     3u
#define QUEUE_MAX     64u

struct stress {
    struct nk_clock clock;
    struct env_posix_log *posix_log;
    struct nk_health *health;
    struct ops_http *http;
    uint16_t port;

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t changed;
    struct nk_http_exchange *queue[QUEUE_MAX];
    size_t queue_count;
    bool ended;

    _Atomic uint64_t handed_over;
    _Atomic uint64_t answered;
    _Atomic uint64_t received;
};

static void answer(struct stress *stress, struct nk_http_exchange *exchange)
{
    const struct nk_http_answer given = {.status = 200, .body = exchange->body};
    atomic_fetch_add(&stress->answered, 1);
    exchange->ops->answer(exchange, &given);
}

static bool begin(void *ctx, struct nk_http_exchange *exchange, size_t *out_body_max)
{
    (void)ctx;
    *out_body_max = 64;
    return strcmp(exchange->path, "/echo") == 0;
}

/* The HTTP thread answers some itself, at once. */
static void request(void *ctx, struct nk_http_exchange *exchange)
{
    struct stress *stress = ctx;
    atomic_fetch_add(&stress->handed_over, 1);
    (void)pthread_mutex_lock(&stress->lock);
    bool queued =
        !stress->ended && stress->queue_count < QUEUE_MAX && exchange->body.data[0] % 8 != 0;
    if (queued) {
        stress->queue[stress->queue_count++] = exchange;
        (void)pthread_cond_signal(&stress->changed);
    }
    (void)pthread_mutex_unlock(&stress->lock);
    if (!queued) {
        answer(stress, exchange);
    }
}

static void *answer_all(void *argument)
{
    struct stress *stress = argument;
    (void)pthread_mutex_lock(&stress->lock);
    while (!stress->ended || stress->queue_count > 0) {
        if (stress->queue_count == 0) {
            (void)pthread_cond_wait(&stress->changed, &stress->lock);
            continue;
        }
        struct nk_http_exchange *exchange = stress->queue[--stress->queue_count];
        (void)pthread_mutex_unlock(&stress->lock);
        answer(stress, exchange);
        (void)pthread_mutex_lock(&stress->lock);
    }
    (void)pthread_mutex_unlock(&stress->lock);
    return NULL;
}

static int connect_to(const struct stress *stress)
{
    const struct sockaddr_in place = {
        .sin_family = AF_INET,
        .sin_port = htons(stress->port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    NK_ASSERT(fd >= 0);
    int failed = connect(fd, (const struct sockaddr *)&place, sizeof place);
    NK_ASSERT(failed == 0);
    return fd;
}

/* Reads one answer and compares its body. */
static void expect(int fd, const char *body)
{
    char text[1024];
    size_t size = 0;
    size_t body_size = strlen(body);
    const char *end = NULL;
    while (end == NULL || size < (size_t)(end + 4 - text) + body_size) {
        NK_ASSERT(size + 1 < sizeof text);
        ssize_t got = recv(fd, text + size, sizeof text - 1 - size, 0);
        NK_ASSERT(got > 0);
        size += (size_t)got;
        text[size] = '\0';
        end = strstr(text, "\r\n\r\n");
    }
    NK_ASSERT(strncmp(text, "HTTP/1.1 200 ", 13) == 0);
    NK_ASSERT(strcmp(end + 4, body) == 0);
}

static void *ask(void *argument)
{
    struct stress *stress = argument;
    int fd = -1;
    for (unsigned i = 0; i < REQUESTS_EACH; i++) {
        if (fd < 0) {
            fd = connect_to(stress);
        }
        char body[32];
        char text[256];
        int body_size = snprintf(body, sizeof body, "%c%u", 'a' + (int)(i % 26), i);
        int size = snprintf(text, sizeof text,
                            "PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s",
                            body_size, body);
        ssize_t sent = send(fd, text, (size_t)size, MSG_NOSIGNAL);
        NK_ASSERT(sent == size);
        if (i % 97 == 0) { /* gone before the answer */
            (void)close(fd);
            fd = -1;
            continue;
        }
        expect(fd, body);
        atomic_fetch_add(&stress->received, 1);
    }
    (void)close(fd);
    return NULL;
}

static void open_all(struct stress *stress)
{
    (void)pthread_mutex_init(&stress->lock, NULL);
    (void)pthread_cond_init(&stress->changed, NULL);
    stress->clock = env_posix_clock();
    const struct env_posix_log_options log = {.fd = STDERR_FILENO, .level_min = NK_LOG_ERROR};
    env_posix_log_open(&log, &stress->posix_log);
    nk_health_open(&stress->clock, "stress", "n", 1, &stress->health);
    const struct nk_http_handler handler = {begin, request, stress};
    const struct ops_http_options options = {
        .address = "127.0.0.1:0",
        .health = stress->health,
        .handler = &handler,
        .clock = stress->clock,
        .log = env_posix_log(stress->posix_log),
    };
    char memory[256];
    struct nk_text reason;
    nk_text_init(&reason, memory, sizeof memory);
    enum nk_err err = ops_http_open(&options, &stress->http, &reason);
    if (err != NK_OK) {
        (void)fprintf(stderr, "%s\n", memory);
        exit(1);
    }
    const char *port = strrchr(ops_http_address(stress->http), ':') + 1;
    stress->port = (uint16_t)strtoul(port, NULL, 10);
}

int main(void)
{
    static struct stress stress;
    open_all(&stress);
    pthread_t answerers[ANSWERERS];
    pthread_t clients[CLIENTS];
    for (size_t i = 0; i < ANSWERERS; i++) {
        int failed = pthread_create(&answerers[i], NULL, answer_all, &stress);
        NK_ASSERT(failed == 0);
    }
    for (size_t i = 0; i < CLIENTS; i++) {
        int failed = pthread_create(&clients[i], NULL, ask, &stress);
        NK_ASSERT(failed == 0);
    }
    for (size_t i = 0; i < CLIENTS; i++) {
        (void)pthread_join(clients[i], NULL);
    }
    ops_http_stop(stress.http);
    (void)pthread_mutex_lock(&stress.lock);
    stress.ended = true;
    (void)pthread_cond_broadcast(&stress.changed);
    (void)pthread_mutex_unlock(&stress.lock);
    for (size_t i = 0; i < ANSWERERS; i++) {
        (void)pthread_join(answerers[i], NULL);
    }
    ops_http_close(&stress.http);
    nk_health_close(&stress.health);
    env_posix_log_close(&stress.posix_log);
    NK_ASSERT(stress.answered == stress.handed_over);
    NK_ASSERT(stress.received == CLIENTS * (REQUESTS_EACH - (REQUESTS_EACH + 96) / 97));
    (void)printf("%llu requests answered, %llu answers received\n",
                 (unsigned long long)stress.answered, (unsigned long long)stress.received);
    return 0;
}
