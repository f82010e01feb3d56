#include "services/gateway/front_grpc/descriptors.h"

#include "common/base/assert.h"
#include "common/base/units.h"
#include "services/gateway/wire.h"

extern const uint8_t front_descriptors_begin[];
extern const uint8_t front_descriptors_end[];

/* google.protobuf.FileDescriptorSet, FileDescriptorProto */
#define FIELD_FILE    1
#define FIELD_PACKAGE 2

/* What can be declared inside of what: a FileDescriptorProto has the kind FILE, and so on. */
enum kind { FILE_KIND, MESSAGE, ENUMERATION, SERVICE, LEAF };

static const struct {
    enum kind outer;
    uint32_t number;
    enum kind inner;
} declarations[] = {
    {FILE_KIND, 4, MESSAGE},
    {FILE_KIND, 5, ENUMERATION},
    {FILE_KIND, DESCRIPTOR_FILE_SERVICE, SERVICE},
    {FILE_KIND, 7, LEAF},
    {MESSAGE, 2, LEAF},
    {MESSAGE, 3, MESSAGE},
    {MESSAGE, 4, ENUMERATION},
    {MESSAGE, 6, LEAF},
    {MESSAGE, 8, LEAF},
    {SERVICE, 2, LEAF},
    {ENUMERATION, 2, LEAF},
};

static bool declares(struct nk_bytes outer, enum kind kind, struct nk_bytes symbol);
static bool is_or_has(struct nk_bytes inner, enum kind kind, struct nk_bytes symbol);
static bool inside(struct nk_bytes symbol, struct nk_bytes scope, struct nk_bytes *out_rest);
static struct nk_bytes first_part(struct nk_bytes message, uint32_t number);

bool descriptors_next(size_t *position, struct descriptor_file *out_file)
{
    struct nk_bytes set = nk_bytes_of(front_descriptors_begin,
                                      (size_t)(front_descriptors_end - front_descriptors_begin));
    struct nk_bytes file;
    if (!descriptor_part(set, FIELD_FILE, position, &file)) {
        return false;
    }
    *out_file = (struct descriptor_file){
        .bytes = file,
        .name = first_part(file, DESCRIPTOR_NAME),
        .package = first_part(file, FIELD_PACKAGE),
    };
    return true;
}

bool descriptors_find(struct nk_bytes name, struct descriptor_file *out_file)
{
    size_t position = 0;
    while (descriptors_next(&position, out_file)) {
        if (nk_bytes_equal(out_file->name, name)) {
            return true;
        }
    }
    return false;
}

bool descriptor_declares(const struct descriptor_file *file, struct nk_bytes symbol)
{
    struct nk_bytes rest;
    return inside(symbol, file->package, &rest) && declares(file->bytes, FILE_KIND, rest);
}

bool descriptor_part(struct nk_bytes message, uint32_t number, size_t *position,
                     struct nk_bytes *out_part)
{
    struct wire_field field;
    enum nk_err err = NK_OK;
    while ((err = wire_next(message, position, &field)) == NK_OK) {
        if (field.number == number && field.type == WIRE_BYTES) {
            *out_part = field.bytes;
            return true;
        }
    }
    NK_ASSERT(err == NK_NOT_FOUND); /* protoc made these bytes */
    return false;
}

/* As deep as the symbol has dots. */
static bool declares(struct nk_bytes outer, enum kind kind, struct nk_bytes symbol)
{
    for (size_t i = 0; i < NK_COUNT_OF(declarations); i++) {
        if (declarations[i].outer != kind) {
            continue;
        }
        size_t position = 0;
        struct nk_bytes inner;
        while (descriptor_part(outer, declarations[i].number, &position, &inner)) {
            if (is_or_has(inner, declarations[i].inner, symbol)) {
                return true;
            }
        }
    }
    return false;
}

static bool is_or_has(struct nk_bytes inner, enum kind kind, struct nk_bytes symbol)
{
    struct nk_bytes name = first_part(inner, DESCRIPTOR_NAME);
    struct nk_bytes rest;
    if (nk_bytes_equal(name, symbol)) {
        return true;
    }
    if (kind == ENUMERATION) { /* its values are names beside it, not inside */
        return declares(inner, kind, symbol);
    }
    return kind != LEAF && inside(symbol, name, &rest) && declares(inner, kind, rest);
}

/* "a.b.C" inside "a.b" is "C". */
static bool inside(struct nk_bytes symbol, struct nk_bytes scope, struct nk_bytes *out_rest)
{
    if (symbol.size <= scope.size || !nk_bytes_starts_with(symbol, scope) ||
        symbol.data[scope.size] != '.') {
        return false;
    }
    *out_rest = nk_bytes_of(symbol.data + scope.size + 1, symbol.size - scope.size - 1);
    return true;
}

static struct nk_bytes first_part(struct nk_bytes message, uint32_t number)
{
    size_t position = 0;
    struct nk_bytes part = nk_bytes_of(NULL, 0);
    (void)descriptor_part(message, number, &position, &part);
    return part;
}
