#include "link.h"

#include <string.h>
#include <sys/socket.h>

#include "common/base/alloc.h"
#include "common/base/units.h"

struct link *link_new(struct nk_list *line, int fd, uint64_t now_us)
{
    struct link *link = nk_alloc_zero(1, sizeof *link);
    link->fd = fd;
    nk_list_init(&link->place);
    link_waits_for_client(link, line, now_us);
    return link;
}

void link_free(struct link **link)
{
    if (link == NULL || *link == NULL) {
        return;
    }
    nk_list_remove(&(*link)->place);
    nk_free((*link)->target);
    nk_free(*link);
    *link = NULL;
}

void link_set_target(struct link *link, const char *target)
{
    nk_free(link->target);
    link->target = nk_strdup(target);
    link->target_end = target + strlen(target);
}

void link_waits_for_client(struct link *link, struct nk_list *line, uint64_t now_us)
{
    link->since_us = now_us;
    nk_list_remove(&link->place);
    nk_list_append(line, &link->place);
}

void link_waits_for_us(struct link *link)
{
    nk_list_remove(&link->place);
}

void link_end_first(struct nk_list *line)
{
    if (!nk_list_empty(line)) {
        struct link *first = NK_CONTAINER_OF(line->next, struct link, place);
        nk_list_remove(&first->place); /* once is enough */
        (void)shutdown(first->fd, SHUT_RDWR);
    }
}

void link_end_older(struct nk_list *line, uint64_t since_us)
{
    while (!nk_list_empty(line) &&
           NK_CONTAINER_OF(line->next, struct link, place)->since_us < since_us) {
        link_end_first(line);
    }
}
