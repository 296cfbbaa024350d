"""`kt doctor` at a real group: it finds nothing where nothing is wrong, and each mistake that is made."""

import copy
import json
import os
import shutil
import socket
import subprocess

import pytest

from fleet import Fleet
from group import FOUR, Group
from processes import Process, binary_dir, envoy, free_port, wait_until
from test_faults import faketime
from test_shared_cache import Shared

MANAGER = ("filter_chains", 0, "filters", 0, "typed_config")


@pytest.fixture(scope="module")
def group():
    # A port of its own: whoever else runs something on the usual one is not this test's business.
    with Group({"gateway": {"port": free_port()}}) as group:
        yield group


def doctor(group, *more, file=None, env=None):
    """The checks by name and what they are of, and the exit code."""
    done = group.kt("doctor", "--json", "--policy-config", file or group.config_path,
                    "--data-dir", group.folder / "data", *more, check=False, env=env)
    assert done.returncode in (0, 1), done.stderr
    checks = json.loads(done.stdout)["checks"]
    assert any(check["state"] == "fail" for check in checks) == (done.returncode == 1), done.stdout
    for check in checks:
        assert ("mend" in check) == (check["state"] in ("warn", "fail")), check
    return {(check["name"], check.get("of")): check for check in checks}, done.returncode


def envoy_of(group, version):
    """A program that says it is this version of Envoy."""
    program = group.folder / f"envoy-{version}"
    program.write_text(f"#!/bin/sh\necho 'envoy  version: abc/{version}/Clean/RELEASE/BoringSSL'\n")
    program.chmod(0o755)
    return program


def bad(checks):
    """What is wrong. How full the disk of this machine is, is no test's business."""
    return {name: check["state"] for (name, _), check in checks.items()
            if check["state"] in ("warn", "fail") and name != "data folder"}


def within(value, path):
    for step in path:
        value = value[step]
    return value


def test_a_group_that_is_well_has_nothing_to_mend(group):
    wait_until(lambda: len(group.sidecar.status()["gateways"]) == 2, "both gateways have asked for news")
    checks, code = doctor(group)
    assert (bad(checks), code) == ({}, 0), checks
    # What both Envoys run was asked for by itself, and looked through.
    for gateway in group.gateways:
        assert checks[("allow_on_headers_stop_iteration", gateway.id)]["state"] == "ok", checks
        assert checks[("callouts", gateway.id)]["state"] == "ok", checks
        assert "Envoy 1." in checks[("running envoy", gateway.id)]["seen"], checks
    told = group.kt("doctor", "--policy-config", group.config_path, "--data-dir", group.folder / "data").stdout
    assert "ok       sidecar: one listens on" in told and "0 to look at, 0 failed" in told, told


def test_a_question_that_makes_no_sense_is_told_apart_from_a_mistake(group):
    assert group.kt("doctor", "--no-such-thing", check=False).returncode == 2


def test_what_is_configured_and_what_runs_are_compared(group):
    other = group.folder / "other.yaml"
    other.write_text(json.dumps({**group.config, "gateway": {**group.config["gateway"], "request_bytes_max": 4096}}))
    checks, code = doctor(group, file=other)
    assert code == 0 and bad(checks) == {"file": "warn"}, checks
    assert f"kt config diff {other}" in checks[("file", None)]["mend"]
    other.write_text("gateway: {prot: 1}\n")
    checks, code = doctor(group, file=other)
    assert code == 1 and bad(checks)["configuration"] == "fail", checks


def test_a_file_that_the_sidecar_has_refused_is_found(group):
    group.write_config({**group.config, "gateway": {"prot": 1}})
    wait_until(lambda: group.sidecar.status()["config_errors"], "the sidecar has refused the file")
    try:
        checks, code = doctor(group)
        assert code == 1 and bad(checks)["configuration in force"] == "fail", checks
        assert "prot" in checks[("configuration in force", None)]["seen"], checks
    finally:
        group.write_config(group.config)
        wait_until(lambda: not group.sidecar.status()["config_errors"], "the sidecar has its file again")


def test_a_socket_that_others_may_open_is_found(group):
    os.chmod(group.sidecar.socket, 0o666)
    try:
        checks, code = doctor(group)
        assert code == 1 and bad(checks) == {"socket permissions": "fail"}, checks
        assert f"chmod 600 {group.sidecar.socket}" in checks[("socket permissions", None)]["mend"]
    finally:
        os.chmod(group.sidecar.socket, 0o600)


