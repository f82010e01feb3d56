#include "tests/sim/fs_names.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"

/* --- Nodes. */

struct sim_node *sim_node_new(struct sim_names *names, bool directory)
{
    struct sim_node *node = nk_alloc_zero(1, sizeof *node);
    nk_list_init(&node->link);
    nk_list_append(&names->nodes, &node->link);
    node->directory = directory;
    sim_data_init(&node->data);
    nk_map_init(&node->live);
    nk_map_init(&node->promised);
    return node;
}

static void node_free(struct sim_node *node)
{
    nk_list_remove(&node->link);
    sim_data_deinit(&node->data);
    nk_map_deinit(&node->live);
    nk_map_deinit(&node->promised);
    nk_free(node);
}

static void drop_reference(struct sim_node *node, struct nk_list *dying)
{
    NK_ASSERT(node->references > 0);
    node->references--;
    if (node->references == 0) {
        nk_list_remove(&node->link);
        nk_list_append(dying, &node->link);
    }
}

void sim_node_release(struct sim_node *node)
{
    struct nk_list dying;
    nk_list_init(&dying);
    drop_reference(node, &dying);
    while (!nk_list_empty(&dying)) {
        struct sim_node *dead = sim_node_of(dying.next);
        size_t position = 0;
        for (struct nk_map_entry *entry = nk_map_next(&dead->live, &position); entry != NULL;
             entry = nk_map_next(&dead->live, &position)) {
            ((struct sim_node *)entry->value)->names--;
            drop_reference(entry->value, &dying);
        }
        position = 0;
        for (struct nk_map_entry *entry = nk_map_next(&dead->promised, &position); entry != NULL;
             entry = nk_map_next(&dead->promised, &position)) {
            drop_reference(entry->value, &dying);
        }
        node_free(dead);
    }
}

static void live_put(struct sim_node *directory, struct nk_bytes name, struct sim_node *node)
{
    node->references++;
    node->names++;
    struct sim_node *former = nk_map_put(&directory->live, name, node);
    if (former != NULL) {
        former->names--;
        sim_node_release(former);
    }
}

static void live_remove(struct sim_node *directory, struct nk_bytes name)
{
    struct sim_node *former = nk_map_remove(&directory->live, name);
    NK_ASSERT(former != NULL);
    former->names--;
    sim_node_release(former);
}

void sim_names_init(struct sim_names *names)
{
    memset(names, 0, sizeof *names);
    nk_list_init(&names->nodes);
    names->root = sim_node_new(names, true);
    names->root->references = 1;
}

void sim_names_deinit(struct sim_names *names)
{
    for (size_t i = 0; i < names->change_count; i++) {
        nk_free(names->changes[i].from);
        nk_free(names->changes[i].to);
    }
    nk_free(names->changes);
    while (!nk_list_empty(&names->nodes)) {
        node_free(sim_node_of(names->nodes.next));
    }
}

/* --- Paths. */

struct sim_node *sim_names_walk(const struct sim_names *names, const char *path,
                                struct nk_bytes *out_last)
{
    struct sim_node *directory = names->root;
    const char *part = path;
    for (;;) {
        const char *slash = strchr(part, '/');
        struct nk_bytes name =
            nk_bytes_of(part, slash != NULL ? (size_t)(slash - part) : strlen(part));
        NK_ASSERT(name.size > 0);
        NK_ASSERT(part[0] != '.' || (name.size > 1 && part[1] != '.'));
        if (slash == NULL) {
            *out_last = name;
            return directory;
        }
        directory = nk_map_get(&directory->live, name);
        if (directory == NULL || !directory->directory) {
            return NULL;
        }
        part = slash + 1;
    }
}

struct sim_node *sim_names_find(const struct sim_names *names, const char *path)
{
    if (path[0] == '\0') {
        return names->root;
    }
    struct nk_bytes name;
    struct sim_node *directory = sim_names_walk(names, path, &name);
    return directory == NULL ? NULL : nk_map_get(&directory->live, name);
}

/* --- Changes of names. */

char *sim_text_of(struct nk_bytes name)
{
    char *text = nk_alloc(name.size + 1);
    memcpy(text, name.data, name.size);
    text[name.size] = '\0';
    return text;
}

