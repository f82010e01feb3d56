#include "services/program/program.h"

#include <stdio.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/limits.h"
#include "common/env_posix/env_posix.h"
#include "common/env_zmq/env_zmq.h"
#include "common/meta_lmdb/meta_lmdb.h"
#include "common/ops_http/ops_http.h"
#include "common/service/json.h"
#include "services/start/start.h"

/* Opening goes down the struct below, closing up again; whatever was not reached is NULL or -1 and
 * closing it does nothing.  So there is one way down, for a start that fails at any step and for an
 * ordered end alike. */

#define TEXT_BYTES_MAX     1024
#define ADDRESS_BYTES      (NK_ADDRESS_BYTES_MAX + 1)
#define STOP_TIMEOUT_MS    10000 /* the role's own drain is shorter */
#define FINISH_TIMEOUT_MS  1000
#define WORKER_READ_MAX    4

/* HTTP connections: clients come to whoever has a front, monitors to the others.  Of the files that
 * may be open no more than a part are theirs, so that nobody who connects keeps the process from
 * its data or its peers. */
#define HTTP_CLIENTS_MAX   OPS_HTTP_CONNECTIONS
#define HTTP_MONITORS_MAX  128
#define HTTP_PART_OF_FILES 4

/* Stands before the role's HTTP routes: the port is open before the role exists, for the role tells
 * others where the port is. */
struct gate {
    struct nk_http_handler inner; /* constant once `open` */
    _Atomic bool open;
};

struct process {
    const struct program *program;
    struct nk_settings *settings;
    int stop_fd;
    uint64_t file_max;
    struct env_posix_log *log;
    struct env_posix_fs *fs;
    struct env_posix_lock *lock;
    struct env_posix_worker *worker;
    struct nk_meta_lmdb *meta;
    struct env_zmq *zmq;
    struct env_posix_process usage;
    struct nk_process usage_contract;
    struct nk_env env;
    struct nk_registry *metrics;
    struct nk_health *health;
    struct nk_service_context context;
    char host_name[ENV_POSIX_HOST_NAME_BYTES];
    const char *rpc_bound;        /* host:port; "": none */
    char rpc_told[ADDRESS_BYTES]; /* the same for others */
    char http_told[ADDRESS_BYTES];
    void *front;
    struct gate gate;
    struct ops_http *http;
    void *role;
    bool run_file; /* is there */
    bool stuck;    /* a job does not end */
};

static enum nk_err open_all(struct process *process, struct nk_text *reason);
static enum nk_err open_machine(struct process *process, struct nk_text *reason);
static enum nk_err open_meta(struct process *process, struct nk_text *reason);
static enum nk_err open_addresses(struct process *process, struct nk_text *reason);
static enum nk_err open_bus(struct process *process, struct nk_text *reason);
static void open_boards(struct process *process);
static enum nk_err open_doors(struct process *process, struct nk_text *reason);
static enum nk_err write_run_file(struct process *process, struct nk_text *reason);
static void close_all(struct process *process);
static enum nk_err run(struct process *process, struct nk_text *reason);
static void stopping(void *ctx);

int program_main(const struct program *program, int argc, char **argv)
{
    struct process process = {.program = program, .stop_fd = -1};
    bool done = false;
    enum nk_err err =
        start_settings(program->name, argc, argv, env_posix_read_file, &process.settings, &done);
    if (err != NK_OK || done) {
        nk_settings_free(&process.settings);
        return start_exit_code(err);
    }
    char line[TEXT_BYTES_MAX];
    struct nk_text reason;
    nk_text_init(&reason, line, sizeof line);
    const char *stage = "cannot start";
    err = open_all(&process, &reason);
    if (err == NK_OK) {
        stage = "the process ends early";
        err = run(&process, &reason);
    }
    if (err != NK_OK && process.log != NULL) {
        nk_log_error(&process.env.log, program->role->name, stage, NK_LOG_TEXT("reason", line),
                     NK_LOG_TEXT("err", nk_err_name(err)));
    } else if (err != NK_OK) {
        (void)fprintf(stderr, "%s: %s: %s\n", program->name, stage, line);
    }
    if (process.stuck) {
        /* A thread hangs in the disk: closing would wait for it, and may use the disk itself. */
        nk_log_error(&process.env.log, program->role->name,
                     "the disk does not answer: the process ends without closing its files",
                     NK_LOG_NUMBER("timeout_ms", FINISH_TIMEOUT_MS));
        _exit(start_exit_code(err));
    }
    close_all(&process);
    return start_exit_code(err);
}

/* ---- Opening ---- */

