/* A manifest is two slots and a list of records (FORMAT.md, "Manifest").
 *
 * A record counts when it is whole and, in its checksum, at its place.  A crash may leave a torn
 * one at the end; damage may make a promised one look torn, and to drop that one would silently
 * lose tables. So after the sync of a record a slot is overwritten that tells how far the file is
 * promised: up to there a bad record is NK_CORRUPT, behind it the file just ends.  Slots take turns
 * and are not synced on their own: the next record's sync carries them, and an old slot only
 * promises less.
 *
 * Records behind the promise that are whole were written but perhaps not synced; the caller makes
 * them durable by an install before he builds on them.  A file that was opened again is never
 * appended to: the first install after an open writes a new one. */

#include "services/shardhost/lsm/manifest.h"

#include <assert.h>

#include "common/base/assert.h"
#include "common/base/codec.h"
#include "common/base/crc32c.h"
#include "services/shardhost/lsm/names.h"

#define MANIFEST_MAGIC   UINT64_C(0x3174736566696E6D) /* "mnifest1" */
#define MANIFEST_VERSION UINT32_C(2)
#define LENGTH_SLACK     ((uint64_t)(64 * NK_KIB)) /* of edits before a new file is due */

void lsm_manifest_init(struct lsm_manifest *manifest, const struct nk_fs *fs, const char *directory,
                       struct lsm_fault_box *faults)
{
    memset(manifest, 0, sizeof *manifest);
    manifest->fs = fs;
    manifest->directory = directory;
    manifest->faults = faults;
}

void lsm_manifest_deinit(struct lsm_manifest *manifest)
{
    nk_fs_close(manifest->fs, &manifest->file);
}

static enum nk_err fault(struct lsm_manifest *manifest, enum nk_err err, uint64_t offset,
                         const char *what)
{
    return lsm_fault_set(manifest->faults, err, manifest->directory, LSM_MANIFEST_NAME, offset,
                         what);
}

/* ---- Slots: magic, version, crc, sequence, length ---- */

static uint32_t slot_crc(const uint8_t *slot)
{
    return nk_crc32c_extend(nk_crc32c(nk_bytes_of(slot, 12)), nk_bytes_of(slot + 16, 16));
}

static void slot_encode(const struct lsm_slot *slot, uint8_t out[LSM_SLOT_BYTES])
{
    nk_put_u64(out, MANIFEST_MAGIC);
    nk_put_u32(out + 8, MANIFEST_VERSION);
    nk_put_u64(out + 16, slot->sequence);
    nk_put_u64(out + 24, slot->length);
    nk_put_u32(out + 12, slot_crc(out));
}

enum nk_err lsm_slot_decode(const uint8_t in[LSM_SLOT_BYTES], struct lsm_slot *out_slot)
{
    if (nk_get_u64(in) != MANIFEST_MAGIC || nk_get_u32(in + 12) != slot_crc(in)) {
        return NK_CORRUPT;
    }
    if (nk_get_u32(in + 8) > MANIFEST_VERSION) {
        return NK_FORMAT_TOO_NEW;
    }
    out_slot->sequence = nk_get_u64(in + 16);
    out_slot->length = nk_get_u64(in + 24);
    return nk_get_u32(in + 8) > 0 ? NK_OK : NK_CORRUPT;
}

enum nk_err lsm_slot_newest(struct nk_bytes bytes, struct lsm_slot *out_slot)
{
    enum nk_err result = NK_CORRUPT;
    for (size_t i = 0; i < LSM_SLOT_COUNT; i++) {
        struct lsm_slot slot;
        enum nk_err err = lsm_slot_decode(bytes.data + i * LSM_SLOT_STRIDE, &slot);
        if (err == NK_FORMAT_TOO_NEW) {
            return err;
        }
        if (err == NK_OK && (result != NK_OK || slot.sequence > out_slot->sequence)) {
            *out_slot = slot;
            result = NK_OK;
        }
    }
    return result;
}

/* ---- Records: crc, size, payload; the crc also covers the record's offset ---- */

static uint32_t record_crc(struct nk_bytes size_and_payload, uint64_t offset)
{
    uint8_t place[8];
    nk_put_u64(place, offset);
    return nk_crc32c_extend(nk_crc32c(size_and_payload), nk_bytes_of(place, sizeof place));
}