void sim_names_change(struct sim_names *names, struct sim_node *node,
                      struct sim_node *from_directory, struct nk_bytes from,
                      struct sim_node *to_directory, struct nk_bytes to)
{
    if (names->change_count == names->change_capacity) {
        names->change_capacity = 2 * names->change_capacity + 8;
        names->changes =
            nk_realloc(names->changes, names->change_capacity * sizeof names->changes[0]);
    }
    struct sim_change *change = &names->changes[names->change_count++];
    memset(change, 0, sizeof *change);
    change->node = node;
    node->references++;
    if (from_directory != NULL) {
        change->from_directory = from_directory;
        change->from = sim_text_of(from);
        from_directory->references++;
        live_remove(from_directory, from);
    }
    if (to_directory != NULL) {
        change->to_directory = to_directory;
        change->to = sim_text_of(to);
        to_directory->references++;
        live_put(to_directory, to, node);
    }
}

static void change_promise(const struct sim_change *change)
{
    if (change->from_directory != NULL) {
        struct nk_map *map = &change->from_directory->promised;
        struct nk_bytes name = nk_bytes_of_string(change->from);
        if (nk_map_get(map, name) == change->node) {
            (void)nk_map_remove(map, name);
            sim_node_release(change->node);
        }
    }
    if (change->to_directory != NULL) {
        change->node->references++;
        struct sim_node *former = nk_map_put(&change->to_directory->promised,
                                             nk_bytes_of_string(change->to), change->node);
        if (former != NULL) {
            sim_node_release(former);
        }
    }
}

static void change_deinit(struct sim_change *change)
{
    nk_free(change->from);
    nk_free(change->to);
    if (change->from_directory != NULL) {
        sim_node_release(change->from_directory);
    }
    if (change->to_directory != NULL) {
        sim_node_release(change->to_directory);
    }
    sim_node_release(change->node);
}

static void mark_directories(const struct sim_change *change, bool marked)
{
    if (change->from_directory != NULL) {
        change->from_directory->marked = marked;
    }
    if (change->to_directory != NULL) {
        change->to_directory->marked = marked;
    }
}

/* Marks the changes that a sync of `directory` promises: all that touch it and, since a rename out
 * of another directory must not overtake what was done there before, the earlier ones of that too.
 */
static void mark_due(struct sim_names *names, struct sim_node *directory)
{
    directory->marked = true;
    for (size_t i = names->change_count; i-- > 0;) {
        struct sim_change *change = &names->changes[i];
        struct sim_node *from = change->from_directory;
        struct sim_node *to = change->to_directory;
        change->due = (from != NULL && from->marked) || (to != NULL && to->marked);
        if (change->due) {
            mark_directories(change, true);
        }
    }
    for (size_t i = 0; i < names->change_count; i++) {
        mark_directories(&names->changes[i], false);
    }
    directory->marked = false;
}

void sim_names_sync(struct sim_names *names, struct sim_node *directory, size_t count_max)
{
    mark_due(names, directory);
    size_t kept = 0;
    size_t count = 0;
    for (size_t i = 0; i < names->change_count; i++) {
        struct sim_change *change = &names->changes[i];
        if (change->due && count < count_max) {
            change_promise(change);
            change_deinit(change);
            count++;
        } else {
            names->changes[kept++] = *change;
        }
    }
    names->change_count = kept;
}

/* `live` is what is promised. */
static void directory_forget(struct sim_node *directory)
{
    size_t position = 0;
    for (struct nk_map_entry *entry = nk_map_next(&directory->live, &position); entry != NULL;
         entry = nk_map_next(&directory->live, &position)) {
        ((struct sim_node *)entry->value)->names--;
        sim_node_release(entry->value);
    }
    nk_map_deinit(&directory->live);
    position = 0;
    for (struct nk_map_entry *entry = nk_map_next(&directory->promised, &position); entry != NULL;
         entry = nk_map_next(&directory->promised, &position)) {
        live_put(directory, nk_bytes_of(entry->key, entry->key_size), entry->value);
    }
}

void sim_names_crash(struct sim_names *names, struct nk_prng *prng)
{
    struct sim_survivors survivors = sim_survivors_draw(names->change_count, prng);
    for (size_t i = 0; i < names->change_count; i++) {
        if (sim_survives(&survivors, i, prng)) {
            change_promise(&names->changes[i]);
        }
    }
    for (size_t i = 0; i < names->change_count; i++) {
        struct sim_node *directories[2] = {names->changes[i].from_directory,
                                           names->changes[i].to_directory};
        for (size_t j = 0; j < NK_COUNT_OF(directories); j++) {
            if (directories[j] != NULL && !directories[j]->marked) {
                directories[j]->marked = true;
                directory_forget(directories[j]);
            }
        }
    }
    for (size_t i = 0; i < names->change_count; i++) {
        mark_directories(&names->changes[i], false);
        change_deinit(&names->changes[i]);
    }
    names->change_count = 0;
}
