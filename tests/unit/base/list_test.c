#include <criterion/criterion.h>

#include "common/base/list.h"
#include "common/base/units.h"

TestSuite(base_list, .timeout = 5);

struct item {
    int number;
    struct nk_list link;
};

static void expect_numbers(const struct nk_list *head, const int *numbers, size_t count)
{
    const struct nk_list *node = head->next;
    for (size_t i = 0; i < count; i++) {
        cr_assert_neq(node, head, "too short at %zu", i);
        cr_expect_eq(node->next->prev, node);
        cr_expect_eq(NK_CONTAINER_OF(node, struct item, link)->number, numbers[i], "at %zu", i);
        node = node->next;
    }
    cr_expect_eq(node, head, "too long");
}

Test(base_list, nodes_stand_where_they_were_put)
{
    struct nk_list head;
    nk_list_init(&head);
    cr_expect(nk_list_empty(&head));
    struct item items[4];
    for (int i = 0; i < 4; i++) {
        items[i].number = i;
        nk_list_init(&items[i].link);
        cr_expect_not(nk_list_linked(&items[i].link));
    }
    nk_list_append(&head, &items[1].link);
    nk_list_append(&head, &items[3].link);
    nk_list_prepend(&head, &items[0].link);
    nk_list_insert_before(&items[3].link, &items[2].link);
    expect_numbers(&head, (int[]){0, 1, 2, 3}, 4);
    cr_expect(nk_list_linked(&items[2].link));
    nk_list_remove(&items[1].link);
    nk_list_remove(&items[3].link);
    expect_numbers(&head, (int[]){0, 2}, 2);
    cr_expect_not(nk_list_linked(&items[1].link));
    nk_list_remove(&items[1].link); /* unlinked: nothing happens */
    expect_numbers(&head, (int[]){0, 2}, 2);
    nk_list_remove(&items[0].link);
    nk_list_remove(&items[2].link);
    cr_expect(nk_list_empty(&head));
}
