"""Calls every method that the server describes, as grpcurl would: valid, malformed, oversized."""

import json
import sys

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

# Without a name of the host, grpcio gives the path of the socket as one, escaped in a way that is none (RFC 3986, section 3.2.2).
options = [("grpc.max_receive_message_length", 32 << 20), ("grpc.default_authority", "localhost")]
channel = grpc.insecure_channel("unix:" + sys.argv[1], options=options)
database = ProtoReflectionDescriptorDatabase(channel)
pool = descriptor_pool.DescriptorPool(database)


def message_of(descriptor):
    return message_factory.GetMessageClass(descriptor)


failure = message_of(pool.FindMessageTypeByName("mcrun.v1.Failure"))


def call(method, octets, first_only=True):
    """The first answer, or the status with the failure that it carries."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    answer = message_of(method.output_type)
    kind = channel.unary_stream if method.server_streaming else channel.unary_unary
    made = kind(path, request_serializer=lambda raw: raw, response_deserializer=answer.FromString)
    try:
        if not method.server_streaming:
            return "OK", made(octets, timeout=50)
        stream = made(octets, timeout=50)
        found = next(stream)
        stream.cancel()
        return "OK", found
    except grpc.RpcError as error:
        told = dict(error.trailing_metadata() or ()).get("mcrun-failure-bin")
        if told is None:
            return error.code().name, None
        return error.code().name, failure.FromString(told)


def encoded(method, fields):
    return json_format.ParseDict(fields, message_of(method.input_type)()).SerializeToString()


def ok(name, fields):
    method = methods[name]
    status, answer = call(method, encoded(method, fields))
    assert status == "OK", f"{name} {fields}: {status} {answer}"
    print(f"{name}: {json_format.MessageToDict(answer)}")
    return answer


script = {"name": "deploy.lua", "source": "print(1)", "modules": {"lib/a.luau": "return 1"}, "params": "{}"}
services = sorted(name for name in database.get_services())
methods = {}
for name in services:
    if name.startswith("mcrun."):
        for method in pool.FindServiceByName(name).methods:
            methods[f"{name.split('.')[-1]}/{method.name}"] = method

assert "grpc.health.v1.Health" in services and "grpc.reflection.v1.ServerReflection" in services, services
assert "mcrun.v1.Routes" not in services, services

health = health_pb2_grpc.HealthStub(channel)
assert health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING
assert next(health.Watch(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING

# What is right.
run = ok("Runs/SubmitRun", script).run
valid = {
    "Daemon/Handshake": {"version": "0.1.0", "protocol": 1},
    "Daemon/Reload": {},
    "Events/EmitEvent": {"name": "db.restored", "data": '{"a": 1}'},
    "Events/WatchEvents": {"patterns": ["db.*"], "after": 0},
    "Playbooks/ListPlaybooks": {},
    "Playbooks/GetPlaybook": {"name": "nightly"},
    "Playbooks/ListVersions": {"name": "nightly", "page_size": 1},
    "Playbooks/GetSources": {"name": "nightly", "number": 1},
    "Playbooks/StartPlaybook": {"name": "nightly", "params": '{"force": true}', "key": "k-1"},
    "Playbooks/ListOccurrences": {"name": "nightly", "next": 3},
    "Runs/TakeRun": {
        "run": run, "patience": 5000, "asks": True, "doubts": [{"effect": "main:3", "decision": "redo"}],
    },
    "Runs/WatchRun": {"run": run[:12], "history": True},
    "Runs/ListRuns": {"state": "running", "page_size": 1},
    "Runs/GetRun": {"run": run},
    "Runs/InterruptRun": {"run": run, "hard": True},
    "Runs/ResumeRun": {"run": run, "limits": ["memory=64MiB"]},
    "Runs/CancelRun": {"run": run},
    "Runs/UndoRun": {"run": run, "force": True, "allow": ["files"]},
    "Identity/ListAccounts": {"page_size": 2},
    "Identity/GetAccount": {"account": "ada"},
    "Identity/EnsureAccount": {
        "account": "ada", "kind": "human", "email": "ada@example.org", "status": "active",
        "roles": {"words": ["user"]}, "groups": {"words": ["ops"]}, "tags": {},
    },
    "Identity/DisableAccount": {"account": "bob"},
    "Identity/SetRole": {"account": "ada", "role": "user", "is_granted": True},
    "Identity/ListTokens": {"account": "ada"},
    "Identity/IssueToken": {"account": "mcq", "service": "mcr", "lifetime": 60, "id": "a-1"},
    "Identity/RevokeToken": {"account": "ada", "id": "t"},
    "Identity/ValidateToken": {"token": "x.y.z", "service": "mcq"},
    "Identity/GetRules": {"set": "staff"},
    "Identity/EnsureRules": {"set": "staff", "rules": "[]"},
    "Identity/ExplainSignIn": {"account": "ada", "service": "mcq", "address": "192.0.2.1", "first_factor": "passkey"},
    "Services/ListServices": {"page_size": 2},
    "Services/GetService": {"name": "mcq"},
    "Services/OperateService": {"name": "mcq", "operation": "restart"},
}
answers = {name: ok(name, fields) for name, fields in valid.items()}
assert answers["Events/WatchEvents"].name == "db.restored"
assert answers["Playbooks/GetSources"].sources[0].text.endswith("the first")
assert [one.outcome for one in answers["Playbooks/ListOccurrences"].next] == ["due"] * 3
assert answers["Playbooks/ListOccurrences"].last[0].trigger == "manual"
assert answers["Playbooks/ListPlaybooks"].broken[0].failure.code == "MC-S001"
assert answers["Daemon/Reload"].after_restart == ["daemon.api.socket"]
page = answers["Services/ListServices"]
rest = ok("Services/ListServices", {"page_size": 2, "page_token": page.next_page_token})
assert [one.name for one in list(page.services) + list(rest.services)] == ["mcq", "mcr", "web"]
assert not rest.next_page_token
# The answer to a question that nobody asked is refused by the run, not as malformed.
asked = methods["Runs/AnswerRun"]
status, told = call(asked, encoded(asked, {"run": run, "question": 1, "granted": True}))
assert (status, told.code) == ("FAILED_PRECONDITION", "MC-V014"), (status, told)
valid["Approvals/ListApprovals"] = {"all": True}
valid["Documents/ListDocuments"] = {"page_size": 1}
for name in ("Approvals/ListApprovals", "Documents/ListDocuments"):
    ok(name, valid[name])
valid["Approvals/GetApproval"] = {"approval": f"{run}-1"}
valid["Approvals/DecideApproval"] = {"approval": f"{run}-1", "verdict": "approved", "hash": "0" * 64}
valid["Documents/GetDocument"] = {"slug": "story"}
valid["Documents/MarkDocument"] = {"slug": "story", "is_read": True, "version": 1}
valid["Documents/DeleteDocument"] = {"slug": "story"}
valid["Runs/SubmitRun"] = script
valid["Runs/AnswerRun"] = {"run": run, "question": 1}
missing = sorted(set(methods) - set(valid))
assert not missing, f"calls without an example: {missing}"

# What is wrong, and the field that is to be named.
runs = [({"run": ""}, "run"), ({"run": "../etc/passwd"}, "run"), ({"run": "0" * 5000}, "run")]
token = [({"page_token": "made up"}, "page_token")]
malformed = {
    "Approvals/ListApprovals": token,
    "Approvals/DecideApproval": [
        ({"approval": f"{run}-1", "verdict": "perhaps", "hash": "0" * 64}, "verdict"),
        ({"approval": f"{run}-1", "verdict": "approved"}, "hash"),
        ({"approval": f"{run}-1", "verdict": "approved", "hash": "0" * 65}, "hash"),
        ({"approval": f"{run}-1", "verdict": "approved", "hash": "0" * 64, "comment": "x" * 3000}, "comment"),
    ],
    "Documents/ListDocuments": token,
    "Documents/GetDocument": [({}, "slug"), ({"slug": "a\nb"}, "slug"), ({"slug": "x" * 300}, "slug")],
    "Documents/MarkDocument": [({}, "slug")],
    "Documents/DeleteDocument": [({}, "slug")],
    "Daemon/Handshake": [({"version": "0.1.0"}, "protocol"), ({"protocol": 1}, "version"),
                         ({"version": "1" * 100, "protocol": 1}, "version")],
    "Events/EmitEvent": [({"name": ""}, "name"), ({"name": "a b"}, "name"), ({"name": "a", "data": "{"}, "data"),
                         ({"name": "a", "data": '"' + "x" * 70000 + '"'}, "data")],
    "Events/WatchEvents": [({"patterns": ["con*"]}, "patterns"), ({"patterns": ["a"] * 100}, "patterns")],
    "Identity/ListAccounts": token,
    "Identity/GetAccount": [({}, "account"), ({"account": "a\nb"}, "account"), ({"account": "x" * 65}, "account")],
    "Identity/EnsureAccount": [
        ({}, "account"), ({"account": "a", "kind": "robot"}, "kind"), ({"account": "a", "status": "gone"}, "status"),
        ({"account": "a", "email": "x" * 300}, "email"), ({"account": "a", "roles": {"words": ["root"]}}, "roles"),
        ({"account": "a", "groups": {"words": ["x"] * 65}}, "groups"), ({"account": "a", "tags": {"words": [""]}}, "tags"),
    ],
    "Identity/DisableAccount": [({}, "account")],
    "Identity/SetRole": [({}, "account"), ({"account": "a", "role": "root"}, "role")],
    "Identity/ListTokens": [({}, "account")],
    "Identity/IssueToken": [
        ({"service": "a"}, "account"), ({"account": "a"}, "service"), ({"account": "a", "service": "b", "id": "a b"}, "id"),
        ({"account": "a", "service": "b", "id": ""}, "id"),
    ],
    "Identity/RevokeToken": [({"id": "t"}, "account"), ({"account": "a"}, "id"), ({"account": "a", "id": "x" * 65}, "id")],
    "Identity/ValidateToken": [({"token": "x"}, "service"), ({"service": "a"}, "token"),
                               ({"service": "a", "token": "x" * 5000}, "token")],
    "Identity/GetRules": [({}, "set")],
    "Identity/EnsureRules": [({"rules": "[]"}, "set"), ({"set": "a", "rules": "x" * 70000}, "rules")],
    "Identity/ExplainSignIn": [
        ({"service": "a"}, "account"), ({"account": "a"}, "service"), ({"account": "a", "service": "b", "address": "here"}, "address"),
        ({"account": "a", "service": "b", "first_factor": "word"}, "first_factor"),
    ],
    "Playbooks/GetPlaybook": [({}, "name"), ({"name": "a\nb"}, "name"), ({"name": "x" * 300}, "name")],
    "Playbooks/ListVersions": [({}, "name")] + [(dict(fields, name="nightly"), field) for fields, field in token],
    "Playbooks/GetSources": [({"number": 1}, "name")],
    "Playbooks/StartPlaybook": [({"name": ""}, "name"), ({"name": "nightly", "params": "[1]"}, "params"),
                                ({"name": "nightly", "params": "{"}, "params"),
                                ({"name": "nightly", "key": "a b"}, "key"),
                                ({"name": "nightly", "key": ""}, "key")],
    "Playbooks/ListOccurrences": [({"next": 1000}, "next"), ({"name": ""}, "name")],
    "Runs/SubmitRun": [
        (dict(script, name=""), "name"), (dict(script, name="../a.lua"), "name"), (dict(script, source=""), "source"),
        (dict(script, source="x" * (2 << 20)), "source"), (dict(script, params="1"), "params"),
        (dict(script, modules={"../a.luau": "x"}), "modules"), (dict(script, modules={"/etc/a": "x"}), "modules"),
        (dict(script, modules={f"m{n}": "x" for n in range(1001)}), "modules"),
        (dict(script, args=["x"] * 2000), "args"), (dict(script, allow=[""]), "allow"),
        (dict(script, deny=["x\u0000"]), "deny"), (dict(script, limits=["x" * 100]), "limits"),
        (dict(script, key="x" * 200), "key"),
    ],
    "Runs/TakeRun": runs + [({"run": run, "doubts": [{"decision": "perhaps"}]}, "doubts.decision"),
                            ({"run": run, "limits": ["x" * 100]}, "limits")],
    "Runs/WatchRun": runs,
    "Runs/ListRuns": token + [({"state": "over"}, "state"), ({"playbook": ""}, "playbook")],
    "Runs/GetRun": runs + [(dict(fields, run=run), field) for fields, field in token],
    "Runs/CancelRun": runs,
    "Runs/InterruptRun": runs,
    "Runs/AnswerRun": runs,
    "Runs/ResumeRun": runs + [({"run": run, "limits": ["a"] * 100}, "limits")],
    "Runs/UndoRun": runs + [({"run": run, "allow": ["a\nb"]}, "allow"), ({"run": run, "deny": [""]}, "deny")],
    "Services/ListServices": token,
    "Services/GetService": [({}, "name")],
    "Services/OperateService": [({"operation": "stop"}, "name"), ({"name": "mcq", "operation": "halt"}, "operation")],
}
count = 0
for name, cases in malformed.items():
    for fields, field in cases:
        status, told = call(methods[name], encoded(methods[name], fields))
        shown = json.dumps(fields)[:200]
        assert status == "INVALID_ARGUMENT" and told is not None, f"{name} {shown}: {status} {told}"
        assert told.code == "MC-V005" and told.message.startswith(f"`{field}`"), f"{name} {shown}: {told}"
        count += 1

for name, method in methods.items():
    # Octets that are no message.
    status, told = call(method, b"\x0f\xff\xff")
    assert (status, told and told.code) == ("INVALID_ARGUMENT", "MC-V005"), f"{name}: {status} {told}"
    # A field that nobody knows, larger than any message may be.
    huge = encoded(method, valid[name]) + b"\xfa\x7f\x80\x80\x80\x05" + bytes(10 << 20)
    status, told = call(method, huge)
    assert (status, told and told.code) == ("RESOURCE_EXHAUSTED", "MC-V007"), f"{name}: {status} {told}"
    # One that is small is of a newer caller, and left alone.
    if name in ("Runs/ListRuns", "Services/GetService", "Playbooks/ListPlaybooks"):
        status, _ = call(method, encoded(method, valid[name]) + b"\xfa\x7f\x03abc")
        assert status == "OK", name

# What is not there.
for name, fields, code in [
    ("Runs/GetRun", {"run": "0000000000000"}, "MC-J008"),
    ("Playbooks/GetPlaybook", {"name": "nobody"}, "MC-L008"),
    ("Playbooks/GetSources", {"name": "nightly", "number": 99}, "MC-L009"),
    ("Services/GetService", {"name": "nobody"}, "MC-R001"),
    ("Identity/GetAccount", {"account": "nobody"}, "MC-W002"),
    ("Approvals/GetApproval", {"approval": f"{run}-1"}, "MC-P030"),
    ("Approvals/DecideApproval", valid["Approvals/DecideApproval"], "MC-P030"),
    ("Documents/GetDocument", {"slug": "nothing"}, "MC-P035"),
    ("Documents/MarkDocument", {"slug": "nothing"}, "MC-P035"),
    ("Documents/DeleteDocument", {"slug": "nothing"}, "MC-P035"),
]:
    status, told = call(methods[name], encoded(methods[name], fields))
    assert (status, told and told.code) == ("NOT_FOUND", code), f"{name}: {status} {told}"

# Errors of the rooms come through as they are.
submit = methods["Runs/SubmitRun"]
status, told = call(submit, encoded(submit, dict(script, source="syntax error")))
assert (status, told.code, list(told.details)) == ("INVALID_ARGUMENT", "MC-S001", ["bad.lua:1"]), (status, told)
start = methods["Playbooks/StartPlaybook"]
status, told = call(start, encoded(start, {"name": "nightly", "params": '{"forse": true}'}))
assert (status, told.code) == ("INVALID_ARGUMENT", "MC-L005") and "forse" in str(told), (status, told)

# A call of a newer version.
newer = channel.unary_unary("/mcrun.v1.Runs/DanceRun", lambda raw: raw, lambda raw: raw)
try:
    newer(b"")
    raise AssertionError("it danced")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error
    told = failure.FromString(dict(error.trailing_metadata())["mcrun-failure-bin"])
    assert told.code == "MC-V006" and "DanceRun" in told.message, told

# A stream ends when the caller's time is over.
events = methods["Events/WatchEvents"]
silent = channel.unary_stream("/mcrun.v1.Events/WatchEvents", lambda raw: raw, message_of(events.output_type).FromString)
try:
    for _ in silent(encoded(events, {"patterns": ["never.told"]}), timeout=1):
        raise AssertionError("it was told")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error

print(f"malformed: {count}")
print(f"calls: {len(methods)}")
