/* grpc.reflection.v1 and v1alpha, which differ in nothing but the name.  A conversation: the caller
 * asks, we answer, until it has no more questions. */

#include "services/gateway/front_grpc/front.h"

#include <grpc/byte_buffer.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/units.h"
#include "grpc/reflection/v1/reflection.pb-c.h"
#include "proto/frame.h"
#include "services/gateway/front_grpc/descriptors.h"
#include "services/gateway/status.h"
#include "services/gateway/utf8.h"

/* A question is a name or two; this bounds what a hostile one costs. */
#define QUESTION_BYTES_MAX ((size_t)(16 * NK_KIB))
#define FILES_MAX          ((size_t)16)
#define SERVICES_MAX       ((size_t)16)
#define NAME_BYTES_MAX     ((size_t)128)

typedef Grpc__Reflection__V1__ServerReflectionRequest reflection_request;
typedef Grpc__Reflection__V1__ServerReflectionResponse reflection_response;

#define QUESTION(what) GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##what
#define ANSWER(what)   GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##what

/* At any time either a question is awaited, an answer is on its way, or the end is. */
struct conversation {
    struct front_arrival arrival;
    struct front_tag closed_tag;
    struct front_tag asked_tag;
    struct front_tag answered_tag;
    struct front_tag ended_tag;
    unsigned pending; /* closed and ended */
    int cancelled;
    bool begun; /* the initial metadata has been sent */
    grpc_byte_buffer *question;
    grpc_byte_buffer *answer;
};

/* One answer and all that it points to. */
struct answer {
    reflection_response response;
    Grpc__Reflection__V1__FileDescriptorResponse files;
    ProtobufCBinaryData file[FILES_MAX];
    Grpc__Reflection__V1__ListServiceResponse services;
    Grpc__Reflection__V1__ServiceResponse service[SERVICES_MAX];
    Grpc__Reflection__V1__ServiceResponse *service_place[SERVICES_MAX];
    char service_name[SERVICES_MAX][NAME_BYTES_MAX];
    Grpc__Reflection__V1__ExtensionNumberResponse extensions;
    Grpc__Reflection__V1__ErrorResponse error;
};

static void arrived(struct front_tag *tag, bool ok);
static void await_question(struct conversation *talk);
static void asked(struct front_tag *tag, bool ok);
static void answered(struct front_tag *tag, bool ok);
static void end(struct conversation *talk, enum nk_err err, const char *text);
static void ended(struct front_tag *tag, bool ok);
static void closed(struct front_tag *tag, bool ok);
static void event_over(struct conversation *talk);
static grpc_byte_buffer *answer_to(grpc_byte_buffer *question);
static bool write_answer(const reflection_request *request, struct answer *answer);
static void tell_file(struct answer *answer, const char *name);
static void tell_symbol(struct answer *answer, const char *symbol);
static void tell_extensions(struct answer *answer, char *type);
static void tell_services(struct answer *answer);
static void tell_missing(struct answer *answer, const char *what);
static void add_file_and_imports(struct answer *answer, struct descriptor_file file);
static bool symbol_home(const char *symbol, struct descriptor_file *out_file);

void front_reflection_ask(struct front_endpoint *endpoint)
{
    struct conversation *talk = nk_alloc_zero(1, sizeof *talk);
    front_arrival_ask(&talk->arrival, endpoint, arrived);
}

/* ---- The conversation ---- */

static void arrived(struct front_tag *tag, bool ok)
{
    struct conversation *talk = NK_CONTAINER_OF(tag, struct conversation, arrival.tag);
    if (!front_arrival_admit(&talk->arrival, ok)) {
        front_arrival_release(&talk->arrival);
        nk_free(talk);
        return;
    }
    talk->pending = 2;
    talk->closed_tag.event = closed;
    talk->asked_tag.event = asked;
    talk->answered_tag.event = answered;
    talk->ended_tag.event = ended;
    grpc_op op;
    memset(&op, 0, sizeof op);
    op.op = GRPC_OP_RECV_CLOSE_ON_SERVER;
    op.data.recv_close_on_server.cancelled = &talk->cancelled;
    front_start(talk->arrival.call, &op, 1, &talk->closed_tag);
    await_question(talk);
}

static void await_question(struct conversation *talk)
{
    grpc_op op;
    memset(&op, 0, sizeof op);
    op.op = GRPC_OP_RECV_MESSAGE;
    op.data.recv_message.recv_message = &talk->question;
    front_start(talk->arrival.call, &op, 1, &talk->asked_tag);
}

