#pragma once

/* One connection.  Between two answers it is the client's turn: it may be slow, or never say
 * another word.  The connections whose turn it is stand in a line, the one that has kept us waiting
 * longest first; when the last place is taken, that one is ended, so that no number of clients who
 * send a byte now and then keeps others out.
 *
 * HTTP thread only. */

#include <microhttpd.h>

#include "common/base/list.h"

struct link {
    struct nk_list place; /* in the line; alone while we owe an answer */
    int fd;

    /* Of the request whose first line was read last; NULL: none.  The text is ours; the library
     * works on its own, so `end` says where that one ended. */
    char *target;
    const char *target_end;
};

struct link *link_new(struct nk_list *line, int fd);
void link_free(struct link **link);

void link_set_target(struct link *link, const char *target); /* of the library */

void link_waits_for_client(struct link *link, struct nk_list *line); /* goes to the end */
void link_waits_for_us(struct link *link);

/* Ends the first in the line, if there is one: the library learns of it as if the client had. */
void link_end_first(struct nk_list *line);
