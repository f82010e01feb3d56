#pragma once

#include "env_posix.h"

/* The descriptor of the root directory; the fs keeps it. */
int env_posix_fs_root(const struct env_posix_fs *fs);

/* As it was opened; for messages.  Borrowed from the fs. */
const char *env_posix_fs_root_name(const struct env_posix_fs *fs);

/* "what name: text of errno" */
void env_posix_explain(struct nk_text *text, const char *what, const char *name, int error);