static enum nk_err open_all(struct process *process, struct nk_text *reason)
{
    const struct program *program = process->program;
    enum nk_err err = open_machine(process, reason);
    if (err == NK_OK && program->remembers) {
        err = open_meta(process, reason);
    }
    if (err == NK_OK) {
        err = open_addresses(process, reason);
    }
    if (err == NK_OK) {
        err = program->role->init(&process->context, &process->role, reason);
    }
    if (err != NK_OK) {
        return err;
    }
    if (program->http_handler != NULL) {
        process->gate.inner = program->http_handler(process->role);
        atomic_store(&process->gate.open, true);
    }
    if (program->front != NULL) {
        program->front->serve(process->front, process->role);
    }
    return write_run_file(process, reason);
}

/* The operating system: signals, log, files, threads. */
static enum nk_err open_machine(struct process *process, struct nk_text *reason)
{
    static const enum nk_log_level levels[] = {
        [NK_CONFIG_LOG_DEBUG] = NK_LOG_DEBUG,
        [NK_CONFIG_LOG_INFO] = NK_LOG_INFO,
        [NK_CONFIG_LOG_WARN] = NK_LOG_WARN,
        [NK_CONFIG_LOG_ERROR] = NK_LOG_ERROR,
    };
    const struct nk_config *config = nk_settings_values(process->settings);
    enum nk_err err = env_posix_stop_fd(&process->stop_fd);
    if (err != NK_OK) {
        nk_text_add(reason, "cannot watch for SIGTERM");
        return err;
    }
    process->file_max = env_posix_raise_file_limit();
    process->env.open_files_max = process->file_max;
    struct env_posix_log_options log = {
        .fd = STDERR_FILENO,
        .json = config->log.format == NK_CONFIG_LOG_JSON,
        .level_min = levels[config->log.level],
    };
    env_posix_log_open(&log, &process->log);
    process->env.log = env_posix_log(process->log);
    process->env.clock = env_posix_clock();
    process->env.random_seed = env_posix_random_seed();
    err = env_posix_fs_open(config->data_dir, &process->fs, reason);
    if (err != NK_OK) {
        return err;
    }
    process->env.fs = env_posix_fs(process->fs);
    char lock_name[64];
    (void)snprintf(lock_name, sizeof lock_name, "run/%s.lock", process->program->role->name);
    err = env_posix_lock(process->fs, lock_name, &process->lock, reason);
    if (err != NK_OK) {
        return err;
    }
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned core_count = cores > 0 ? (unsigned)cores : 1;
    uint32_t jobs = config->lsm.max_background_jobs;
    struct env_posix_worker_options workers = {.read_threads = 1, .background_threads = 1};
    if (process->program->works) {
        workers.read_threads = core_count < WORKER_READ_MAX ? core_count : WORKER_READ_MAX;
        workers.background_threads = jobs > 0 ? jobs : core_count;
    }
    err = env_posix_worker_open(&workers, &process->worker, reason);
    if (err == NK_OK) {
        process->env.worker = env_posix_worker(process->worker);
    }
    return err;
}

static enum nk_err open_meta(struct process *process, struct nk_text *reason)
{
    const struct nk_fs *fs = &process->env.fs;
    char path[NK_PATH_BYTES_MAX];
    const char *role = process->program->role->name;
    int size = snprintf(path, sizeof path, "%s/meta/%s",
                        nk_settings_values(process->settings)->data_dir, role);
    if (size < 0 || (size_t)size >= sizeof path) {
        nk_text_add(reason, "data_dir is too long");
        return NK_INVALID;
    }
    char name[64];
    (void)snprintf(name, sizeof name, "meta/%s", role);
    const char *const directories[] = {"meta", name};
    const char *const parents[] = {"", "meta"};
    for (size_t i = 0; i < NK_COUNT_OF(directories); i++) {
        enum nk_err err = fs->ops->mkdir(fs->ctx, directories[i]);
        if (err == NK_OK) {
            err = nk_fs_sync_dir(fs, parents[i]);
        }
        if (err != NK_OK && err != NK_CONFLICT) {
            env_posix_fs_last_fault(process->fs, reason);
            return err;
        }
    }
    enum nk_err err = nk_meta_lmdb_open(path, &process->meta, reason);
    if (err == NK_OK) {
        process->env.meta = nk_meta_lmdb_contract(process->meta);
    }
    return err;
}

/* Where others reach this process.  An address that somebody else has now may be free at the next
 * start: that is not a matter of the configuration. */
static enum nk_err open_addresses(struct process *process, struct nk_text *reason)
{
    env_posix_host_name(process->host_name);
    enum nk_err err = open_bus(process, reason);
    if (err == NK_OK) {
        open_boards(process);
        err = open_doors(process, reason);
    }
    return err == NK_CONFLICT ? NK_UNAVAILABLE : err;
}

