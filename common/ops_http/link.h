#pragma once

/* One connection.  From one answer to the next request it is the client's turn: it may be slow, or
 * never say another word.  The connections whose turn it is stand in a line, the one that has kept
 * us waiting longest first.  That one is ended when it has taken too long, and when the last place
 * is taken; so no clients who send a byte now and then hold memory or keep others out.
 *
 * HTTP thread only. */

#include <stdint.h>

#include "common/base/list.h"

struct link {
    struct nk_list place; /* in the line; alone while we owe an answer */
    uint64_t since_us;    /* when the client's turn began */
    int fd;

    /* Of the request whose first line was read last; NULL: none.  The text is ours; the library
     * works on its own, so `end` says where that one ended. */
    char *target;
    const char *target_end;
};

struct link *link_new(struct nk_list *line, int fd, uint64_t now_us);
void link_free(struct link **link);

void link_set_target(struct link *link, const char *target); /* of the library */

void link_waits_for_client(struct link *link, struct nk_list *line, uint64_t now_us);
void link_waits_for_us(struct link *link);

/* Ends the first in the line, if there is one: the library learns of it as if the client had. */
void link_end_first(struct nk_list *line);

/* Ends all whose turn began before `since_us`. */
void link_end_older(struct nk_list *line, uint64_t since_us);