static void put_record(struct nk_buf *out, struct nk_bytes payload, uint64_t offset)
{
    NK_ASSERT(payload.size <= UINT32_MAX);
    uint8_t *record = nk_buf_extend(out, LSM_RECORD_HEAD_BYTES + payload.size);
    nk_put_u32(record + 4, (uint32_t)payload.size);
    memcpy(record + LSM_RECORD_HEAD_BYTES, payload.data, payload.size);
    nk_put_u32(record, record_crc(nk_bytes_of(record + 4, 4 + payload.size), offset));
}

bool lsm_record_decode(struct nk_bytes bytes, uint64_t offset, struct nk_bytes *out_payload)
{
    size_t left = bytes.size - (size_t)offset;
    if (left < LSM_RECORD_HEAD_BYTES) {
        return false;
    }
    const uint8_t *record = bytes.data + offset;
    uint32_t size = nk_get_u32(record + 4);
    if (size > left - LSM_RECORD_HEAD_BYTES || size == 0 ||
        nk_get_u32(record) != record_crc(nk_bytes_of(record + 4, 4 + (size_t)size), offset)) {
        return false;
    }
    *out_payload = nk_bytes_of(record + LSM_RECORD_HEAD_BYTES, size);
    return true;
}

enum nk_err lsm_manifest_decode(struct nk_bytes bytes, struct lsm_catalog *catalog,
                                bool *out_promised, uint64_t *out_offset)
{
    *out_offset = 0;
    struct lsm_slot slot = {0};
    if (bytes.size < LSM_RECORDS_AT) {
        return NK_CORRUPT;
    }
    enum nk_err err = lsm_slot_newest(bytes, &slot);
    if (err != NK_OK) {
        return err;
    }
    uint64_t offset = LSM_RECORDS_AT;
    struct nk_bytes payload;
    while (lsm_record_decode(bytes, offset, &payload)) {
        *out_offset = offset;
        if (lsm_catalog_apply(catalog, payload) != NK_OK) {
            return NK_CORRUPT;
        }
        offset += LSM_RECORD_HEAD_BYTES + payload.size;
    }
    *out_offset = offset;
    *out_promised = offset == slot.length;
    return offset < slot.length || slot.length <= LSM_RECORDS_AT ? NK_CORRUPT : NK_OK;
}

static enum nk_err read_file(struct lsm_manifest *manifest, struct nk_file *file,
                             struct nk_buf *out_bytes)
{
    uint64_t size = 0;
    enum nk_err err = nk_fs_size(manifest->fs, file, &size);
    if (err != NK_OK) {
        return fault(manifest, NK_IO, 0, "cannot read manifest");
    }
    if (size > LSM_MANIFEST_BYTES_MAX) {
        return fault(manifest, NK_CORRUPT, 0, "manifest is too long");
    }
    size_t got = 0;
    uint8_t *bytes = nk_buf_extend(out_bytes, (size_t)size);
    err = nk_fs_pread(manifest->fs, file, 0, bytes, (size_t)size, &got);
    if (err != NK_OK || got != size) {
        return fault(manifest, NK_IO, 0, "cannot read manifest");
    }
    return NK_OK;
}

enum nk_err lsm_manifest_load(struct lsm_manifest *manifest, struct lsm_catalog *catalog,
                              bool *out_promised)
{
    char path[NK_PATH_BYTES_MAX];
    struct nk_file *file = NULL;
    lsm_path(manifest->directory, LSM_MANIFEST_NAME, path);
    enum nk_err err = nk_fs_open(manifest->fs, path, NK_FS_READ, &file);
    if (err != NK_OK) {
        return err == NK_NOT_FOUND ? err : fault(manifest, NK_IO, 0, "cannot open manifest");
    }
    struct nk_buf bytes = {0};
    err = read_file(manifest, file, &bytes);
    if (err == NK_OK) {
        uint64_t offset = 0;
        err = lsm_manifest_decode(nk_buf_bytes(&bytes), catalog, out_promised, &offset);
        if (err != NK_OK) {
            (void)fault(manifest, err, offset,
                        err == NK_CORRUPT ? "bad record" : "written by a newer version");
        }
    }
    nk_buf_deinit(&bytes);
    nk_fs_close(manifest->fs, &file);
    return err;
}

/* ---- Installing ---- */

/* NK_NO_SPACE is passed on as it is: an outcome, not a fault. */
static enum nk_err check(struct lsm_manifest *manifest, enum nk_err err, const char *what)
{
    if (err == NK_OK || err == NK_NO_SPACE) {
        return err;
    }
    return fault(manifest, NK_IO, manifest->length, what);
}