static void asked(struct front_tag *tag, bool ok)
{
    struct conversation *talk = NK_CONTAINER_OF(tag, struct conversation, asked_tag);
    if (!ok || talk->question == NULL) {
        end(talk, NK_OK, "");
        return;
    }
    talk->answer = answer_to(talk->question);
    grpc_byte_buffer_destroy(talk->question);
    talk->question = NULL;
    if (talk->answer == NULL) {
        end(talk, NK_INVALID, "the message is no valid ServerReflectionRequest");
        return;
    }
    grpc_op ops[2];
    memset(ops, 0, sizeof ops);
    size_t count = 0;
    if (!talk->begun) {
        ops[count++].op = GRPC_OP_SEND_INITIAL_METADATA;
        talk->begun = true;
    }
    ops[count].op = GRPC_OP_SEND_MESSAGE;
    ops[count++].data.send_message.send_message = talk->answer;
    front_start(talk->arrival.call, ops, count, &talk->answered_tag);
}

static void answered(struct front_tag *tag, bool ok)
{
    struct conversation *talk = NK_CONTAINER_OF(tag, struct conversation, answered_tag);
    grpc_byte_buffer_destroy(talk->answer);
    talk->answer = NULL;
    if (ok) {
        await_question(talk);
    } else {
        end(talk, NK_CANCELLED, "the caller has gone");
    }
}

static void end(struct conversation *talk, enum nk_err err, const char *text)
{
    grpc_slice details = grpc_slice_from_static_string(text);
    grpc_op ops[2];
    memset(ops, 0, sizeof ops);
    size_t count = 0;
    if (!talk->begun) {
        ops[count++].op = GRPC_OP_SEND_INITIAL_METADATA;
        talk->begun = true;
    }
    ops[count].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
    ops[count].data.send_status_from_server.status = (grpc_status_code)gateway_status_of(err)->grpc;
    ops[count++].data.send_status_from_server.status_details = &details;
    front_start(talk->arrival.call, ops, count, &talk->ended_tag);
}

static void ended(struct front_tag *tag, bool ok)
{
    (void)ok; /* nobody to tell */
    event_over(NK_CONTAINER_OF(tag, struct conversation, ended_tag));
}

static void closed(struct front_tag *tag, bool ok)
{
    (void)ok; /* always true for this operation; what is under way fails and leads to the end */
    event_over(NK_CONTAINER_OF(tag, struct conversation, closed_tag));
}

static void event_over(struct conversation *talk)
{
    NK_ASSERT(talk->pending > 0);
    if (--talk->pending > 0) {
        return;
    }
    struct front_grpc *front = talk->arrival.endpoint->front;
    NK_ASSERT(talk->question == NULL);
    NK_ASSERT(talk->answer == NULL);
    NK_ASSERT(front->open_count > 0);
    front->open_count--;
    front_arrival_release(&talk->arrival);
    grpc_call_unref(talk->arrival.call);
    nk_free(talk);
    front_leave(front);
}

/* ---- The answers ---- */

/* NULL: not a question. */
static grpc_byte_buffer *answer_to(grpc_byte_buffer *question)
{
    struct nk_arena arena;
    nk_arena_init(&arena, NK_KIB, QUESTION_BYTES_MAX);
    grpc_slice slice;
    struct nk_bytes message;
    reflection_request *request = NULL;
    if (front_message(question, &slice, &message)) {
        request = (reflection_request *)nk_unpack(
            &grpc__reflection__v1__server_reflection_request__descriptor, message, &arena);
    }
    grpc_byte_buffer *buffer = NULL;
    struct answer answer;
    if (request != NULL && write_answer(request, &answer)) {
        answer.response.original_request = request;
        answer.response.valid_host = request->host;
        struct nk_buf out;
        nk_buf_init(&out);
        (void)grpc__reflection__v1__server_reflection_response__pack(
            &answer.response,
            nk_buf_extend(&out, grpc__reflection__v1__server_reflection_response__get_packed_size(
                                    &answer.response)));
        buffer = front_buffer(nk_buf_bytes(&out));
        nk_buf_deinit(&out);
    }
    nk_arena_deinit(&arena);
    grpc_slice_unref(slice);
    return buffer;
}

/* False: nothing is asked, or by a text that we could not send back. */
static bool write_answer(const reflection_request *request, struct answer *answer)
{
    grpc__reflection__v1__server_reflection_response__init(&answer->response);
    if (!gateway_utf8_valid(nk_bytes_of_string(request->host))) {
        return false;
    }
    char *text = request->list_services; /* each text of the union */
    if (request->message_request_case == QUESTION(FILE_CONTAINING_EXTENSION)) {
        text = request->file_containing_extension->containing_type;
    }
    if (request->message_request_case == QUESTION(_NOT_SET) ||
        !gateway_utf8_valid(nk_bytes_of_string(text))) {
        return false;
    }
    switch (request->message_request_case) {
    case QUESTION(FILE_BY_FILENAME):
        tell_file(answer, text);
        break;
    case QUESTION(FILE_CONTAINING_SYMBOL):
        tell_symbol(answer, text);
        break;
    case QUESTION(ALL_EXTENSION_NUMBERS_OF_TYPE):
        tell_extensions(answer, text);
        break;
    case QUESTION(LIST_SERVICES):
        tell_services(answer);
        break;
    default: /* proto3 knows no extensions */
        tell_missing(answer, "no such extension here");
        break;
    }
    return true;
}

