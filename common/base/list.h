#pragma once

/* Intrusive doubly linked ring with a head.  A node is in at most one list; an unlinked node points
 * to itself. */

#include <stdbool.h>

struct nk_list {
    struct nk_list *next;
    struct nk_list *prev;
};

static inline void nk_list_init(struct nk_list *node)
{
    node->next = node;
    node->prev = node;
}

static inline bool nk_list_empty(const struct nk_list *head)
{
    return head->next == head;
}

static inline bool nk_list_linked(const struct nk_list *node)
{
    return node->next != node;
}

static inline void nk_list_insert_before(struct nk_list *position, struct nk_list *node)
{
    node->prev = position->prev;
    node->next = position;
    position->prev->next = node;
    position->prev = node;
}

static inline void nk_list_append(struct nk_list *head, struct nk_list *node)
{
    nk_list_insert_before(head, node);
}

static inline void nk_list_prepend(struct nk_list *head, struct nk_list *node)
{
    nk_list_insert_before(head->next, node);
}

/* An unlinked node stays as it is. */
static inline void nk_list_remove(struct nk_list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    nk_list_init(node);
}
