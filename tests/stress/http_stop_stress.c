/* The HTTP side of a process that lives and stops: clients on connections that stay, clients that
 * vanish in the middle of a body, a loop that changes what the pages show, a handler that answers
 * late and from another thread; then a stop while all of that goes on.  Run under TSan.  (Exchanges
 * and nothing else, harder: ops_http_stress.c.)
 *
 * What must hold: every answer belongs to its request and is whole, pages and bodies alike; every
 * exchange that the handler took is answered once, whether or not the client is still there; a
 * client loses its connection unasked only once the stop has begun. */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/mpsc.h"
#include "common/base/prng.h"
#include "common/env_posix/env_posix.h"
#include "common/ops_http/ops_http.h"
#include "tests/stress/thread.h"

#define CLIENTS       4
#define REQUESTS_EACH 400u
#define BODY_MAX      20000u
#define ANSWER_MAX    (1u << 20)

/* An exchange on its way to the answering thread. */
struct late {
    struct nk_mpsc_node node;
    struct nk_http_exchange *exchange; /* NULL: the end */
};

struct stress {
    struct ops_http *http;
    struct nk_health *health;
    struct nk_registry *metrics;
    struct nk_counter counter;
    struct sockaddr_in address;
    struct nk_mpsc lates;
    sem_t late_ready;
    pthread_mutex_t late_lock;
    bool late_closed;      /* protected by late_lock: who comes now is answered at once */
    _Atomic bool stopping; /* from here on a connection may end at any time */
    _Atomic bool ended;
    _Atomic size_t taken;
    _Atomic size_t answered;
    _Atomic size_t clients_left;
    _Atomic size_t answers_seen;
    _Atomic size_t vanished;
};

static struct stress stress;

/* ---- The handler ---- */

static void answer(struct nk_http_exchange *exchange)
{
    const struct nk_http_field fields[] = {{"X-Path", exchange->path}};
    const struct nk_http_answer echo = {.status = 200,
                                        .content_type = "application/octet-stream",
                                        .fields = fields,
                                        .field_count = 1,
                                        .body = exchange->body};
    atomic_fetch_add(&stress.answered, 1);
    exchange->ops->answer(exchange, &echo);
}

static bool handler_begin(void *ctx, struct nk_http_exchange *exchange, size_t *out_body_max)
{
    (void)ctx;
    if (strncmp(exchange->path, "/echo/", 6) != 0) {
        return false;
    }
    *out_body_max = BODY_MAX;
    return true;
}

/* False: the answering thread takes nothing any more.  NULL is the last that it takes. */
static bool hand_over(struct nk_http_exchange *exchange)
{
    NK_ASSERT(pthread_mutex_lock(&stress.late_lock) == 0);
    bool open = !stress.late_closed;
    if (open) {
        struct late *late = nk_alloc_zero(1, sizeof *late);
        late->exchange = exchange;
        stress.late_closed = exchange == NULL;
        (void)nk_mpsc_push(&stress.lates, &late->node);
        NK_ASSERT(sem_post(&stress.late_ready) == 0);
    }
    NK_ASSERT(pthread_mutex_unlock(&stress.late_lock) == 0);
    return open;
}

static void handler_request(void *ctx, struct nk_http_exchange *exchange)
{
    (void)ctx;
    atomic_fetch_add(&stress.taken, 1);
    if (exchange->body.size % 3 == 0 || !hand_over(exchange)) {
        answer(exchange);
    }
}

static void *answer_late(void *argument)
{
    (void)argument;
    for (bool end = false; !end;) {
        while (sem_wait(&stress.late_ready) != 0) {
        }
        struct nk_mpsc_node *node = nk_mpsc_take_all(&stress.lates);
        while (node != NULL) {
            struct late *late = NK_CONTAINER_OF(node, struct late, node);
            node = node->next;
            if (late->exchange == NULL) {
                end = true;
            } else {
                answer(late->exchange);
            }
            nk_free(late);
        }
    }
    return NULL;
}

/* ---- The loop ---- */

static void *run_loop(void *argument)
{
    (void)argument;
    for (uint64_t round = 0; !atomic_load(&stress.ended); round++) {
        nk_health_beat(stress.health);
        nk_health_set(stress.health, round % 2 == 0 ? NK_HEALTHY : NK_DEGRADED, "");
        nk_health_set_ready(stress.health, true, "");
        nk_counter_add(&stress.counter, 1);
        struct nk_health_node node = {.id = "node0", .addr = "127.0.0.1:1", .role = "leader"};
        nk_health_set_nodes(stress.health, &node, round % 2);
        (void)usleep(100);
    }
    return NULL;
}

/* ---- Clients ---- */

struct client {
    struct nk_prng prng;
    int fd; /* -1: not connected */
    char answer[ANSWER_MAX];
    size_t answer_size;
};

static void disconnect(struct client *client)
{
    if (client->fd >= 0) {
        (void)close(client->fd);
        client->fd = -1;
    }
}

