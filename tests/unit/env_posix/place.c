#include "place.h"

#include <criterion/criterion.h>

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status;
    (void)type;
    (void)walk;
    return remove(path);
}

void place_open(struct place *place)
{
    (void)snprintf(place->root, sizeof place->root, "/tmp/norikv-unit-XXXXXX");
    cr_assert_not_null(mkdtemp(place->root));
    struct reason reason;
    cr_assert_eq(env_posix_fs_open(place->root, &place->posix, reason_init(&reason)), NK_OK);
    place->fs = env_posix_fs(place->posix);
}

void place_close(struct place *place)
{
    env_posix_fs_close(&place->posix);
    cr_assert_eq(nftw(place->root, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
}

struct nk_text *reason_init(struct reason *reason)
{
    nk_text_init(&reason->text, reason->memory, sizeof reason->memory);
    return &reason->text;
}