static void tell_file(struct answer *answer, const char *name)
{
    struct descriptor_file file;
    if (descriptors_find(nk_bytes_of_string(name), &file)) {
        add_file_and_imports(answer, file);
    } else {
        tell_missing(answer, "no such file here");
    }
}

static void tell_symbol(struct answer *answer, const char *symbol)
{
    struct descriptor_file file;
    if (symbol_home(symbol, &file)) {
        add_file_and_imports(answer, file);
    } else {
        tell_missing(answer, "no such symbol here");
    }
}

static void tell_extensions(struct answer *answer, char *type)
{
    struct descriptor_file file;
    if (!symbol_home(type, &file)) {
        tell_missing(answer, "no such type here");
        return;
    }
    grpc__reflection__v1__extension_number_response__init(&answer->extensions);
    answer->extensions.base_type_name = type;
    answer->response.message_response_case = ANSWER(ALL_EXTENSION_NUMBERS_RESPONSE);
    answer->response.all_extension_numbers_response = &answer->extensions;
}

static void tell_services(struct answer *answer)
{
    grpc__reflection__v1__list_service_response__init(&answer->services);
    size_t count = 0;
    size_t position = 0;
    struct descriptor_file file;
    while (descriptors_next(&position, &file)) {
        size_t inner = 0;
        struct nk_bytes service;
        while (descriptor_part(file.bytes, DESCRIPTOR_FILE_SERVICE, &inner, &service)) {
            NK_ASSERT(count < SERVICES_MAX);
            size_t start = 0;
            struct nk_bytes name = nk_bytes_of(NULL, 0);
            (void)descriptor_part(service, DESCRIPTOR_NAME, &start, &name);
            struct nk_text text;
            nk_text_init(&text, answer->service_name[count], NAME_BYTES_MAX);
            nk_text_add_bytes(&text, file.package);
            nk_text_add(&text, ".");
            nk_text_add_bytes(&text, name);
            NK_ASSERT(!text.truncated);
            grpc__reflection__v1__service_response__init(&answer->service[count]);
            answer->service[count].name = answer->service_name[count];
            answer->service_place[count] = &answer->service[count];
            count++;
        }
    }
    answer->services.n_service = count;
    answer->services.service = answer->service_place;
    answer->response.message_response_case = ANSWER(LIST_SERVICES_RESPONSE);
    answer->response.list_services_response = &answer->services;
}

static void tell_missing(struct answer *answer, const char *what)
{
    grpc__reflection__v1__error_response__init(&answer->error);
    answer->error.error_code = gateway_status_of(NK_NOT_FOUND)->grpc;
    answer->error.error_message = (char *)(uintptr_t)what; /* only read */
    answer->response.message_response_case = ANSWER(ERROR_RESPONSE);
    answer->response.error_response = &answer->error;
}

/* A caller needs the imports to make sense of the file, and is saved asking for each. */
static void add_file_and_imports(struct answer *answer, struct descriptor_file file)
{
    struct nk_bytes files[FILES_MAX] = {file.bytes};
    size_t count = 1;
    for (size_t i = 0; i < count; i++) {
        size_t position = 0;
        struct nk_bytes name;
        while (descriptor_part(files[i], DESCRIPTOR_FILE_DEPENDENCY, &position, &name)) {
            bool found = descriptors_find(name, &file);
            NK_ASSERT(found); /* protoc was told to include all imports */
            size_t known = 0;
            while (known < count && files[known].data != file.bytes.data) {
                known++;
            }
            if (known == count) {
                NK_ASSERT(count < FILES_MAX);
                files[count++] = file.bytes;
            }
        }
    }
    for (size_t i = 0; i < count; i++) {
        answer->file[i].len = files[i].size;
        answer->file[i].data = (uint8_t *)(uintptr_t)files[i].data; /* only read */
    }
    grpc__reflection__v1__file_descriptor_response__init(&answer->files);
    answer->files.n_file_descriptor_proto = count;
    answer->files.file_descriptor_proto = answer->file;
    answer->response.message_response_case = ANSWER(FILE_DESCRIPTOR_RESPONSE);
    answer->response.file_descriptor_response = &answer->files;
}

static bool symbol_home(const char *symbol, struct descriptor_file *out_file)
{
    size_t position = 0;
    while (descriptors_next(&position, out_file)) {
        if (descriptor_declares(out_file, nk_bytes_of_string(symbol))) {
            return true;
        }
    }
    return false;
}
