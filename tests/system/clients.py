"""Two clients of the public gRPC API: one with stubs made from proto/, one that knows nothing but
reflection.  Both offer the same calls, so one set of tests runs with each.

Stubs are made when they are first needed, by protoc, below build/tests/system/stubs."""

import hashlib
import importlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

import harness

GRPC_PROTO = "/usr/share/grpc-proto"  # Debian's grpc-proto
PUBLIC = ("norikv/v1/kv.proto", "norikv/v1/meta.proto", "norikv/v1/admin.proto")
SERVED = ("grpc/health/v1/health.proto", "grpc/reflection/v1/reflection.proto",
          "grpc/reflection/v1alpha/reflection.proto")

# While calls fail at once, nobody but this looks whether a new connection has come about.  The
# default, every five seconds, would be most of each outage that a test sees.
os.environ.setdefault("GRPC_CLIENT_CHANNEL_BACKUP_POLL_INTERVAL_MS", "50")

# A restarted server is found again at once, and calls that fail are seen to fail.  (The "minimum"
# is how long an attempt to connect may take, which a busy machine must be able to keep.)
CHANNEL_OPTIONS = (("grpc.initial_reconnect_backoff_ms", 20), ("grpc.enable_retries", 0),
                   ("grpc.min_reconnect_backoff_ms", 20000), ("grpc.max_reconnect_backoff_ms", 200),
                   ("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1),
                   ("grpc.use_local_subchannel_pool", 1))


def channel(address):
    return grpc.insecure_channel(address, options=CHANNEL_OPTIONS)


def _make_stubs():
    """Named after what they were made from, and renamed into place: several test programs may
    start at once."""
    proto = harness.SOURCE / "proto"
    sources = [proto / file for file in PUBLIC]
    sources += [pathlib.Path(GRPC_PROTO, file) for file in SERVED]
    made_from = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    target = harness.BUILD / "tests/system" / f"stubs-{made_from[:16]}"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = tempfile.mkdtemp(prefix="stubs-", dir=target.parent)
        paths = [f"--proto_path={proto}", f"--proto_path={GRPC_PROTO}"]
        subprocess.run(["protoc", *paths, f"--python_out={fresh}", *PUBLIC, *SERVED], check=True)
        subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *paths,
                        f"--grpc_python_out={fresh}", *PUBLIC, SERVED[0]], check=True)
        try:
            os.rename(fresh, target)
        except OSError:  # another test program was faster
            shutil.rmtree(fresh)
    return target


def stub_module(name):
    """A generated module, such as norikv.v1.kv_pb2."""
    stubs = _make_stubs()
    if str(stubs) not in sys.path:
        sys.path.insert(0, str(stubs))
        grpc.__path__.append(str(stubs / "grpc"))  # the installed package has the same name
    return importlib.import_module(name)


class Client:
    """Kv and Meta as plain calls.  Arguments are field names; errors are grpc.RpcError.

    `if_match` is a (term, index) pair or absent."""

    def __init__(self, link):
        self.link = link

    def close(self):
        self.link.close()

    def put(self, timeout=30, **fields):
        return self._call("Kv", "Put", fields, timeout)

    def get(self, timeout=30, **fields):
        return self._call("Kv", "Get", fields, timeout)

    def delete(self, timeout=30, **fields):
        return self._call("Kv", "Delete", fields, timeout)

    def _call(self, service, method, fields, timeout):
        return self.method(service, method)(self.request(service, method, fields), timeout=timeout)

    @staticmethod
    def _plain(fields):
        if "if_match" in fields:
            term, index = fields["if_match"]
            fields = {**fields, "if_match": {"term": term, "index": index}}
        return fields

    def raw(self, path, body=b"", timeout=30):
        """A call of any method with any bytes; the answer's bytes."""
        return self.link.unary_unary(path)(body, timeout=timeout)


class StubClient(Client):
    """Stubs and messages generated from proto/norikv/v1."""

    name = "stubs"

    def __init__(self, link):
        super().__init__(link)
        kv, meta, admin = (stub_module(f"norikv.v1.{name}_pb2") for name in ("kv", "meta", "admin"))
        self._stubs = {
            "Kv": stub_module("norikv.v1.kv_pb2_grpc").KvStub(link),
            "Meta": stub_module("norikv.v1.meta_pb2_grpc").MetaStub(link),
            "Admin": stub_module("norikv.v1.admin_pb2_grpc").AdminStub(link),
        }
        self._requests = {}
        for file in (kv, meta, admin):
            for service in file.DESCRIPTOR.services_by_name.values():
                for method in service.methods:
                    home = next(module for module in (kv, meta, admin)
                                if hasattr(module, method.input_type.name))
                    self._requests[service.name, method.name] = getattr(home,
                                                                        method.input_type.name)

    def method(self, service, method):
        return getattr(self._stubs[service], method)

    def request(self, service, method, fields):
        return self._requests[service, method](**self._plain(fields))


class ReflectionClient(Client):
    """Everything it knows of the API it has asked the server: no .proto of ours, no stubs."""

    name = "reflection"
    version = "v1"

    def __init__(self, link):
        super().__init__(link)
        self._pool = descriptor_pool.DescriptorPool()
        self._factory = message_factory.MessageFactory(self._pool)
        self._methods = {}
        self._files = set()
        for service in self.services():
            if service.startswith("norikv."):
                self._learn(service)

    def ask(self, **question):
        """One question to the reflection service; its answer."""
        reflection = stub_module(f"grpc.reflection.{self.version}.reflection_pb2")
        call = self.link.stream_stream(
            f"/grpc.reflection.{self.version}.ServerReflection/ServerReflectionInfo",
            reflection.ServerReflectionRequest.SerializeToString,
            reflection.ServerReflectionResponse.FromString)
        answers = list(call(iter([reflection.ServerReflectionRequest(**question)]), timeout=30))
        assert len(answers) == 1, answers
        return answers[0]

    def services(self):
        answer = self.ask(list_services="*")
        return [service.name for service in answer.list_services_response.service]

    def _learn(self, service):
        for file in self._add_files(self.ask(file_containing_symbol=service)):
            for declared in file.service:
                for method in declared.method:
                    self._methods[declared.name, method.name] = (
                        f"/{file.package}.{declared.name}/{method.name}", method)

    def _add_files(self, answer):
        """The files of an answer, added to the pool after what they import."""
        assert answer.WhichOneof("message_response") == "file_descriptor_response", answer
        added = []
        for data in answer.file_descriptor_response.file_descriptor_proto:
            file = descriptor_pb2.FileDescriptorProto.FromString(data)
            for needed in file.dependency:
                if needed not in self._files:
                    self._add_files(self.ask(file_by_filename=needed))
            if file.name not in self._files:
                self._files.add(file.name)
                self._pool.Add(file)
            added.append(file)
        return added

    def _message(self, type_name):
        return self._factory.GetPrototype(self._pool.FindMessageTypeByName(type_name.lstrip(".")))

    def method(self, service, method):
        path, declared = self._methods[service, method]
        make = self.link.unary_stream if declared.server_streaming else self.link.unary_unary
        return make(path, self._message(declared.input_type).SerializeToString,
                    self._message(declared.output_type).FromString)

    def request(self, service, method, fields):
        declared = self._methods[service, method][1]
        return self._message(declared.input_type)(**self._plain(fields))


class OldReflectionClient(ReflectionClient):
    name = "reflection v1alpha"
    version = "v1alpha"
