/* norikv-gateway: services/gateway behind gRPC and HTTP, on ZeroMQ. */
#include "common/base/limits.h"
#include "services/gateway/front_grpc/front_grpc.h"
#include "services/gateway/front_http/front_http.h"
#include "services/program/program.h"

static enum nk_err front_open(const struct nk_service_context *context, void **out_front,
                              const char **out_address, struct nk_text *reason)
{
    const struct front_grpc_options options = {
        .address = context->config->rpc_addr,
        .request_bytes_max = context->config->limits.request_max_bytes,
        /* The role itself refuses what is too much; this bounds what it never hears of. */
        .inflight_max = NK_GATEWAY_INFLIGHT_MAX + NK_GATEWAY_WATCHERS_MAX,
        .clock = context->env->clock,
        .log = context->env->log,
        .health = context->health,
    };
    struct front_grpc *front = NULL;
    enum nk_err err = front_grpc_open(&options, &front, reason);
    if (err == NK_OK) {
        *out_front = front;
        *out_address = front_grpc_address(front);
    }
    return err;
}

static void front_serve(void *front, void *role)
{
    front_grpc_serve(front, role);
}

static void front_stop(void *front)
{
    front_grpc_stop(front);
}

static void front_close(void **front)
{
    struct front_grpc *grpc = *front;
    front_grpc_close(&grpc);
    *front = NULL;
}

static struct nk_http_handler http_handler(void *role)
{
    return front_http_handler(role);
}

static void end(void *role)
{
    gateway_end(role);
}

int main(int argc, char **argv)
{
    static const struct program_front_ops front = {front_open, front_serve, front_stop,
                                                   front_close};
    static const struct program program = {
        .name = "norikv-gateway",
        .role = &gateway_role_ops,
        .front = &front,
        .http_handler = http_handler,
        .end = end,
    };
    return program_main(&program, argc, argv);
}
