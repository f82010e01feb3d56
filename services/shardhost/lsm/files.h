#pragma once

/* The open files of tables, of all databases of an engine: at most so many at a time.  A file is
 * opened when somebody reads it and closed when others need its place.
 *
 * Any thread.  Nobody waits: while somebody else is at the list for longer than a few instructions,
 * a file is used without being in it. */

#include <stdatomic.h>

#include "common/base/list.h"
#include "common/base/mpsc.h"
#include "common/env/fs.h"

struct lsm_files {
    const struct nk_fs *fs;
    size_t count_max;
    struct nk_mpsc leaving; /* struct lsm_open_file; whoever has the latch empties it */
    atomic_flag latch;      /* files.c; protects all below */
    struct nk_list open;    /* struct lsm_open_file; the hand of the clock is at the front */
    size_t count;
};

/* The file of one table. */
struct lsm_open_file {
    _Atomic(struct nk_file *) file; /* NULL: closed */
    _Atomic uint32_t pins;          /* readers: while there are some it stays open */
    _Atomic bool used;              /* since the hand came by */
    _Atomic bool listed;            /* somebody may look at the node */
    struct nk_list node;            /* in files->open while the file is; under the latch */
    struct nk_mpsc_node leaving_node;
};

void lsm_files_init(struct lsm_files *files, const struct nk_fs *fs, size_t count_max);
void lsm_files_deinit(struct lsm_files *files); /* all open files were removed (asserted) */

struct lsm_open_file *lsm_open_file_new(void); /* closed */

/* The file for reading, or NULL: then it is closed.  Only with a file, unpin must follow. */
struct nk_file *lsm_open_file_pin(struct lsm_open_file *open_file);
void lsm_open_file_unpin(struct lsm_open_file *open_file);

/* Takes a file that was opened; if somebody else was quicker it is closed.  May close others.
 * Returns the one to read, pinned; NULL: the list is busy, *file stays the caller's. */
struct nk_file *lsm_files_add(struct lsm_files *files, struct lsm_open_file *open_file,
                              struct nk_file **file);

/* Closes and frees it, now or, while the list is busy, with a later call for any file.  Nobody
 * reads any more (asserted).  Nulls. */
void lsm_files_remove(struct lsm_files *files, struct lsm_open_file **open_file);
