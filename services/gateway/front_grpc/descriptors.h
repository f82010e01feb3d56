#pragma once

/* What protoc knows about the services of this gateway: one google.protobuf.FileDescriptorProto for
 * each .proto file, packed, embedded at build time (descriptors.S).  Everything here is borrowed
 * for ever.  Any thread. */

#include "common/base/bytes.h"

/* https://github.com/protocolbuffers/protobuf/blob/v3.21.12/src/google/protobuf/descriptor.proto */
enum {
    DESCRIPTOR_FILE_DEPENDENCY = 3,
    DESCRIPTOR_FILE_SERVICE = 6,
    DESCRIPTOR_NAME = 1, /* of everything that has one */
};

struct descriptor_file {
    struct nk_bytes bytes; /* the packed FileDescriptorProto */
    struct nk_bytes name;
    struct nk_bytes package;
};

/* The next file; `*position` starts at 0.  False: there is none. */
bool descriptors_next(size_t *position, struct descriptor_file *out_file);

bool descriptors_find(struct nk_bytes name, struct descriptor_file *out_file);

/* Whether the file declares a message, field, enumeration, value, service or method of that full
 * name ("norikv.v1.Kv.Put"). */
bool descriptor_declares(const struct descriptor_file *file, struct nk_bytes symbol);

/* The next text or message with that field number in a packed message; `*position` starts at 0.
 * False: there is none. */
bool descriptor_part(struct nk_bytes message, uint32_t number, size_t *position,
                     struct nk_bytes *out_part);
