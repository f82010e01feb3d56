"""Meta.WatchCluster: the view at once, every change, epochs that only grow - whoever restarts."""

import queue
import threading

import grpc

import clients
import harness


class Watch:
    """A subscription whose views are read by a thread of its own."""

    def __init__(self, client, epoch=0):
        self.views = queue.SimpleQueue()
        self.seen = []
        self.call = client.method("Meta", "WatchCluster")(
            client.request("Meta", "WatchCluster", {"epoch": epoch}))
        self.end = None
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        try:
            for view in self.call:
                self.views.put(view)
        except grpc.RpcError as error:
            self.end = error.code()
        self.views.put(None)

    def next(self):
        """The next view; None: the stream has ended."""
        view = self.views.get(timeout=harness.PATIENCE)
        if view is not None:
            self.seen.append(view)
        return view

    def until(self, condition):
        """The first view for which the condition holds."""
        while True:
            view = self.next()
            if view is None:
                raise AssertionError(f"the stream ended: {self.end}")
            if condition(view):
                return view

    def close(self):
        self.call.cancel()
        self.thread.join()

    def epochs(self):
        return [view.epoch for view in self.seen]


class WatchTest(harness.NodeTest):
    keep_ports = True

    def setUp(self):
        self.client = clients.StubClient(clients.channel(self.node.rpc_address))
        self.addCleanup(self.client.close)

    def watch(self, epoch=0):
        watch = Watch(self.client, epoch)
        self.addCleanup(watch.close)
        return watch

    def expect_growing(self, epochs):
        self.assertEqual(epochs, sorted(set(epochs)))

    def expect_change(self, watch, before):
        """A view above `before`, and one in which the node leads again."""
        watch.until(lambda view: view.epoch > before.epoch)
        self.node.wait_ready()
        harness.wait_for(self.served, "the store to be back")
        if not self.leads(watch.seen[-1]):
            watch.until(self.leads)

    def leads(self, view):
        return any(node.id == "node0" and node.role == "leader" for node in view.nodes)

    def test_the_view_comes_at_once_and_names_node_and_leaders(self):
        self.client.put(key=b"a", value=b"1")
        view = self.watch().until(lambda view: self.leads(view) and view.shards)
        self.assertGreater(view.epoch, 0)
        self.assertEqual(len(view.nodes), 1)
        self.assertEqual(view.nodes[0].addr, self.node.rpc_address)
        for shard in view.shards:
            self.assertEqual([(replica.node_id, replica.leader) for replica in shard.replicas],
                             [("node0", True)])

    def test_a_new_shard_is_a_change(self):
        watch = self.watch()
        before = watch.next()
        known = {shard.id for shard in before.shards}
        for number in range(64):
            self.client.put(key=b"new %d" % number, value=b"1")
        view = watch.until(lambda view: {shard.id for shard in view.shards} - known)
        self.assertGreater(view.epoch, before.epoch)

    def test_who_knows_the_view_hears_only_of_changes(self):
        self.client.put(key=b"a", value=b"1")
        first = self.watch()
        current = first.next()
        knowing = self.watch(epoch=current.epoch)
        self.node.kill_role("shardhost")
        self.assertGreater(knowing.next().epoch, current.epoch)
        self.node.wait_ready()

    def test_a_watch_of_the_future_waits_for_it(self):
        """An epoch above all that is known: nothing is sent until there is a higher one."""
        watch = self.watch(epoch=2**64 - 1)
        self.client.put(key=b"a", value=b"1")
        watch.close()
        self.assertEqual(watch.next(), None)

    def test_a_restart_of_the_shardhost_is_seen(self):
        self.client.put(key=b"a", value=b"1")
        watch = self.watch()
        before = watch.until(self.leads)
        self.node.kill_role("shardhost")
        self.expect_change(watch, before)
        self.expect_growing(watch.epochs())

    def test_epochs_grow_over_restarts_of_gateway_gossip_and_all(self):
        self.client.put(key=b"a", value=b"1")
        last = self.watch().until(self.leads).epoch
        for kill in (lambda: self.node.kill_role("gateway"),
                     lambda: self.node.kill_role("gossip"),
                     lambda: (self.node.kill_role("gossip"), self.node.kill_role("gateway")),
                     self.restart_all):
            kill()
            self.node.wait_ready()
            harness.wait_for(self.served, "the store to be back")
            watch = self.watch()
            view = watch.until(self.leads)
            # A gateway that starts knows nothing older than what gossip tells it.
            self.assertGreaterEqual(watch.seen[0].epoch, last)
            last = view.epoch
            self.expect_growing(watch.epochs())
        self.node.kill_role("shardhost")
        self.expect_change(watch, view)

    def restart_all(self):
        self.node.kill()
        self.node.start()

    def served(self):
        try:
            self.client.put(key=b"probe", value=b"", timeout=10)
            return True
        except grpc.RpcError:
            return False

    def test_a_watch_lives_on_while_gossip_restarts(self):
        self.client.put(key=b"a", value=b"1")
        watch = self.watch()
        before = watch.until(self.leads)
        self.node.kill_role("gossip")
        self.node.wait_ready()
        self.node.kill_role("shardhost")
        self.expect_change(watch, before)
        self.expect_growing(watch.epochs())

    def test_many_watchers_all_hear_and_may_leave(self):
        watches = [self.watch() for _ in range(50)]
        first = [watch.next() for watch in watches]
        for watch in watches[::2]:
            watch.close()
        self.node.kill_role("shardhost")
        for watch, before in list(zip(watches, first))[1::2]:
            self.expect_change(watch, before)

    def test_a_watch_ends_when_the_server_stops(self):
        watch = self.watch()
        watch.next()
        self.assertEqual(self.node.stop(), 0)
        while watch.next() is not None:
            pass
        self.assertEqual(watch.end, grpc.StatusCode.UNAVAILABLE)
        self.node.start()


if __name__ == "__main__":
    harness.main()
