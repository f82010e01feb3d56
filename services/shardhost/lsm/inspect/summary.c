/* Footer and properties of a table, without its blocks. */

#include "common/base/alloc.h"
#include "services/shardhost/lsm/compress.h"
#include "services/shardhost/lsm/inspect/table.h"
#include "services/shardhost/lsm/table_format.h"

static enum nk_err bad(uint64_t offset, const char *what, uint64_t *out_offset,
                       const char **out_what)
{
    *out_offset = offset;
    *out_what = what;
    return NK_CORRUPT;
}

static enum nk_err read_at(const struct nk_fs *fs, struct nk_file *file, uint64_t offset,
                           uint8_t *out, size_t size)
{
    size_t got = 0;
    enum nk_err err = nk_fs_pread(fs, file, offset, out, size, &got);
    return err == NK_OK && got < size ? NK_CORRUPT : err;
}

static enum nk_err read_properties(const struct nk_fs *fs, struct nk_file *file,
                                   const struct lsm_footer *footer, struct table_summary *summary,
                                   uint64_t *out_offset, const char **out_what)
{
    uint8_t way = 0;
    uint32_t raw_size = 0;
    struct lsm_handle handle = footer->properties;
    size_t size = (size_t)handle.size;
    struct nk_buf stored = {0};
    uint8_t *bytes = nk_buf_extend(&stored, size + LSM_TRAILER_BYTES);
    enum nk_err err = read_at(fs, file, handle.offset, bytes, stored.size);
    if (err == NK_OK) {
        if (!lsm_trailer_decode(bytes, size, handle.offset, &way, &raw_size)) {
            err = bad(handle.offset, "bad checksum", out_offset, out_what);
        } else {
            nk_buf_clear(&summary->bytes);
            uint8_t *raw = nk_buf_extend(&summary->bytes, raw_size);
            if (lsm_decompress(way, nk_bytes_of(bytes, size), raw, raw_size) != NK_OK) {
                err = bad(handle.offset, "cannot decompress", out_offset, out_what);
            }
        }
    }
    nk_buf_deinit(&stored);
    if (err == NK_OK &&
        lsm_properties_decode(nk_buf_bytes(&summary->bytes), &summary->meta) != NK_OK) {
        err = bad(handle.offset, "bad properties", out_offset, out_what);
    }
    return err;
}

enum nk_err inspect_table_summary(const struct nk_fs *fs, const char *name,
                                  struct table_summary *summary, uint64_t *out_offset,
                                  const char **out_what)
{
    struct nk_file *file = NULL;
    struct lsm_footer footer;
    uint8_t bytes[LSM_FOOTER_BYTES];
    uint64_t size = 0;
    *out_offset = 0;
    *out_what = "cannot be read";
    enum nk_err err = nk_fs_open(fs, name, NK_FS_READ, &file);
    if (err != NK_OK) {
        return err == NK_NOT_FOUND ? err : NK_IO;
    }
    err = nk_fs_size(fs, file, &size);
    summary->meta.size_bytes = size;
    if (err == NK_OK && size < LSM_FOOTER_BYTES) {
        err = bad(0, "table is too short", out_offset, out_what);
    } else if (err == NK_OK) {
        err = read_at(fs, file, size - LSM_FOOTER_BYTES, bytes, sizeof bytes);
        if (err == NK_OK && (err = lsm_footer_decode(bytes, size, &footer)) != NK_OK) {
            *out_offset = size - LSM_FOOTER_BYTES;
            *out_what = "bad footer";
        }
    }
    if (err == NK_OK) {
        summary->meta.digest = footer.digest;
        err = read_properties(fs, file, &footer, summary, out_offset, out_what);
    }
    nk_fs_close(fs, &file);
    return err;
}
