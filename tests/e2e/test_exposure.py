"""What can be reached and read from where: sockets, ports, logs, Envoy's own view of its configuration."""

import json
import stat
import uuid
from pathlib import Path

import httpx

from answers import assert_hit, assert_miss, assert_refused
from group import UPSTREAM_KEY, chat
from processes import wait_until


def test_sockets_and_keys_are_for_their_owner_alone(group):
    sockets = [group.sidecar.socket, Path(f"{group.sidecar.socket}.admin")]
    for gateway in group.gateways:
        found = list(gateway.run_dir.glob("*.sock"))
        assert len(found) >= 2, found
        sockets += found
    files = [path for path in (group.sidecar.folder / "data").iterdir()]
    assert files
    for path in [*sockets, *files]:
        mode = path.stat().st_mode
        assert stat.S_IMODE(mode) & 0o077 == 0, f"{path} has mode {stat.filemode(mode)}"


def test_the_sidecars_port_tells_health_and_metrics_and_nothing_else(group):
    base = f"http://127.0.0.1:{group.sidecar.port}"
    assert group.sidecar.health().json()["status"] == "ok"
    for method, path in [("GET", "/v1/status"), ("GET", "/v1/keys"), ("POST", "/v1/keys"), ("POST", "/v1/admit"),
                         ("POST", "/v1/feed"), ("POST", "/v1/principal"), ("POST", "/v1/explain"),
                         ("POST", "/v1/chat/completions")]:
        reply = httpx.request(method, base + path, json={}, headers={"x-kt-ticket": "x"}, timeout=10)
        assert reply.status_code in (404, 405), (path, reply.status_code)


def test_the_metrics_count_what_happened(group, key, prompt):
    names = ["llm_requests", "llm_cache_hits", "kt_fills", "kt_lookups"]
    before = {name: group.sidecar.metric(name) for name in names}
    assert_miss(group.a.ask(key, prompt))
    assert_hit(group.b.ask(key, prompt))
    for name in names:
        assert group.sidecar.metric(name) > before[name], name


def test_a_gateway_opens_one_port_and_that_is_its_own(group):
    for gateway in group.gateways:
        [envoy] = gateway.envoys()
        assert listening_ports(envoy.pid) == {gateway.port}


def listening_ports(pid):
    """The TCP ports on which a process listens."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            inodes.add(str(entry.readlink()).removeprefix("socket:[").removesuffix("]"))
        except OSError:
            continue
    ports = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


def test_no_credential_and_no_prompt_is_in_any_log(group, key, prompt):
    said = f"{prompt} a-very-private-thing"
    assert_miss(group.a.ask(key, said))
    group.b.ask(key, said)
    group.a.ask(None, said, headers={"authorization": f"Bearer {key.secret}x"})
    for process in group.processes():
        text = process.log.read_text(errors="replace")
        for secret in [key.secret, UPSTREAM_KEY, "a-very-private-thing"]:
            assert secret not in text, f"{process.name} logs {secret}"


def test_the_request_log_names_the_key_and_the_model_of_whoever_is_refused(group, key, prompt):
    asked = f"no-such-{uuid.uuid4()}"
    refused = group.a.ask(key, {**chat(prompt), "model": asked})
    assert_refused(refused, 404, "model_not_found")
    answered = assert_miss(group.a.ask(key, prompt))
    for answer, model, code in [(refused, asked, "model_not_found"), (answered, "gpt-4o", None)]:
        line = logged(group.a, answer.headers["x-request-id"])
        assert (line["key_id"], line["org_id"], line["user_id"]) == (key.key_id, "acme", "ada"), line
        assert (line["model"], line["code"], line["status"]) == (model, code, answer.status), line


def logged(gateway, request_id):
    """The ingress log's line of a request, once Envoy has written it."""
    found = []

    def is_there():
        for line in gateway.process.log.read_text(errors="replace").splitlines():
            if request_id in line and line.startswith("{") and json.loads(line).get("log") == "ingress":
                found.append(json.loads(line))
        return bool(found)
    wait_until(is_there, f"the log has {request_id}")
    return found[0]


def test_no_credential_is_in_envoys_configuration_or_in_a_command_line(group, key):
    for gateway in group.gateways:
        transport = httpx.HTTPTransport(uds=str(gateway.run_dir / "envoy-admin.sock"))
        with httpx.Client(transport=transport, base_url="http://envoy", timeout=10) as admin:
            dump = admin.get("/config_dump").text
        assert '"@type"' in dump
        assert UPSTREAM_KEY not in dump and key.secret not in dump
        for member in gateway.process.family():
            assert UPSTREAM_KEY.encode() not in Path(f"/proc/{member.pid}/cmdline").read_bytes()
        for path in gateway.run_dir.rglob("*"):
            if path.is_file() and UPSTREAM_KEY in path.read_text(errors="replace"):
                assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
