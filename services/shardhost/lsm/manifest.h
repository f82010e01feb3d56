#pragma once

/* The manifest file: a log of edits of the catalog, each durable before it counts.  Bytes:
 * FORMAT.md.
 *
 * All calls may block; one thread at a time. */

#include "services/shardhost/lsm/catalog.h"

struct lsm_manifest {
    const struct nk_fs *fs;
    const char *directory;
    struct lsm_fault_box *faults;
    struct nk_file *file;  /* NULL: the next install writes a new file */
    uint64_t length;       /* promised bytes of it */
    uint64_t length_limit; /* beyond it a new file is written */
    uint64_t slot_sequence;
};

/* `directory` and `faults` are the database's. */
void lsm_manifest_init(struct lsm_manifest *manifest, const struct nk_fs *fs, const char *directory,
                       struct lsm_fault_box *faults);
void lsm_manifest_deinit(struct lsm_manifest *manifest); /* closes the file */

/* What the bytes of a manifest file say.  *out_promised: false if something at its end was read
 * that may not have been synced.  NK_CORRUPT, NK_FORMAT_TOO_NEW: *out_offset tells where; the
 * catalog is then of no use. */
NK_MUST_CHECK enum nk_err lsm_manifest_decode(struct nk_bytes bytes, struct lsm_catalog *catalog,
                                              bool *out_promised, uint64_t *out_offset);

/* Reads the file into an empty catalog.  NK_NOT_FOUND: there is none.  Faults are recorded. */
NK_MUST_CHECK enum nk_err lsm_manifest_load(struct lsm_manifest *manifest,
                                            struct lsm_catalog *catalog, bool *out_promised);

/* Writes a new file that says just this and puts it in the place of the old one.  Results as of
 * install. */
NK_MUST_CHECK enum nk_err lsm_manifest_rewrite(struct lsm_manifest *manifest,
                                               const struct lsm_position *position,
                                               uint64_t number_next,
                                               const struct lsm_levels *levels);

/* Makes `edit` (fields of a record) durable, or, where a new file is due, the whole of `position`,
 * `number_next` and `levels`, which is the catalog after the edit.
 *
 * NK_OK: durable.  NK_NO_SPACE, NK_IO: a crash now leaves the catalog with or without the edit; a
 * later install settles it. */
NK_MUST_CHECK enum nk_err lsm_manifest_install(struct lsm_manifest *manifest, struct nk_bytes edit,
                                               const struct lsm_position *position,
                                               uint64_t number_next,
                                               const struct lsm_levels *levels);

/* ---- The parts of the file, for whoever looks at them one by one ---- */

#define LSM_SLOT_COUNT         2
#define LSM_SLOT_STRIDE        ((size_t)512) /* each in a sector of its own */
#define LSM_SLOT_BYTES         ((size_t)32)
#define LSM_RECORDS_AT         (LSM_SLOT_COUNT * LSM_SLOT_STRIDE)
#define LSM_RECORD_HEAD_BYTES  ((size_t)8)
#define LSM_MANIFEST_BYTES_MAX ((uint64_t)(1 * NK_GIB))

struct lsm_slot {
    uint64_t sequence;
    uint64_t length;
};

/* NK_CORRUPT, NK_FORMAT_TOO_NEW. */
NK_MUST_CHECK enum nk_err lsm_slot_decode(const uint8_t in[LSM_SLOT_BYTES],
                                          struct lsm_slot *out_slot);

/* The newest good slot of a file of at least LSM_RECORDS_AT bytes; results as of
 * lsm_slot_decode. */
NK_MUST_CHECK enum nk_err lsm_slot_newest(struct nk_bytes bytes, struct lsm_slot *out_slot);

/* False: no whole record starts at `offset` <= bytes.size. */
bool lsm_record_decode(struct nk_bytes bytes, uint64_t offset, struct nk_bytes *out_payload);
