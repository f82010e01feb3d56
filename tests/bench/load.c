/* A closed-loop gRPC load generator: N callers on one thread, each sends its next request when the
 * last one was answered.  Prints one JSON object.
 *
 * usage: load --target ADDRESS [--callers 64] [--connections 4] [--put-percent 100] [--keys 100000]
 *             [--value-bytes 256] [--seconds 5] [--warmup 1] [--seed 1] [--fill] [--pid N]...
 * --fill puts every key once, in order, and ends; --pid adds a server process whose CPU time is
 * reported per request, by name. */

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpc/support/time.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 64
#define CALLERS_MAX     4096
#define PIDS_MAX        16
#define KEY_BYTES       16
#define BUCKETS         4096 /* of 10 us up to 40.96 ms, then the last one */
#define BUCKET_NS       UINT64_C(10000)

struct caller {
    grpc_call *call;
    grpc_metadata_array initial;
    grpc_metadata_array trailing;
    grpc_status_code status;
    grpc_slice details;
    grpc_byte_buffer *request;
    grpc_byte_buffer *response;
    uint64_t started_ns;
    bool is_put;
};

struct latency {
    uint64_t count;
    uint64_t max_ns;
    uint64_t buckets[BUCKETS];
};

struct connection {
    grpc_channel *channel;
    void *put;
    void *get;
};

static struct {
    const char *target;
    size_t callers;
    size_t connections;
    unsigned put_percent;
    uint64_t keys;
    size_t value_bytes;
    double seconds;
    double warmup;
    bool fill;
    uint64_t random;
    long pids[PIDS_MAX];
    size_t pid_count;
} options = {.callers = 64,
             .connections = 4,
             .put_percent = 100,
             .keys = 100000,
             .value_bytes = 256,
             .seconds = 5,
             .warmup = 1,
             .random = 1};

static struct connection connections[CONNECTIONS_MAX];
static struct caller callers[CALLERS_MAX];
static grpc_completion_queue *queue;
static uint8_t *value;
static uint64_t sent;
static uint64_t next_fill;
static struct latency latency;
static uint64_t errors[32];
static uint64_t hits;

static uint64_t now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static uint64_t draw(uint64_t limit)
{
    uint64_t z = (options.random += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return (z ^ (z >> 31)) % limit;
}

static size_t put_field(uint8_t *out, uint8_t tag, size_t size)
{
    size_t at = 0;
    out[at++] = tag;
    while (size >= 0x80) {
        out[at++] = (uint8_t)(size | 0x80);
        size >>= 7;
    }
    out[at++] = (uint8_t)size;
    return at;
}

/* PutRequest {key, value} or GetRequest {key}: field 1 bytes, field 2 bytes. */
static grpc_byte_buffer *make_request(uint64_t key, bool is_put)
{
    uint8_t head[8];
    uint8_t middle[8];
    size_t head_size = put_field(head, 0x0a, KEY_BYTES);
    size_t middle_size = is_put ? put_field(middle, 0x12, options.value_bytes) : 0;
    size_t size = head_size + KEY_BYTES + middle_size + (is_put ? options.value_bytes : 0);
    grpc_slice slice = grpc_slice_malloc(size);
    uint8_t *out = GRPC_SLICE_START_PTR(slice);
    memcpy(out, head, head_size);
    out += head_size;
    char text[KEY_BYTES + 8];
    (void)snprintf(text, sizeof text, "k%015" PRIu64, key % UINT64_C(1000000000000000));
    memcpy(out, text, KEY_BYTES);
    out += KEY_BYTES;
    if (is_put) {
        memcpy(out, middle, middle_size);
        memcpy(out + middle_size, value + draw(1 << 16), options.value_bytes);
    }
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return buffer;
}

static void start(struct caller *caller)
{
    struct connection *connection = &connections[sent % options.connections];
    caller->is_put = options.fill || draw(100) < options.put_percent;
    caller->request = make_request(options.fill ? next_fill++ : draw(options.keys), caller->is_put);
    caller->response = NULL;
    caller->started_ns = now_ns();
    gpr_timespec deadline =
        gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_seconds(10, GPR_TIMESPAN));
    caller->call = grpc_channel_create_registered_call(
        connection->channel, NULL, GRPC_PROPAGATE_DEFAULTS, queue,
        caller->is_put ? connection->put : connection->get, deadline, NULL);
    grpc_metadata_array_init(&caller->initial);
    grpc_metadata_array_init(&caller->trailing);
    grpc_op ops[6];
    memset(ops, 0, sizeof ops);
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[1].op = GRPC_OP_SEND_MESSAGE;
    ops[1].data.send_message.send_message = caller->request;
    ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &caller->initial;
    ops[4].op = GRPC_OP_RECV_MESSAGE;
    ops[4].data.recv_message.recv_message = &caller->response;
    ops[5].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    ops[5].data.recv_status_on_client.trailing_metadata = &caller->trailing;
    ops[5].data.recv_status_on_client.status = &caller->status;
    ops[5].data.recv_status_on_client.status_details = &caller->details;
    if (grpc_call_start_batch(caller->call, ops, 6, caller, NULL) != GRPC_CALL_OK) {
        abort();
    }
    sent++;
}

