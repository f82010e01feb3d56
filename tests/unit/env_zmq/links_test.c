/* norikv_bus_links and norikv_bus_links_connected: whatever partners do, they end at what is so. */

#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/env_zmq/env_zmq.h"
#include "common/env_zmq/net_zmq.h"

TestSuite(env_zmq_links, .timeout = 20);

#define TURN_MS 10

struct rig {
    char root[32];
    char address[64]; /* where the partner listens while it is there */
    struct nk_registry *metrics;
    struct env_zmq *zmq;
    struct nk_net net;
    struct env_zmq *partner; /* NULL: it is away */
};

static void open_zmq(const char *talk_bind, struct env_zmq **out_zmq)
{
    char memory[256];
    struct nk_text reason;
    nk_text_init(&reason, memory, sizeof memory);
    struct env_zmq_options options = {.talk_bind = talk_bind};
    cr_assert_eq(env_zmq_open(&options, out_zmq, &reason), NK_OK, "%s", memory);
}

static void rig_open(struct rig *rig)
{
    *rig = (struct rig){.root = "/tmp/norikv-links-XXXXXX"};
    cr_assert_not_null(mkdtemp(rig->root));
    (void)snprintf(rig->address, sizeof rig->address, "ipc://%s/partner", rig->root);
    nk_registry_open(&rig->metrics);
    open_zmq(NULL, &rig->zmq);
    env_zmq_register(rig->zmq, rig->metrics);
    rig->net = env_zmq_net(rig->zmq);
}

static void rig_close(struct rig *rig)
{
    env_zmq_close(&rig->partner);
    env_zmq_close(&rig->zmq);
    nk_registry_close(&rig->metrics);
    (void)unlink(rig->address + strlen("ipc://"));
    cr_expect_eq(rmdir(rig->root), 0);
}

static nk_peer open_link(struct rig *rig, enum nk_link_kind kind)
{
    nk_peer peer = 0;
    cr_assert_eq(rig->net.ops->open(rig->net.ctx, rig->address, kind, &peer), NK_OK);
    return peer;
}

static long value(struct rig *rig, const char *name)
{
    struct nk_buf text = {0};
    nk_registry_render(rig->metrics, NK_METRICS_TEXT, &text);
    nk_buf_append_u8(&text, '\0');
    char start[64];
    int size = snprintf(start, sizeof start, "\n%s ", name);
    const char *line = strstr((const char *)text.data, start);
    cr_assert_not_null(line, "%s", name);
    long number = strtol(line + size, NULL, 10);
    nk_buf_deinit(&text);
    return number;
}

static long connected(struct rig *rig)
{
    return value(rig, "norikv_bus_links_connected");
}

static void drop(void *ctx, nk_peer from, struct nk_bytes frame)
{
    (void)ctx;
    (void)from;
    (void)frame;
}

static void turn(struct rig *rig)
{
    (void)env_zmq_pump(rig->zmq, drop, NULL);
    (void)env_zmq_wait(rig->zmq, TURN_MS);
}

/* The suite's timeout bounds it. */
static void turn_until(struct rig *rig, long wanted)
{
    while (connected(rig) != wanted) {
        turn(rig);
    }
}

Test(env_zmq_links, the_gauge_follows_a_partner_that_comes_and_goes)
{
    struct rig rig;
    rig_open(&rig);
    nk_peer peer = open_link(&rig, NK_LINK_TALK);
    cr_expect_eq(connected(&rig), 0);
    for (int i = 0; i < 5; i++) {
        open_zmq(rig.address, &rig.partner);
        turn_until(&rig, 1);
        env_zmq_close(&rig.partner);
        turn_until(&rig, 0);
    }
    cr_expect_eq(value(&rig, "norikv_bus_links"), 1);
    rig.net.ops->close(rig.net.ctx, peer);
    cr_expect_eq(value(&rig, "norikv_bus_links"), 0);
    cr_expect_eq(connected(&rig), 0);
    rig_close(&rig);
}

/* A send that fails asks the monitor too, in the middle of a turn. */
Test(env_zmq_links, sends_meanwhile_change_nothing)
{
    struct rig rig;
    rig_open(&rig);
    nk_peer peer = open_link(&rig, NK_LINK_TALK);
    struct nk_bytes frame = nk_bytes_of_string("frame");
    for (int i = 0; i < 10; i++) {
        long wanted = i % 2 == 0;
        if (wanted == 1) {
            open_zmq(rig.address, &rig.partner);
        } else {
            env_zmq_close(&rig.partner);
        }
        while (connected(&rig) != wanted) {
            (void)rig.net.ops->send(rig.net.ctx, peer, frame);
            turn(&rig);
        }
    }
    cr_expect_eq(rig.net.ops->send(rig.net.ctx, peer, frame), NK_UNAVAILABLE);
    rig_close(&rig);
}

Test(env_zmq_links, only_talk_links_are_counted_as_connected)
{
    struct rig rig;
    rig_open(&rig);
    open_zmq(rig.address, &rig.partner);
    nk_peer first = open_link(&rig, NK_LINK_TALK);
    (void)open_link(&rig, NK_LINK_LISTEN);
    (void)open_link(&rig, NK_LINK_TALK);
    turn_until(&rig, 2);
    cr_expect_eq(value(&rig, "norikv_bus_links"), 3);
    rig.net.ops->close(rig.net.ctx, first);
    cr_expect_eq(connected(&rig), 1);
    rig_close(&rig);
}

/* Before it is connected, while it is and nobody has read of it, and afterwards. */
Test(env_zmq_links, a_link_closed_at_any_moment_leaves_no_count)
{
    struct rig rig;
    rig_open(&rig);
    open_zmq(rig.address, &rig.partner);
    for (int i = 0; i < 100; i++) {
        nk_peer peer = open_link(&rig, NK_LINK_TALK);
        for (int turns = i % 4; turns > 0; turns--) {
            turn(&rig);
        }
        rig.net.ops->close(rig.net.ctx, peer);
        cr_expect_eq(connected(&rig), 0, "round %d", i);
        turn(&rig);
        cr_expect_eq(connected(&rig), 0, "round %d", i);
    }
    cr_expect_eq(value(&rig, "norikv_bus_links"), 0);
    (void)open_link(&rig, NK_LINK_TALK);
    turn_until(&rig, 1); /* ZeroMQ's thread is alive: it can hang in an event that nobody takes */
    rig_close(&rig);
}
