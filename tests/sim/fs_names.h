#pragma once

/* The names of the simulated files: directories, and what a power loss may leave of them.  Private
 * to tests/sim/fs.c.
 *
 * A directory has two maps: `live` is what callers see, `promised` what is certain to survive.
 * Every change of a name is made in `live` and kept in `changes` until a sync or a crash applies it
 * to `promised`; there it is put so that any subset, in order, makes sense (a removal takes away
 * only the file that it was about).  Invariant: a directory that no pending change names has equal
 * maps. */

#include "common/base/list.h"
#include "common/base/map.h"
#include "common/base/units.h"

#include "tests/sim/fs_data.h"

struct sim_node {
    struct nk_list link; /* in sim_names.nodes */
    size_t references;   /* map entries, changes, open files */
    size_t names;        /* entries of `live` maps */
    size_t open_count;
    bool directory;
    bool marked;          /* directory, while changes are walked through */
    struct sim_data data; /* file */
    struct nk_map live;   /* directory: name -> node, referenced */
    struct nk_map promised;
};

/* A name that went from one place to another; a missing place is NULL (create, link, mkdir: no
 * `from`; remove: no `to`). */
struct sim_change {
    struct sim_node *from_directory;
    char *from;
    struct sim_node *to_directory;
    char *to;
    struct sim_node *node;
    bool due; /* during a sync: to be promised */
};

struct sim_names {
    struct nk_list nodes; /* all of them, in the order in which they were made */
    struct sim_node *root;
    struct sim_change *changes; /* pending, in order */
    size_t change_count;
    size_t change_capacity;
};

static inline struct sim_node *sim_node_of(struct nk_list *link)
{
    return NK_CONTAINER_OF(link, struct sim_node, link);
}

void sim_names_init(struct sim_names *names);
void sim_names_deinit(struct sim_names *names);

/* Without references: it must get a name or be released by whoever references it. */
struct sim_node *sim_node_new(struct sim_names *names, bool directory);
void sim_node_release(struct sim_node *node); /* one reference; frees it with the last */

/* The directory in which `path` ends and the last part of it; NULL if a directory on the way is
 * missing.  A path that is not well-formed is a programming error. */
struct sim_node *sim_names_walk(const struct sim_names *names, const char *path,
                                struct nk_bytes *out_last);

/* What `path` names, NULL: nothing; "" is the root. */
struct sim_node *sim_names_find(const struct sim_names *names, const char *path);

/* Makes a change in the live maps and keeps it for the promised ones.  A directory is NULL where
 * the change has no such place. */
void sim_names_change(struct sim_names *names, struct sim_node *node,
                      struct sim_node *from_directory, struct nk_bytes from,
                      struct sim_node *to_directory, struct nk_bytes to);

/* Promises the changes that a sync of `directory` promises, in order, but at most `count_max`; the
 * others stay pending. */
void sim_names_sync(struct sim_names *names, struct sim_node *directory, size_t count_max);

/* Power loss; the bytes of the files are not touched. */
void sim_names_crash(struct sim_names *names, struct nk_prng *prng);

char *sim_text_of(struct nk_bytes name); /* with a NUL; the caller frees */
