/* A bare gRPC server that answers every Put and Get at once with a fixed response: what the gRPC
 * library alone costs on this machine, the ceiling of a gateway.  One completion queue, one thread:
 * more of either is slower on two cores.
 *
 * usage: echo_server ADDRESS VALUE_BYTES      (ends at SIGTERM) */

#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpc/support/time.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALLS_WAITING 512

struct call {
    grpc_call *call;
    grpc_metadata_array metadata;
    grpc_byte_buffer *request;
    grpc_byte_buffer *response; /* a buffer is emptied by sending it; its slice is shared */
    gpr_timespec deadline;
    void *method;
    int cancelled;
    bool answered;
};

static grpc_server *server;
static grpc_completion_queue *queue;
static grpc_slice response;

static void arm(struct call *call)
{
    call->answered = false;
    call->request = NULL;
    grpc_metadata_array_init(&call->metadata);
    if (grpc_server_request_registered_call(server, call->method, &call->call, &call->deadline,
                                            &call->metadata, &call->request, queue, queue,
                                            call) != GRPC_CALL_OK) {
        abort();
    }
}

static void answer(struct call *call)
{
    call->response = grpc_raw_byte_buffer_create(&response, 1);
    grpc_op ops[4];
    memset(ops, 0, sizeof ops);
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[1].op = GRPC_OP_SEND_MESSAGE;
    ops[1].data.send_message.send_message = call->response;
    ops[2].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
    ops[2].data.send_status_from_server.status = GRPC_STATUS_OK;
    ops[3].op = GRPC_OP_RECV_CLOSE_ON_SERVER;
    ops[3].data.recv_close_on_server.cancelled = &call->cancelled;
    call->answered = true;
    if (grpc_call_start_batch(call->call, ops, 4, call, NULL) != GRPC_CALL_OK) {
        abort();
    }
}

static void recycle(struct call *call)
{
    grpc_metadata_array_destroy(&call->metadata);
    if (call->request != NULL) {
        grpc_byte_buffer_destroy(call->request);
    }
    grpc_byte_buffer_destroy(call->response);
    grpc_call_unref(call->call);
    arm(call);
}

/* Field 1, bytes: a GetResponse with a value. */
static grpc_slice make_response(size_t value_bytes)
{
    uint8_t head[8] = {0x0a};
    size_t head_size = 1;
    size_t left = value_bytes;
    while (left >= 0x80) {
        head[head_size++] = (uint8_t)(left | 0x80);
        left >>= 7;
    }
    head[head_size++] = (uint8_t)left;
    grpc_slice slice = grpc_slice_malloc(head_size + value_bytes);
    memcpy(GRPC_SLICE_START_PTR(slice), head, head_size);
    memset(GRPC_SLICE_START_PTR(slice) + head_size, 'v', value_bytes);
    return slice;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        (void)fprintf(stderr, "usage: %s ADDRESS VALUE_BYTES\n", argv[0]);
        return 2;
    }
    grpc_init();
    response = make_response(strtoul(argv[2], NULL, 10));
    grpc_arg args[2];
    memset(args, 0, sizeof args);
    args[0].type = GRPC_ARG_INTEGER;
    args[0].key = (char *)(uintptr_t)GRPC_ARG_ALLOW_REUSEPORT;
    args[1].type = GRPC_ARG_INTEGER;
    args[1].key = (char *)(uintptr_t)GRPC_ARG_MAX_CONCURRENT_STREAMS;
    args[1].value.integer = 100000;
    grpc_channel_args channel_args = {2, args};
    server = grpc_server_create(&channel_args, NULL);
    queue = grpc_completion_queue_create_for_next(NULL);
    grpc_server_register_completion_queue(server, queue, NULL);
    void *methods[2];
    methods[0] = grpc_server_register_method(server, "/norikv.v1.Kv/Put", NULL,
                                             GRPC_SRM_PAYLOAD_READ_INITIAL_BYTE_BUFFER, 0);
    methods[1] = grpc_server_register_method(server, "/norikv.v1.Kv/Get", NULL,
                                             GRPC_SRM_PAYLOAD_READ_INITIAL_BYTE_BUFFER, 0);
    grpc_server_credentials *credentials = grpc_insecure_server_credentials_create();
    int port = grpc_server_add_http2_port(server, argv[1], credentials);
    grpc_server_credentials_release(credentials);
    if (port == 0) {
        (void)fprintf(stderr, "cannot bind %s\n", argv[1]);
        return 1;
    }
    grpc_server_start(server);
    static struct call calls[2 * CALLS_WAITING];
    for (size_t i = 0; i < 2 * CALLS_WAITING; i++) {
        calls[i].method = methods[i % 2];
        arm(&calls[i]);
    }
    (void)printf("listening %s\n", argv[1]);
    (void)fflush(stdout);
    /* SIGTERM ends the process as it stands: there is nothing to keep. */
    for (;;) {
        grpc_event event =
            grpc_completion_queue_next(queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        struct call *call = event.tag;
        if (event.type != GRPC_OP_COMPLETE || call == NULL) {
            continue;
        }
        if (call->answered) {
            recycle(call);
        } else {
            answer(call);
        }
    }
}