static void put_slots(struct lsm_manifest *manifest, uint64_t length, uint8_t *out)
{
    for (size_t i = 0; i < LSM_SLOT_COUNT; i++) {
        struct lsm_slot slot = {.sequence = manifest->slot_sequence, .length = length};
        slot_encode(&slot, out + i * LSM_SLOT_STRIDE);
    }
}

static enum nk_err write_new(struct lsm_manifest *manifest, struct nk_bytes contents,
                             const char *path_new, const char *path)
{
    const struct nk_fs *fs = manifest->fs;
    enum nk_err err = nk_fs_remove(fs, path_new); /* what a failed install may have left */
    if (err != NK_OK && err != NK_NOT_FOUND) {
        return check(manifest, NK_IO, "cannot remove old manifest.new");
    }
    err = nk_fs_open(fs, path_new, NK_FS_CREATE, &manifest->file);
    if (err == NK_OK) {
        err = nk_fs_pwrite(fs, manifest->file, 0, contents);
    }
    if (err == NK_OK) {
        err = nk_fs_sync(fs, manifest->file);
    }
    if (err == NK_OK) {
        err = nk_fs_rename(fs, path_new, path);
    }
    if (err == NK_OK) {
        err = nk_fs_sync_dir(fs, manifest->directory);
    }
    return check(manifest, err, "cannot write new manifest");
}

enum nk_err lsm_manifest_rewrite(struct lsm_manifest *manifest, const struct lsm_position *position,
                                 uint64_t number_next, const struct lsm_levels *levels)
{
    char path[NK_PATH_BYTES_MAX];
    char path_new[NK_PATH_BYTES_MAX];
    lsm_path(manifest->directory, LSM_MANIFEST_NAME, path);
    lsm_path(manifest->directory, LSM_MANIFEST_NEW_NAME, path_new);
    struct nk_buf payload = {0};
    struct nk_buf contents = {0};
    lsm_catalog_put_snapshot(&payload, position, number_next, levels);
    memset(nk_buf_extend(&contents, LSM_RECORDS_AT), 0, LSM_RECORDS_AT);
    put_record(&contents, nk_buf_bytes(&payload), LSM_RECORDS_AT);
    manifest->slot_sequence = 1;
    put_slots(manifest, contents.size, contents.data);
    nk_fs_close(manifest->fs, &manifest->file);
    manifest->length = 0;
    enum nk_err err = write_new(manifest, nk_buf_bytes(&contents), path_new, path);
    if (err == NK_OK) {
        manifest->length = contents.size;
        manifest->length_limit = 2 * contents.size + LENGTH_SLACK;
    } else {
        nk_fs_close(manifest->fs, &manifest->file);
    }
    nk_buf_deinit(&payload);
    nk_buf_deinit(&contents);
    return err;
}

/* The slot is a hint for the next open; if it cannot be written, the file is given up. */
static void promise(struct lsm_manifest *manifest)
{
    manifest->slot_sequence++;
    struct lsm_slot slot = {.sequence = manifest->slot_sequence, .length = manifest->length};
    uint8_t bytes[LSM_SLOT_BYTES];
    slot_encode(&slot, bytes);
    uint64_t offset = manifest->slot_sequence % LSM_SLOT_COUNT * LSM_SLOT_STRIDE;
    enum nk_err err =
        nk_fs_pwrite(manifest->fs, manifest->file, offset, nk_bytes_of(bytes, sizeof bytes));
    if (err != NK_OK) {
        nk_fs_close(manifest->fs, &manifest->file);
    }
}

static enum nk_err append(struct lsm_manifest *manifest, struct nk_bytes edit)
{
    struct nk_buf record = {0};
    put_record(&record, edit, manifest->length);
    enum nk_err err =
        nk_fs_pwrite(manifest->fs, manifest->file, manifest->length, nk_buf_bytes(&record));
    if (err == NK_OK) {
        err = nk_fs_sync(manifest->fs, manifest->file);
    }
    err = check(manifest, err, "cannot append to manifest");
    if (err == NK_OK) {
        manifest->length += record.size;
        promise(manifest);
    } else {
        nk_fs_close(manifest->fs, &manifest->file);
    }
    nk_buf_deinit(&record);
    return err;
}

enum nk_err lsm_manifest_install(struct lsm_manifest *manifest, struct nk_bytes edit,
                                 const struct lsm_position *position, uint64_t number_next,
                                 const struct lsm_levels *levels)
{
    NK_ASSERT(edit.size > 0);
    if (manifest->file == NULL || manifest->length > manifest->length_limit) {
        return lsm_manifest_rewrite(manifest, position, number_next, levels);
    }
    return append(manifest, edit);
}