def test_a_clock_that_is_off_is_found(group):
    # A real Envoy hangs under this library, which it would inherit.
    checks, code = doctor(group, "--envoy", envoy_of(group, "1.40.0"), env={
        "LD_PRELOAD": str(faketime()), "FAKETIME": "+3m",
        # Patience is measured on the other clock.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    })
    assert code == 1 and set(bad(checks)) == {"clock"}, checks
    clocks = {of for name, of in checks if name == "clock"}
    assert clocks == {"the sidecar", "gw-a", "gw-b"} and "behind" in checks[("clock", "gw-a")]["seen"], checks


class Ahead(Fleet):
    """A gateway with a sidecar whose machine's clock is three minutes ahead of the database's."""

    def environment(self, sidecar):
        return {**super().environment(sidecar), "LD_PRELOAD": str(faketime()), "FAKETIME": "+3m",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def test_a_clock_that_is_not_the_databases_is_found():
    with Ahead({"gateway": {"port": free_port()}}, gateways=FOUR[:1]) as fleet:
        wait_until(lambda: 179 < fleet.sidecar.gauge("kt_database_clock_ahead_seconds") < 181, "the metric tells how far")
        checks, _ = doctor(fleet)
        found = checks[("postgres", None)]
        assert found["state"] == "warn" and "s ahead of the database's: set both by NTP" in found["seen"], found
        assert "timedatectl" in found["mend"], found


def test_a_credential_that_is_not_here_is_found(group):
    checks, code = doctor(group, env={"E2E_UPSTREAM_KEY": ""})
    assert code == 0 and bad(checks) == {"credentials": "warn"}, checks


def holds_less(ingress):
    """Envoy 1.36 goes by the first of the two, newer ones by the second."""
    ingress["per_connection_buffer_limit_bytes"] = 65536
    within(ingress, MANAGER)["route_config"]["virtual_hosts"][0]["request_body_buffer_limit"] = 65536


def trusts_everybody(ingress):
    """Certificates say who a client is, and nobody has signed them."""
    manager = within(ingress, MANAGER)
    manager["http_filters"].insert(0, {"name": "peer_uris", "typed_config": {
        "on_request_headers": [{"object_key": "kt.peer_uris"}]}})
    ingress["filter_chains"][0]["transport_socket"] = {"typed_config": {"common_tls_context": {"validation_context": {
        "trusted_ca": {"filename": "/ca.pem"}, "trust_chain_verification": "ACCEPT_UNTRUSTED"}}}}


PLANTED = {
    "client certificates": lambda it: trusts_everybody(it["ingress"]),
    "allow_on_headers_stop_iteration": lambda it: it["filter"].pop("allow_on_headers_stop_iteration"),
    "failure_policy": lambda it: it["filter"].pop("failure_policy"),
    "request body limit": lambda it: holds_less(it["ingress"]),
    "egress body limit": lambda it: it["egress"].pop("request_body_buffer_limit"),
    "sidecar keepalive": lambda it: it["lane"].pop("connection_keepalive"),
}


def planted(group, name):
    """The configuration that kt has rendered for gateway a, with one mistake."""
    config = json.loads((group.a.run_dir / "envoy.json").read_text())
    ingress, egress = config["static_resources"]["listeners"][:2]
    lane = next(it for it in config["static_resources"]["clusters"] if it["name"] == "kt_lane")
    options = lane["typed_extension_protocol_options"]["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"]
    filters = within(ingress, MANAGER)["http_filters"]
    PLANTED.get(name, lambda it: None)({
        "filter": next(it for it in filters if it["name"] == "kt")["typed_config"]["config"],
        "ingress": ingress,
        "egress": within(egress, MANAGER)["route_config"]["virtual_hosts"][0],
        "lane": options["explicit_http_config"]["http2_protocol_options"],
    })
    return config


@pytest.mark.parametrize("name", PLANTED)
def test_a_mistake_in_a_file_for_envoy_is_found(group, name):
    file = group.folder / "envoy.json"
    file.write_text(json.dumps(planted(group, name)))
    checks, _ = doctor(group, "--sidecar", "none", "--envoy-config", file)
    assert list(bad(checks)) == [name], checks
    file.write_text(json.dumps(planted(group, None)))
    checks, code = doctor(group, "--sidecar", "none", "--envoy-config", file)
    assert (bad(checks), code) == ({}, 0), checks


def test_who_looks_at_an_envoy_from_a_place_without_one_misses_none(group, tmp_path):
    """As in the container of a mesh's sidecar, which has `kt` and neither an Envoy nor the module."""
    program, file = tmp_path / "kt", tmp_path / "envoy.json"
    shutil.copy(binary_dir() / "kt", program)
    file.write_text(json.dumps(planted(group, None)))

    def doctor(*more):
        done = subprocess.run([program, "doctor", "--json", "--sidecar", "none", *more], cwd=tmp_path, env={"PATH": ""},
                              capture_output=True, text=True, timeout=60)
        checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
        return [checks[name]["state"] for name in ("envoy", "filter module")]
    assert doctor("--envoy-config", file) == ["skipped", "skipped"]
    assert doctor() == ["fail", "fail"], "whoever looks at no other Envoy would start one here"
    old = envoy_of(group, "1.35.9")
    assert doctor("--envoy-config", file, "--envoy", old, "--filter", tmp_path / "none") == ["fail", "fail"], "what is named is looked at"


def test_a_patch_for_a_mesh_is_no_configuration_of_an_envoy(group):
    file = group.folder / "patch.yaml"
    file.write_text("apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nspec: {}\n")
    checks, code = doctor(group, "--sidecar", "none", "--envoy-config", file)
    assert code == 1 and "--envoy-admin" in checks[("envoy configuration", str(file))]["seen"], checks


def test_the_mistakes_of_a_running_envoy_are_found(group):
    config = copy.deepcopy(planted(group, "failure_policy"))
    folder = group.folder / "x"
    folder.mkdir()
    config["admin"]["address"]["pipe"]["path"] = str(folder / "admin.sock")
    ingress, egress = config["static_resources"]["listeners"][:2]
    ingress["address"]["socket_address"]["port_value"] = free_port()
    egress["address"]["pipe"]["path"] = str(folder / "egress.sock")
    holds_less(ingress)
    (folder / "envoy.json").write_text(json.dumps(config))
    process = Process("planted", [
        envoy(), "--config-path", folder / "envoy.json", "--concurrency", "1", "--disable-hot-restart",
    ], folder / "envoy.log")
    process.start()
    try:
        wait_until((folder / "admin.sock").exists, "Envoy has its admin socket")

        def found():
            checks, _ = doctor(group, "--envoy-admin", folder / "admin.sock")
            return bad(checks) == {"failure_policy": "fail", "request body limit": "fail"}
        wait_until(found, "both mistakes are found")
    finally:
        process.kill()


def test_an_envoy_that_is_too_old_is_found_with_the_command_that_gets_another(group):
    checks, code = doctor(group, "--sidecar", "none", "--envoy", envoy_of(group, "1.35.9"))
    assert code == 1 and bad(checks) == {"envoy": "fail"}, checks
    assert "1.35.9" in checks[("envoy", None)]["seen"] and "pip install" in checks[("envoy", None)]["mend"]


def test_stores_that_are_set_up_badly_or_gone_are_found_as_the_sidecar_sees_them():
    def found(state, seen, name="redis"):
        checks, _ = doctor(group)
        of_store = checks[(name, None)]
        return of_store["state"] == state and seen in of_store["seen"] and of_store
    with Shared() as group:
        # That it has no bound, or evicts nothing, is found when it is full, unless somebody looks before.
        assert found("warn", "no maxmemory"), doctor(group)
        assert found("ok", "the shared database answers", "postgres"), doctor(group)
        ask(group.redis_port, "CONFIG SET maxmemory 104857600")
        wait_until(lambda: found("warn", "noeviction"), "the sidecar has looked again", 30)
        assert "allkeys-lru" in found("warn", "evicts nothing")["mend"]
        ask(group.redis_port, "CONFIG SET maxmemory-policy allkeys-lru")
        wait_until(lambda: found("ok", "maxmemory 104857600 bytes, allkeys-lru"), "it has seen the mend", 30)
        group.redis.kill()
        wait_until(lambda: found("fail", f"redis at 127.0.0.1:{group.redis_port} is away"), "it misses Redis")
        group.database.kill()
        wait_until(lambda: found("fail", "has not answered for", "postgres"), "it misses the database")
        group.database.start()
        wait_until(lambda: found("ok", "the shared database answers", "postgres"), "the database is back", 60)


def ask(port, command):
    """One command, as a person types it."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(f"{command}\r\n".encode())
        assert connection.recv(64) == b"+OK\r\n", command


def test_a_port_that_something_else_has_is_found(group):
    # The provider answers HTTP, and is no gateway.
    config = {**group.config, "gateway": {**group.config["gateway"], "port": group.provider.port}}
    file = group.folder / "port.yaml"
    file.write_text(json.dumps(config))
    checks, code = doctor(group, "--sidecar", "none", file=file)
    assert code == 1 and bad(checks) == {"port": "fail"}, checks


def test_a_gateway_and_a_sidecar_that_are_gone_are_found(group):
    group.b.process.kill()

    def lost():
        checks, code = doctor(group)
        return (bad(checks), code) == ({"gateway": "warn"}, 0) and ("running envoy", "gw-b") not in checks
    wait_until(lost, "the gateway is missed, and its Envoy not asked for")
    group.sidecar.process.freeze()
    checks, code = doctor(group)
    assert code == 1 and "does not answer" in checks[("sidecar", None)]["seen"], checks
    group.sidecar.process.kill()
    checks, code = doctor(group)
    assert code == 1 and bad(checks) == {"sidecar": "fail"}, checks
    start = f"sidecar-cache --policy-config {group.config_path} --socket {group.sidecar.socket}"
    assert start in checks[("sidecar", None)]["mend"], checks