static enum nk_err open_bus(struct process *process, struct nk_text *reason)
{
    const struct nk_config *config = nk_settings_values(process->settings);
    const char *host = NULL;
    char talk[NK_PATH_BYTES_MAX];
    char listen[NK_PATH_BYTES_MAX];
    struct nk_text talk_text;
    struct nk_text listen_text;
    nk_text_init(&talk_text, talk, sizeof talk);
    nk_text_init(&listen_text, listen, sizeof listen);
    if (strcmp(config->bus.addr, "ipc") == 0) {
        nk_service_bus_address(config, process->program->role->name, &talk_text);
        nk_service_bus_address(config, process->program->role->name, &listen_text);
        nk_text_add(&listen_text, ".out");
    } else {
        nk_text_add(&talk_text, "tcp://");
        nk_text_add(&talk_text, config->bus.addr);
        /* One number is given, for the address that others are configured with; where the state is
         * published is told to each of them, so any free port does. */
        struct nk_bytes bound = nk_bytes_of_string(config->bus.addr);
        while (bound.size > 0 && bound.data[bound.size - 1] != ':') {
            bound.size--;
        }
        nk_text_add(&listen_text, "tcp://");
        nk_text_add_bytes(&listen_text, bound);
        nk_text_add(&listen_text, "0");
        host =
            nk_config_advertised_host(config->advertise_host, config->bus.addr, process->host_name);
    }
    struct env_zmq_options options = {
        .talk_bind = process->program->talks ? talk : NULL,
        .listen_bind = process->program->publishes ? listen : NULL,
        .advertise_host = host,
    };
    enum nk_err err = env_zmq_open(&options, &process->zmq, reason);
    if (err == NK_OK) {
        process->env.net = env_zmq_net(process->zmq);
    }
    return err;
}

/* What others read about this process: metrics, health, and the context that names them. */
static void open_boards(struct process *process)
{
    const struct nk_config *config = nk_settings_values(process->settings);
    const char *role = process->program->role->name;
    nk_registry_open(&process->metrics);
    env_posix_process_init(&process->usage);
    process->usage_contract = env_posix_process(&process->usage);
    nk_registry_add_process(process->metrics, &process->usage_contract);
    nk_registry_add_build_info(process->metrics, NK_BUILD_VERSION, role);
    env_zmq_register(process->zmq, process->metrics);
    nk_health_open(&process->env.clock, role, config->node_id, config->cluster.total_shards,
                   &process->health);
    process->context = (struct nk_service_context){
        .env = &process->env,
        .config = config,
        .metrics = process->metrics,
        .health = process->health,
        .session = start_session(&process->env.fs, role, nk_wall_ms(&process->env.clock),
                                 process->env.random_seed),
        .rpc_address = "",
        .http_address = "",
    };
    process->rpc_bound = "";
}

static bool gate_begin(void *ctx, struct nk_http_exchange *exchange, size_t *out_body_max)
{
    struct gate *gate = ctx;
    if (!atomic_load(&gate->open)) {
        exchange->ops->answer_error(exchange, 503, "UNAVAILABLE", "this process is starting", NULL,
                                    0);
        return true;
    }
    return gate->inner.begin(gate->inner.ctx, exchange, out_body_max);
}

static void gate_request(void *ctx, struct nk_http_exchange *exchange)
{
    struct gate *gate = ctx; /* open: begin() has passed it */
    gate->inner.request(gate->inner.ctx, exchange);
}

static const char *told(const struct process *process, const char *bound, char *out_address)
{
    struct nk_text address;
    nk_text_init(&address, out_address, ADDRESS_BYTES);
    nk_config_advertise(process->context.config->advertise_host, bound, process->host_name,
                        &address);
    return out_address;
}

/* The ports for clients, operators and monitors. */
static enum nk_err open_doors(struct process *process, struct nk_text *reason)
{
    const struct nk_config *config = nk_settings_values(process->settings);
    const struct program *program = process->program;
    if (program->front != NULL) {
        enum nk_err err =
            program->front->open(&process->context, &process->front, &process->rpc_bound, reason);
        if (err != NK_OK) {
            return err;
        }
        process->context.rpc_address = told(process, process->rpc_bound, process->rpc_told);
    }
    struct nk_http_handler handler = {gate_begin, gate_request, &process->gate};
    struct ops_http_options options = {
        .address = config->http_addr,
        .health = process->health,
        .metrics = config->telemetry.prometheus.enabled ? process->metrics : NULL,
        .handler = program->http_handler != NULL ? &handler : NULL,
        .clock = process->env.clock,
        .log = process->env.log,
        .connection_max =
            (unsigned)nk_min_u64(program->front != NULL ? HTTP_CLIENTS_MAX : HTTP_MONITORS_MAX,
                                 nk_max_u64(process->file_max / HTTP_PART_OF_FILES, 1)),
    };
    enum nk_err err = ops_http_open(&options, &process->http, reason);
    if (err == NK_OK) {
        process->context.http_address =
            told(process, ops_http_address(process->http), process->http_told);
    }
    return err;
}

