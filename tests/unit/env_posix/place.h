#pragma once

/* A directory of its own for each test, gone with it. */

#include "common/env_posix/env_posix.h"

struct place {
    char root[64];
    struct env_posix_fs *posix;
    struct nk_fs fs;
};

void place_open(struct place *place);
void place_close(struct place *place);

/* A text to be filled in by a call that takes a reason. */
struct reason {
    char memory[2048];
    struct nk_text text;
};

struct nk_text *reason_init(struct reason *reason);