static bool connected(struct client *client)
{
    if (client->fd >= 0) {
        return true;
    }
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    NK_ASSERT(fd >= 0);
    if (connect(fd, (const struct sockaddr *)&stress.address, sizeof stress.address) != 0) {
        NK_ASSERT(atomic_load(&stress.stopping));
        (void)close(fd);
        return false;
    }
    client->fd = fd;
    return true;
}

static bool send_all(struct client *client, const void *data, size_t size)
{
    const char *from = data;
    while (size > 0) {
        ssize_t sent = send(client->fd, from, size, MSG_NOSIGNAL);
        if (sent <= 0) {
            return false;
        }
        from += sent;
        size -= (size_t)sent;
    }
    return true;
}

/* Reads until the head, or head and body, are there. */
static bool receive(struct client *client, size_t wanted)
{
    while (client->answer_size < wanted) {
        NK_ASSERT(wanted < ANSWER_MAX);
        ssize_t got = recv(client->fd, client->answer + client->answer_size,
                           ANSWER_MAX - 1 - client->answer_size, 0);
        if (got <= 0) {
            return false;
        }
        client->answer_size += (size_t)got;
        client->answer[client->answer_size] = '\0';
    }
    return true;
}

/* A whole answer: its status, *out_body within client->answer.  0: the connection ended first. */
static unsigned receive_answer(struct client *client, bool head_only, struct nk_bytes *out_body)
{
    client->answer_size = 0;
    client->answer[0] = '\0';
    char *end = NULL;
    while ((end = strstr(client->answer, "\r\n\r\n")) == NULL) {
        if (!receive(client, client->answer_size + 1)) {
            return 0;
        }
    }
    size_t head_size = (size_t)(end - client->answer) + 4;
    unsigned status = 0;
    int read = sscanf(client->answer, "HTTP/1.1 %u ", &status);
    NK_ASSERT(read == 1);
    const char *length = strcasestr(client->answer, "\r\nContent-Length:");
    NK_ASSERT(length != NULL);
    NK_ASSERT(length < end);
    size_t body_size =
        head_only ? 0 : (size_t)strtoul(length + strlen("\r\nContent-Length:"), NULL, 10);
    if (!receive(client, head_size + body_size)) {
        return 0;
    }
    NK_ASSERT(client->answer_size == head_size + body_size);
    *out_body = nk_bytes_of(client->answer + head_size, body_size);
    return status;
}

/* A head that asks for the end of the connection is obeyed. */
static void close_if_told(struct client *client, const struct nk_bytes *body)
{
    char *head_end = (char *)(uintptr_t)body->data;
    char kept = *head_end;
    *head_end = '\0';
    if (strcasestr(client->answer, "\r\nConnection: close") != NULL) {
        disconnect(client);
    }
    *head_end = kept;
}

static void lost(struct client *client, bool may_be)
{
    NK_ASSERT(may_be || atomic_load(&stress.stopping));
    disconnect(client);
}

static void get_own(struct client *client)
{
    static const char *const paths[] = {"/health", "/health/quick", "/healthz",
                                        "/readyz", "/metrics",      "/nothing"};
    size_t which = (size_t)nk_prng_below(&client->prng, 6);
    bool head_only = nk_prng_chance(&client->prng, 200000);
    char head[200];
    int size = snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: h\r\n\r\n",
                        head_only ? "HEAD" : "GET", paths[which]);
    struct nk_bytes body = {NULL, 0};
    if (!send_all(client, head, (size_t)size)) {
        lost(client, false);
        return;
    }
    unsigned status = receive_answer(client, head_only, &body);
    if (status == 0) {
        lost(client, false);
        return;
    }
    NK_ASSERT(status == (which == 5 ? 404u : 200u));
    if (which == 0 && !head_only) {
        NK_ASSERT(body.data[0] == '{');
        NK_ASSERT(memcmp(body.data + body.size - 2, "}\n", 2) == 0);
    } else if (which == 4 && !head_only) {
        NK_ASSERT(strstr((const char *)body.data, "stress_total ") != NULL);
    }
    atomic_fetch_add(&stress.answers_seen, 1);
    close_if_told(client, &body);
}

static void put_echo(struct client *client)
{
    static const char *const names[] = {"a", "b%2Fc", "%00", "d"};
    const char *name = names[nk_prng_below(&client->prng, 4)];
    static uint8_t pattern[BODY_MAX];
    size_t body_size = (size_t)nk_prng_below(&client->prng, BODY_MAX);
    char head[300];
    int size = snprintf(head, sizeof head,
                        "PUT /echo/%s HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n", name,
                        body_size);
    bool vanishes = nk_prng_chance(&client->prng, 100000);
    size_t sent_size = vanishes ? (size_t)nk_prng_below(&client->prng, body_size + 1) : body_size;
    struct nk_bytes body = {NULL, 0};
    if (!send_all(client, head, (size_t)size) || !send_all(client, pattern, sent_size)) {
        lost(client, false);
        return;
    }
    if (vanishes) { /* within the body, or while the answer is being made */
        atomic_fetch_add(&stress.vanished, 1);
        disconnect(client);
        return;
    }
    unsigned status = receive_answer(client, false, &body);
    if (status == 0) {
        lost(client, false);
        return;
    }
    NK_ASSERT(status == 200);
    NK_ASSERT(nk_bytes_equal(body, nk_bytes_of(pattern, body_size)));
    char path[64];
    (void)snprintf(path, sizeof path, "X-Path: /echo/%s\r\n", name);
    NK_ASSERT(strstr(client->answer, path) != NULL);
    atomic_fetch_add(&stress.answers_seen, 1);
    close_if_told(client, &body);
}