/* ---- The run file ---- */

static void describe(const struct process *process, struct nk_buf *out)
{
    const struct nk_net *net = &process->env.net;
    struct nk_json json;
    nk_json_init(&json, out);
    nk_json_open(&json, '{');
    nk_json_name(&json, "role");
    nk_json_text(&json, process->program->role->name);
    nk_json_name(&json, "node_id");
    nk_json_text(&json, process->context.config->node_id);
    nk_json_name(&json, "version");
    nk_json_text(&json, NK_BUILD_VERSION);
    nk_json_name(&json, "pid");
    nk_json_number(&json, (uint64_t)getpid());
    nk_json_name(&json, "rpc_addr");
    nk_json_text(&json, process->rpc_bound);
    nk_json_name(&json, "http_addr");
    nk_json_text(&json, ops_http_address(process->http));
    nk_json_name(&json, "bus_addr");
    nk_json_text(&json, net->ops->talk_address(net->ctx));
    nk_json_close(&json, '}');
    nk_buf_append_u8(out, '\n');
}

static enum nk_err write_run_file(struct process *process, struct nk_text *reason)
{
    struct nk_buf text;
    nk_buf_init(&text);
    describe(process, &text);
    enum nk_err err =
        start_run_file_write(&process->env.fs, process->program->role->name, nk_buf_bytes(&text));
    nk_buf_deinit(&text);
    if (err != NK_OK) {
        env_posix_fs_last_fault(process->fs, reason);
        return err;
    }
    process->run_file = true;
    nk_log_info(&process->env.log, process->program->role->name, "serving",
                NK_LOG_TEXT("node_id", process->context.config->node_id),
                NK_LOG_TEXT("rpc_addr", process->rpc_bound),
                NK_LOG_TEXT("http_addr", ops_http_address(process->http)),
                NK_LOG_TEXT("version", NK_BUILD_VERSION));
    return NK_OK;
}

/* ---- Running and closing ---- */

static enum nk_err run(struct process *process, struct nk_text *reason)
{
    struct nk_run_options options = {
        .ops = process->program->role,
        .role = process->role,
        .zmq = process->zmq,
        .jobs = env_posix_loop_source(process->worker),
        .clock = process->env.clock,
        .log = process->env.log,
        .health = process->health,
        .stop_fd = process->stop_fd,
        .stop_timeout_ms = STOP_TIMEOUT_MS,
        .finish_timeout_ms = FINISH_TIMEOUT_MS,
        .stopping = stopping,
        .ctx = process,
    };
    enum nk_err err = nk_run(&options, &process->stuck, reason);
    if (err == NK_OK && process->stuck) {
        nk_text_add(reason, "a job has not ended");
        err = NK_TIMEOUT;
    }
    if (err == NK_OK) {
        nk_log_info(&process->env.log, process->program->role->name, "stopped",
                    NK_LOG_TEXT("node_id", process->context.config->node_id));
    }
    return err;
}

static void stopping(void *ctx)
{
    struct process *process = ctx;
    if (process->program->front != NULL) {
        process->program->front->stop(process->front);
    }
    ops_http_stop(process->http);
}

static void close_all(struct process *process)
{
    const struct program *program = process->program;
    if (process->role != NULL && program->end != NULL) {
        program->end(process->role);
    }
    if (program->front != NULL) {
        program->front->close(&process->front);
    }
    ops_http_close(&process->http);
    if (process->run_file) {
        start_run_file_remove(&process->env.fs, program->role->name);
    }
    if (process->role != NULL) {
        program->role->deinit(&process->role);
    }
    nk_health_close(&process->health);
    nk_registry_close(&process->metrics);
    env_zmq_close(&process->zmq);
    env_posix_worker_close(&process->worker);
    nk_meta_lmdb_close(&process->meta);
    env_posix_unlock(&process->lock);
    env_posix_fs_close(&process->fs);
    env_posix_log_close(&process->log);
    if (process->stop_fd >= 0) {
        (void)close(process->stop_fd);
    }
    nk_settings_free(&process->settings);
}
