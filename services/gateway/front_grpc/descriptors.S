/* The compiled .proto files of all services that are served: one google.protobuf.FileDescriptorSet,
 * made by protoc at build time. */
    .section .rodata
    .global front_descriptors_begin
    .hidden front_descriptors_begin
    .global front_descriptors_end
    .hidden front_descriptors_end
front_descriptors_begin:
    .incbin FRONT_DESCRIPTORS
front_descriptors_end:
    .section .note.GNU-stack, "", %progbits
