"""`kt` against a running group."""

import json
import socket
import uuid

from answers import assert_hit, assert_miss, assert_refused
from group import Key, chat, environment
from processes import Process, wait_until


def test_status_names_every_gateway_and_says_what_is_enabled(group):
    text = group.kt("gateway", "status").stdout
    assert "cache=enabled" in text and "fabric=detached" in text
    for word in ["gw-a", "gw-b", "primary", "fallback", "e2e-group", group.sidecar.status()["snapshot"]]:
        assert word in text, text
    as_json = json.loads(group.kt("gateway", "status", "--json").stdout)
    assert {gateway["gateway"]["id"] for gateway in as_json["gateways"]} == {"gw-a", "gw-b"}


def test_a_key_lives_from_create_to_revoke(group, prompt):
    team = f"team-{uuid.uuid4().hex[:8]}"
    made = group.kt("key", "create", "--org", "acme", "--team", team, "--user", "ada", "--agent", "coder",
                    "--group", "g", "--codebase", "acme/web", "--entitlement", "eu")
    secret = next(word for word in made.stdout.split() if word.startswith("kt_gk_"))
    listed = group.kt("key", "list").stdout
    assert secret not in listed
    [line] = [line for line in listed.splitlines() if team in line]
    for word in ["acme", "ada", "coder", "acme/web", "eu", "valid"]:
        assert word in line, line
    key_id = next(word for word in line.split() if word.startswith("gk_"))
    key = Key(key_id, secret)
    assert_miss(group.a.ask(key, prompt))
    group.kt("key", "revoke", key_id)
    wait_until(lambda: group.a.ask(key, prompt).status == 401, "the key is refused", 10)
    assert_refused(group.a.ask(key, prompt), 401, "revoked_api_key")
    [line] = [line for line in group.kt("key", "list").stdout.splitlines() if team in line]
    assert "revoked" in line, line


def test_explain_says_hit_or_miss_and_why(group, key, prompt):
    body = chat(prompt)
    file = group.folder / "request.json"
    file.write_text(json.dumps(body))

    def explain(*more, stdin=None):
        return group.kt("explain", "--key", key.key_id, *more, stdin=stdin).stdout
    expected = group.sidecar.explain(key, "gw-a", body)["key"]
    texts = [explain("--gateway", gateway.id, file) for gateway in group.gateways]
    for text in texts:
        assert expected in text and "miss" in text and "request" in text, text
    paid = assert_miss(group.a.ask(key, body))
    assert_hit(group.b.ask(key, body), of=paid)
    assert "hit" in explain("-", stdin=json.dumps(body))
    # Against another key: which gate keeps the two apart.
    other = group.key(org="somebody-else")
    text = explain("--against", other.key_id, file)
    assert "org" in text, text


def test_config_check_warns_of_what_the_file_does_not_mean(group):
    path = group.folder / "fabric.yaml"
    path.write_text(json.dumps({**group.config, "fabric": {"enabled": True}}))
    checked = group.kt("config", "check", path)
    said = checked.stdout + checked.stderr
    # A gateway that spawns its own sidecar is local, and there is no fabric yet.
    assert "private_edge_cache" in said and "fabric" in said, said


def test_config_check_accepts_the_running_file_and_names_what_is_wrong(group):
    assert group.kt("config", "check", group.config_path).returncode == 0
    bad = group.folder / "bad.yaml"
    bad.write_text("providers:\n  targets:\n    - id: x\n      provder: openai\n")
    refused = group.kt("config", "check", bad, check=False)
    assert refused.returncode != 0
    said = refused.stdout + refused.stderr
    assert "bad.yaml:4" in said and "provder" in said and "did you mean 'provider'" in said, said


def test_what_is_configured_and_not_built_stops_a_gateway_by_name(group):
    config = {**group.config, "routes": [{"name": "coding"}]}
    path = group.folder / "routes.yaml"
    path.write_text(json.dumps(config))
    for command in (["config", "check", path],
                    ["gateway", "run", "--listen", "127.0.0.1:0", "--policy-config", path, "--sidecar",
                     group.sidecar.socket, "--run-dir", group.folder / "never"]):
        refused = group.kt(*command, check=False)
        assert refused.returncode != 0
        assert "routes" in refused.stdout + refused.stderr


def test_a_port_that_is_taken_is_said_clearly(group):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        second = Process("second", [
            *group.a.process.argv[:3], "--listen", f"127.0.0.1:{port}", "--policy-config", group.config_path,
            "--sidecar", group.sidecar.socket, "--id", "second", "--run-dir", group.folder / "second",
        ], group.folder / "second.log", env=environment())
        second.start()
        try:
            wait_until(lambda: not second.is_alive(), "the second gateway gives up", 20)
        finally:
            second.kill()
    assert str(port) in second.tail() and "in use" in second.tail(), second.tail()


def test_an_envoy_that_is_missing_is_said_clearly(group):
    refused = group.kt("gateway", "run", "--listen", "127.0.0.1:0", "--policy-config", group.config_path,
                       "--sidecar", group.sidecar.socket, "--run-dir", group.folder / "none",
                       "--envoy", "/nowhere/envoy", check=False)
    assert refused.returncode != 0
    assert "/nowhere/envoy" in refused.stdout + refused.stderr


def test_a_second_sidecar_on_the_same_socket_is_refused(group):
    before = group.sidecar.status()["epoch"]
    second = Process("second-sidecar", group.sidecar._argv[:-1] + ["none"], group.folder / "second-sidecar.log")
    second.start()
    try:
        wait_until(lambda: not second.is_alive(), "the second sidecar gives up", 20)
    finally:
        second.kill()
    assert "another sidecar listens on" in second.tail(), second.tail()
    assert group.sidecar.status()["epoch"] == before
