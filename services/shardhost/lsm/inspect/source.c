#include "services/shardhost/lsm/inspect/source.h"

#include "common/base/alloc.h"
#include "services/shardhost/lsm/manifest.h"

#define MANIFEST_READS_MAX 16
#define MEMORY_BESIDE      ((size_t)(1 * NK_MIB)) /* for what is made of a file, besides its size */
#define SEARCH_BYTES_MIN   ((uint64_t)(64 * NK_MIB))
#define SEARCH_FACTOR      256 /* times the size of the file */
#define SEARCH_BYTES_MAX   ((uint64_t)(4 * NK_GIB))

/* Makes *out an empty buffer of that capacity, if as much is left for what is made of the file. */
static bool take_memory(struct nk_buf *out, size_t size)
{
    nk_buf_deinit(out);
    uint8_t *bytes = nk_alloc_try(size);
    void *beside = nk_alloc_try(size + MEMORY_BESIDE);
    bool enough = bytes != NULL && beside != NULL;
    nk_free(beside);
    if (!enough) {
        nk_free(bytes);
        return false;
    }
    out->data = bytes;
    out->capacity = size;
    return true;
}

enum nk_err source_read(const struct nk_fs *fs, const char *name, uint64_t bytes_max,
                        struct nk_buf *out)
{
    struct nk_file *file = NULL;
    uint64_t size = 0;
    size_t got = 0;
    nk_buf_clear(out);
    enum nk_err err = nk_fs_open(fs, name, NK_FS_READ, &file);
    if (err != NK_OK) {
        return err == NK_NOT_FOUND ? err : NK_IO;
    }
    err = nk_fs_size(fs, file, &size);
    if (err == NK_OK && size > bytes_max) {
        err = NK_TOO_LARGE;
    }
    if (err == NK_OK && !take_memory(out, (size_t)size)) {
        err = NK_NO_SPACE;
    }
    if (err == NK_OK) {
        err = nk_fs_pread(fs, file, 0, out->data, (size_t)size, &got);
        out->size = got;
    }
    nk_fs_close(fs, &file);
    return err == NK_OK || err == NK_TOO_LARGE || err == NK_NO_SPACE ? err : NK_IO;
}

uint64_t source_search_bytes(uint64_t file_size)
{
    uint64_t bytes = nk_min_u64(file_size, SEARCH_BYTES_MAX / SEARCH_FACTOR) * SEARCH_FACTOR;
    return nk_max_u64(bytes, SEARCH_BYTES_MIN);
}

enum nk_err source_read_manifest(const struct nk_fs *fs, const char *name, struct nk_buf *out)
{
    struct nk_buf again = {0};
    enum nk_err err = source_read(fs, name, LSM_MANIFEST_BYTES_MAX, out);
    for (size_t reads = 1; err == NK_OK && reads < MANIFEST_READS_MAX; reads++) {
        err = source_read(fs, name, LSM_MANIFEST_BYTES_MAX, &again);
        if (err == NK_OK && nk_bytes_equal(nk_buf_bytes(out), nk_buf_bytes(&again))) {
            break;
        }
        struct nk_buf older = *out;
        *out = again;
        again = older;
    }
    nk_buf_deinit(&again);
    return err;
}
