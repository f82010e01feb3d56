/* Every method that is not served.  Without somebody who asks for such calls a caller would wait
 * until its deadline instead of being told. */

#include "services/gateway/front_grpc/front.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/units.h"
#include "services/gateway/utf8.h"

#define TEXT_BYTES_MAX 160

struct unknown_call {
    struct front_tag tag;
    struct front_grpc *front;
    grpc_call *call;
    grpc_call_details details;
    grpc_metadata_array metadata;
};

static void unknown_arrived(struct front_tag *tag, bool ok);

void front_unknown_ask(struct front_grpc *front)
{
    struct unknown_call *call = nk_alloc_zero(1, sizeof *call);
    call->tag.event = unknown_arrived;
    call->front = front;
    grpc_call_details_init(&call->details);
    grpc_metadata_array_init(&call->metadata);
    front_enter(front);
    front_lend(&call->tag);
    grpc_call_error error =
        grpc_server_request_call(front->server, &call->call, &call->details, &call->metadata,
                                 front->queue, front->queue, &call->tag);
    NK_ASSERT(error == GRPC_CALL_OK);
}

static void unknown_arrived(struct front_tag *tag, bool ok)
{
    struct unknown_call *call = NK_CONTAINER_OF(tag, struct unknown_call, tag);
    if (ok) {
        if (!atomic_load(&call->front->stopping)) {
            front_unknown_ask(call->front);
        }
        struct nk_bytes method = nk_bytes_of(GRPC_SLICE_START_PTR(call->details.method),
                                             GRPC_SLICE_LENGTH(call->details.method));
        char memory[TEXT_BYTES_MAX];
        struct nk_text text;
        nk_text_init(&text, memory, sizeof memory);
        bool admin = nk_bytes_starts_with(method, nk_bytes_of_string("/norikv.v1.Admin/"));
        nk_text_add(&text, admin ? "this version does not serve " : "unknown method ");
        nk_text_add_bytes(&text, method);
        gateway_utf8_sanitize(memory);
        front_reply(call->front, call->call, NULL, NK_UNSUPPORTED, memory);
    } else {
        front_leave(call->front);
    }
    grpc_call_details_destroy(&call->details);
    grpc_metadata_array_destroy(&call->metadata);
    nk_free(call);
}
