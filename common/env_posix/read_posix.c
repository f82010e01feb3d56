#include "common/env_posix/env_posix.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "common/base/units.h"

#define STEP_BYTES ((size_t)(64 * NK_KIB))

/* Reads until the end or one byte beyond the limit; 0 or an errno. */
static int read_all(int fd, size_t bytes_max, struct nk_buf *out)
{
    size_t begin = out->size;
    for (;;) {
        size_t room = bytes_max + 1 - (out->size - begin);
        nk_buf_reserve(out, STEP_BYTES);
        ssize_t got = read(fd, out->data + out->size, nk_min_size(room, STEP_BYTES));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return errno;
        }
        out->size += (size_t)got;
        if (got == 0 || (size_t)got == room) {
            return 0;
        }
    }
}

enum nk_err env_posix_read_file(const char *path, size_t bytes_max, struct nk_buf *out,
                                struct nk_text *reason)
{
    size_t begin = out->size;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int error = fd < 0 ? errno : read_all(fd, bytes_max, out);
    if (fd >= 0) {
        (void)close(fd);
    }
    bool too_large = error == 0 && out->size - begin > bytes_max;
    if (error == 0 && !too_large) {
        return NK_OK;
    }
    nk_text_add(reason, path);
    nk_text_add(reason, ": ");
    if (too_large) {
        nk_text_add(reason, "the file is larger than ");
        nk_text_add_u64(reason, bytes_max);
        nk_text_add(reason, " bytes");
    } else {
        nk_text_add(reason, strerror(error));
    }
    return NK_INVALID;
}