static void one_request(struct client *client)
{
    if (!connected(client)) {
        return;
    }
    if (nk_prng_chance(&client->prng, 500000)) {
        get_own(client);
    } else {
        put_echo(client);
    }
    if (client->fd >= 0 && nk_prng_chance(&client->prng, 50000)) {
        disconnect(client);
    }
}

static void *run_client(void *argument)
{
    struct client *client = nk_alloc_zero(1, sizeof *client);
    client->fd = -1;
    nk_prng_init(&client->prng, (uint64_t)(uintptr_t)argument);
    for (size_t i = 0; i < REQUESTS_EACH; i++) {
        one_request(client);
    }
    atomic_fetch_sub(&stress.clients_left, 1);
    while (!atomic_load(&stress.stopping)) { /* so that the stop finds requests under way */
        one_request(client);
    }
    for (int i = 0; i < 20; i++) {
        one_request(client);
    }
    disconnect(client);
    nk_free(client);
    return NULL;
}

/* ---- Around it ---- */

static void log_event(void *ctx, enum nk_log_level level, const char *target, const char *message,
                      const struct nk_log_field *fields, size_t field_count)
{
    (void)ctx;
    (void)level;
    (void)target;
    (void)message;
    (void)fields;
    (void)field_count;
}

static void open_http(const struct nk_clock *clock)
{
    static const struct nk_log_ops log_ops = {log_event};
    static const struct nk_http_handler handler = {handler_begin, handler_request, NULL};
    nk_health_open(clock, "shardhost", "node0", 4, &stress.health);
    nk_health_beat(stress.health);
    nk_health_set(stress.health, NK_HEALTHY, "");
    nk_health_set_ready(stress.health, true, "");
    nk_registry_open(&stress.metrics);
    const struct nk_metric metric = {.name = "stress_total", .help = "Rounds."};
    nk_registry_add_counter(stress.metrics, &metric, &stress.counter);
    const struct ops_http_options options = {
        .address = "127.0.0.1:0",
        .health = stress.health,
        .metrics = stress.metrics,
        .handler = &handler,
        .clock = *clock,
        .log = {&log_ops, NULL, NK_LOG_INFO},
    };
    char memory[256];
    struct nk_text reason;
    nk_text_init(&reason, memory, sizeof memory);
    enum nk_err err = ops_http_open(&options, &stress.http, &reason);
    NK_ASSERT(err == NK_OK);
    const char *port = strrchr(ops_http_address(stress.http), ':');
    NK_ASSERT(port != NULL);
    stress.address.sin_family = AF_INET;
    stress.address.sin_port = htons((uint16_t)strtoul(port + 1, NULL, 10));
    stress.address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
}

int main(void)
{
    const struct nk_clock clock = env_posix_clock();
    nk_mpsc_init(&stress.lates);
    int failed = sem_init(&stress.late_ready, 0, 0);
    NK_ASSERT(failed == 0);
    stress.late_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    open_http(&clock);
    pthread_t loop;
    pthread_t answerer;
    pthread_t clients[CLIENTS];
    atomic_store(&stress.clients_left, CLIENTS);
    stress_start(&loop, run_loop, NULL);
    stress_start(&answerer, answer_late, NULL);
    for (size_t i = 0; i < CLIENTS; i++) {
        stress_start(&clients[i], run_client, (void *)(uintptr_t)(i + 1));
    }
    while (atomic_load(&stress.clients_left) > 0) {
        (void)usleep(1000);
    }
    atomic_store(&stress.stopping, true);
    ops_http_stop(stress.http);
    for (size_t i = 0; i < CLIENTS; i++) {
        stress_join(clients[i]);
    }
    bool open = hand_over(NULL);
    NK_ASSERT(open);
    stress_join(answerer);
    ops_http_close(&stress.http);
    atomic_store(&stress.ended, true);
    stress_join(loop);
    NK_ASSERT(atomic_load(&stress.taken) == atomic_load(&stress.answered));
    (void)printf("%zu answers seen, %zu clients vanished, %zu exchanges\n",
                 atomic_load(&stress.answers_seen), atomic_load(&stress.vanished),
                 atomic_load(&stress.taken));
    NK_ASSERT(atomic_load(&stress.answers_seen) >= CLIENTS * REQUESTS_EACH / 2);
    nk_registry_close(&stress.metrics);
    nk_health_close(&stress.health);
    failed = sem_destroy(&stress.late_ready);
    NK_ASSERT(failed == 0);
    return 0;
}
