/* Wall clock first, so that sessions grow also where the last one is not known; above the last one,
 * so that they grow when the clock goes back.  The random part tells apart what neither can. */

#include "services/start/start.h"

#include "common/base/units.h"
#include "services/start/replace.h"

static const char ending[] = ".session";

/* 0: not known. */
static uint64_t last_session(const struct nk_fs *fs, const char *role)
{
    char name[START_NAME_BYTES_MAX];
    start_run_name(role, ending, name);
    struct nk_file *file = NULL;
    char digits[32];
    size_t size = 0;
    uint64_t session = 0;
    if (nk_fs_open(fs, name, NK_FS_READ, &file) != NK_OK) {
        return 0;
    }
    if (nk_fs_pread(fs, file, 0, digits, sizeof digits, &size) != NK_OK || size == 0 ||
        digits[size - 1] != '\n' || !nk_text_parse_u64(nk_bytes_of(digits, size - 1), &session)) {
        session = 0;
    }
    nk_fs_close(fs, &file);
    return session;
}

uint64_t start_session(const struct nk_fs *fs, const char *role, uint64_t wall_ms, uint64_t random)
{
    uint64_t last = last_session(fs, role);
    uint64_t session = wall_ms << 16 | (random & 0xffff) | 1;
    if (last < UINT64_MAX) {
        session = nk_max_u64(session, last + 1);
    }
    char memory[32];
    struct nk_text text;
    nk_text_init(&text, memory, sizeof memory);
    nk_text_add_u64(&text, session);
    nk_text_add(&text, "\n");
    /* On a full disk the next start goes by the clock alone: no reason not to start. */
    enum nk_err err = start_replace(fs, role, ending, nk_bytes_of(text.data, text.size));
    (void)err;
    return session;
}