static void finish(struct caller *caller, bool measured)
{
    uint64_t took_ns = now_ns() - caller->started_ns;
    if (measured) {
        if (caller->status == GRPC_STATUS_OK) {
            uint64_t bucket = took_ns / BUCKET_NS;
            latency.buckets[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
            latency.count++;
            latency.max_ns = took_ns > latency.max_ns ? took_ns : latency.max_ns;
            hits += !caller->is_put && caller->response != NULL &&
                    grpc_byte_buffer_length(caller->response) > options.value_bytes;
        } else {
            errors[caller->status < 17 ? caller->status : 17]++;
        }
    }
    grpc_metadata_array_destroy(&caller->initial);
    grpc_metadata_array_destroy(&caller->trailing);
    grpc_slice_unref(caller->details);
    grpc_byte_buffer_destroy(caller->request);
    if (caller->response != NULL) {
        grpc_byte_buffer_destroy(caller->response);
    }
    grpc_call_unref(caller->call);
    caller->call = NULL;
}

static double percentile_ms(double share)
{
    uint64_t want = (uint64_t)(share * (double)latency.count);
    uint64_t seen = 0;
    for (size_t i = 0; i + 1 < BUCKETS; i++) {
        seen += latency.buckets[i];
        if (seen > want) {
            return (double)((i + 1) * BUCKET_NS) / 1e6;
        }
    }
    return (double)latency.max_ns / 1e6;
}

static double cpu_seconds(long pid, char *name, size_t name_size)
{
    char path[64];
    char line[1024];
    (void)snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return 0;
    }
    size_t size = fread(line, 1, sizeof line - 1, file);
    (void)fclose(file);
    line[size] = '\0';
    char *open = strchr(line, '(');
    char *close = strrchr(line, ')');
    unsigned long user = 0;
    unsigned long system = 0;
    if (open == NULL || close == NULL ||
        sscanf(close + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) !=
            2) {
        return 0;
    }
    (void)snprintf(name, name_size, "%.*s", (int)(close - open - 1), open + 1);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static double own_cpu_seconds(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void connect_all(void)
{
    for (size_t i = 0; i < options.connections; i++) {
        /* Channels with equal arguments would share one connection. */
        grpc_arg arg = {.type = GRPC_ARG_INTEGER, .key = (char *)(uintptr_t) "load.connection"};
        arg.value.integer = (int)i;
        grpc_channel_args args = {1, &arg};
        grpc_channel_credentials *credentials = grpc_insecure_credentials_create();
        connections[i].channel = grpc_channel_create(options.target, credentials, &args);
        grpc_channel_credentials_release(credentials);
        connections[i].put =
            grpc_channel_register_call(connections[i].channel, "/norikv.v1.Kv/Put", NULL, NULL);
        connections[i].get =
            grpc_channel_register_call(connections[i].channel, "/norikv.v1.Kv/Get", NULL, NULL);
    }
}

static void report(double elapsed, const double *cpu_before, double own_before)
{
    (void)printf("{\"callers\":%zu,\"put_percent\":%u,\"requests\":%" PRIu64
                 ",\"per_second\":%.0f,\"hits\":%" PRIu64 ",\"p50_ms\":%.2f,\"p99_ms\":%.2f,"
                 "\"max_ms\":%.2f,\"generator_cpu_us\":%.2f,\"server_cpu_us\":{",
                 options.callers, options.put_percent, latency.count,
                 (double)latency.count / elapsed, hits, percentile_ms(0.5), percentile_ms(0.99),
                 (double)latency.max_ns / 1e6,
                 (own_cpu_seconds() - own_before) * 1e6 / (double)(latency.count + 1));
    for (size_t i = 0; i < options.pid_count; i++) {
        char name[64] = "?";
        double cpu = cpu_seconds(options.pids[i], name, sizeof name) - cpu_before[i];
        (void)printf("%s\"%s\":%.2f", i > 0 ? "," : "", name,
                     cpu * 1e6 / (double)(latency.count + 1));
    }
    (void)printf("},\"errors\":{");
    bool first = true;
    for (size_t i = 0; i < 18; i++) {
        if (errors[i] > 0) {
            (void)printf("%s\"%zu\":%" PRIu64, first ? "" : ",", i, errors[i]);
            first = false;
        }
    }
    (void)printf("}}\n");
}

static void run(void)
{
    uint64_t begun_ns = now_ns();
    uint64_t measure_ns = begun_ns + (uint64_t)(options.warmup * 1e9);
    uint64_t end_ns = measure_ns + (uint64_t)(options.seconds * 1e9);
    bool measuring = false;
    double cpu_before[PIDS_MAX] = {0};
    double own_before = 0;
    uint64_t first_ns = begun_ns;
    char name[64];
    if (options.fill) {
        measuring = true;
        end_ns = UINT64_MAX;
        own_before = own_cpu_seconds();
    }
    size_t running = 0;
    for (size_t i = 0; i < options.callers; i++) {
        start(&callers[i]);
        running++;
    }
    while (running > 0) {
        grpc_event event =
            grpc_completion_queue_next(queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        uint64_t now = now_ns();
        if (!measuring && now >= measure_ns) {
            measuring = true;
            first_ns = now;
            own_before = own_cpu_seconds();
            for (size_t i = 0; i < options.pid_count; i++) {
                cpu_before[i] = cpu_seconds(options.pids[i], name, sizeof name);
            }
        }
        bool over = options.fill ? next_fill >= options.keys : now >= end_ns;
        finish(event.tag, measuring && now < end_ns);
        if (over) {
            running--;
            continue;
        }
        start(event.tag);
    }
    uint64_t last_ns = now_ns();
    report((double)((options.fill || last_ns < end_ns ? last_ns : end_ns) - first_ns) / 1e9,
           cpu_before, own_before);
}

static void parse(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *flag = argv[i];
        if (strcmp(flag, "--fill") == 0) {
            options.fill = true;
            continue;
        }
        if (i + 1 == argc) {
            (void)fprintf(stderr, "load: %s: unknown, or its value is missing\n", flag);
            exit(2);
        }
        const char *text = argv[++i];
        double number = strtod(text, NULL);
        if (strcmp(flag, "--target") == 0) {
            options.target = text;
        } else if (strcmp(flag, "--callers") == 0 && number >= 1 && number <= CALLERS_MAX) {
            options.callers = (size_t)number;
        } else if (strcmp(flag, "--connections") == 0 && number >= 1 && number <= CONNECTIONS_MAX) {
            options.connections = (size_t)number;
        } else if (strcmp(flag, "--put-percent") == 0 && number >= 0 && number <= 100) {
            options.put_percent = (unsigned)number;
        } else if (strcmp(flag, "--keys") == 0 && number >= 1) {
            options.keys = (uint64_t)number;
        } else if (strcmp(flag, "--value-bytes") == 0 && number >= 0 && number <= 1 << 20) {
            options.value_bytes = (size_t)number;
        } else if (strcmp(flag, "--seconds") == 0) {
            options.seconds = number;
        } else if (strcmp(flag, "--warmup") == 0) {
            options.warmup = number;
        } else if (strcmp(flag, "--seed") == 0) {
            options.random = (uint64_t)number;
        } else if (strcmp(flag, "--pid") == 0 && options.pid_count < PIDS_MAX) {
            options.pids[options.pid_count++] = (long)number;
        } else {
            (void)fprintf(stderr, "load: %s %s makes no sense\n", flag, text);
            exit(2);
        }
    }
    if (options.target == NULL) {
        (void)fprintf(stderr, "load: --target is missing\n");
        exit(2);
    }
    options.connections =
        options.connections < options.callers ? options.connections : options.callers;
}

int main(int argc, char **argv)
{
    parse(argc, argv);
    size_t pool = options.value_bytes + (1 << 16);
    value = malloc(pool);
    if (value == NULL) {
        return 1;
    }
    for (size_t i = 0; i < pool; i++) {
        value[i] = (uint8_t)draw(256);
    }
    grpc_init();
    queue = grpc_completion_queue_create_for_next(NULL);
    connect_all();
    run();
    for (size_t i = 0; i < options.connections; i++) {
        grpc_channel_destroy(connections[i].channel);
    }
    grpc_completion_queue_shutdown(queue);
    while (grpc_completion_queue_next(queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type !=
           GRPC_QUEUE_SHUTDOWN) {
    }
    grpc_completion_queue_destroy(queue);
    grpc_shutdown_blocking();
    free(value);
    for (size_t i = 0; i < 18; i++) {
        if (errors[i] > 0) {
            return 1;
        }
    }
    return 0;
}
