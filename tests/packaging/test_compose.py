"""The compose files: as the specification has them, and what they start and mount is what there is.

`compose_spec` reads them by the Compose specification: an unknown field or a value of the wrong type or form is an error.
What it does not look at is below: whether a volume or a service that is referred to is there, whether the image has the
program and the program the flag.
"""

import json
import os
import re
import subprocess
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import compose_spec
import pytest
import yaml

from chart import Rendered, example, flags, merged
from command_line import check_command, check_config
from graces import envoy_s, sidecar_s, spawned_s
from processes import ROOT, free_port

FOLDER = ROOT / "deploy/compose"
HOUSE = ROOT / "deploy/observability"
# What `kt gateway run` gives the requests that run, if nobody says another time.
DRAIN_S = 30
FILES = sorted(path.name for path in FOLDER.glob("docker-compose.*.yaml"))
# What runs with others beside it is checked with them.
TOGETHER = {"docker-compose.observability.yaml": ["docker-compose.quickstart.yaml"]}


def compose(name):
    """A file with its merge keys resolved, and those that it stands upon below it."""
    found = {"services": {}, "volumes": {}}
    for file in [*TOGETHER.get(name, []), name]:
        read = yaml.safe_load((FOLDER / file).read_text())
        for part in found:
            found[part] |= read.get(part, {})
    return found


def ours(name):
    """The services that run an image of this project, with the name of its layout."""
    for service, it in compose(name)["services"].items():
        repository, _, tag = it["image"].partition(":")
        if repository.startswith("keeptrusts/"):
            assert tag == "latest"
            yield service, repository.removeprefix("keeptrusts/"), it


@pytest.mark.parametrize("name", FILES)
def test_every_image_of_ours_is_one_that_a_daemon_builds_too(name):
    page = (ROOT / "docs/operations/compose.md").read_text()
    for service, image, _ in ours(name):
        assert (ROOT / f"deploy/Containerfile.{image}").exists(), service
        built = re.search(r"^    for name in (.*); do\n +docker build -f deploy/Containerfile.\$name ", page, re.MULTILINE)[1]
        assert image in built.split(), service


def read_by_specification(values):
    """A file, with its merge keys resolved, as the specification reads it."""
    read = compose_spec.PyCompose.from_json(json.dumps(values))
    read.validate()
    return read


def mounted(it):
    """What a service has of the repository's files, by the path inside."""
    parts = [volume.split(":") for volume in it.get("volumes", [])]
    return {part[1]: FOLDER / part[0] for part in parts if part[0].startswith(".")}


def found_at(it, path):
    """The repository's file that a service has at a path, by itself or in a folder."""
    [file] = [of / os.path.relpath(path, at) if of.is_dir() else of for at, of in mounted(it).items()
              if path == at or path.startswith(f"{at}/")]
    return file


def test_all_three_are_there():
    assert FILES == [f"docker-compose.{name}.yaml" for name in ("fleet", "observability", "quickstart")]


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_as_the_specification_has_it(name):
    text = (FOLDER / name).read_text()
    read = read_by_specification(yaml.safe_load(text))
    assert set(read.service_names()) == set(yaml.safe_load(text)["services"])


@pytest.mark.parametrize("field, value", [("healtcheck", {}), ("read_only", "maybe"), ("ports", ["http:41002"])])
def test_what_the_specification_does_not_know_is_found(field, value):
    values = yaml.safe_load((FOLDER / "docker-compose.quickstart.yaml").read_text())
    values["services"]["gw-a"][field] = value
    with pytest.raises(ValueError):
        read_by_specification(values)


@pytest.mark.parametrize("name", FILES)
def test_what_a_service_needs_of_others_is_there(name):
    found = compose(name)
    for service, it in found["services"].items():
        assert set(it.get("depends_on", [])) <= found["services"].keys(), service
        for path, file in mounted(it).items():
            assert file.exists(), f"{service} mounts {file} at {path}"
        for volume in it.get("volumes", []):
            assert volume.startswith(".") or volume.split(":")[0] in found["volumes"], volume


@pytest.mark.parametrize("name", FILES)
def test_a_command_is_one_that_the_image_s_program_has(name, layouts):
    for service, image, it in ours(name):
        entrypoint = layouts[image].tagged().config["config"]["Entrypoint"]
        check_command(os.path.basename(entrypoint[0]), it["command"])
        listens = flags(it["command"])["--listen"]
        published = {port.rsplit(":", 1)[1] for port in it["ports"]}
        assert published == {listens.rpartition(":")[2]} and listens.startswith("0.0.0.0:"), service


@pytest.mark.parametrize("name", FILES)
def test_a_mounted_configuration_is_one_that_kt_takes_with_the_variables_that_are_set(name, tmp_path):
    for service, _, it in ours(name):
        if "--policy-config" in it["command"]:
            file = found_at(it, flags(it["command"])["--policy-config"])
            check_config(file.read_text(), tmp_path)
            targets = yaml.safe_load(file.read_text())["providers"]["targets"]
            wanted = {target["secret_key_ref"]["env"] for target in targets if "secret_key_ref" in target}
            assert wanted <= it.get("environment", {}).keys(), service


@pytest.mark.parametrize("name", FILES)
def test_a_health_check_uses_what_is_in_the_image(name, layouts):
    for service, image, it in ours(name):
        if "healthcheck" in it:
            how, program, *arguments = it["healthcheck"]["test"]
            files = {file.name for file in layouts[image].tagged().files}
            assert how == "CMD" and f"usr/bin/{program}" in files, service
            assert arguments[-1] == f"http://localhost:{flags(it['command'])['--listen'].rpartition(':')[2]}/health"


@pytest.mark.parametrize("name", FILES)
def test_a_container_is_closed_and_has_time_to_drain(name, layouts):
    for service, image, it in ours(name):
        assert it["read_only"] and it["cap_drop"] == ["ALL"] and it["security_opt"] == ["no-new-privileges:true"]
        if image != "fake-provider":
            # A gateway that has spawned its sidecar waits for its end as well.
            spawned = image == "gateway" and "--sidecar" not in it["command"]
            of_gateway = DRAIN_S + envoy_s() + (sidecar_s() if spawned else 0)
            needed = of_gateway if image == "gateway" else sidecar_s()
            assert int(it["stop_grace_period"].removesuffix("s")) >= needed, service


def test_a_gateway_waits_as_long_for_a_sidecar_of_its_own_as_that_may_take():
    assert spawned_s() >= sidecar_s()


@pytest.mark.parametrize("name", FILES)
def test_what_a_container_writes_lies_in_a_volume(name, layouts):
    for service, image, it in ours(name):
        # What a program writes lies in a volume; without a folder of its own, in its working folder.
        volumes = {volume.split(":")[1] for volume in it.get("volumes", [])}
        said = flags(it["command"])
        written = [said[flag] for flag in ("--run-dir", "--data-dir") if flag in said]
        if image == "gateway" and not written:
            written = [layouts[image].tagged().config["config"]["WorkingDir"]]
        for path in written:
            assert any(path == volume or path.startswith(f"{volume}/") for volume in volumes), (service, path)


def test_the_fleet_has_the_names_of_the_reference():
    found = compose("docker-compose.fleet.yaml")["services"]
    assert list(found) == ["gateway-alpha", "gateway-beta"]
    for (service, it), team, port in zip(found.items(), ("ALPHA", "BETA"), ("41002", "41003")):
        assert it["image"] == "keeptrusts/gateway:latest"
        assert it["command"] == ["gateway", "run", "--listen", "0.0.0.0:41002", "--policy-config",
                                 "/etc/keeptrusts/policy-config.yaml"]
        assert {"KEEPTRUSTS_API_URL", "KEEPTRUSTS_GATEWAY_TOKEN", f"TEAM_{team}_OPENAI_KEY"} <= it["environment"].keys()
        assert f"TEAM_{team}_GW_KEY" in it["environment"]["KEEPTRUSTS_GATEWAY_TOKEN"]
        assert f"./team-{team.lower()}/policy-config.yaml:/etc/keeptrusts/policy-config.yaml:ro" in it["volumes"]
        assert it["ports"] == [f"{port}:41002"]
        assert it["healthcheck"] == {"test": ["CMD", "curl", "-f", "http://localhost:41002/health"],
                                     "interval": "15s", "timeout": "5s", "retries": 3}


def test_the_page_s_look_at_the_fleet_says_who_is_well_and_who_is_not_there():
    page = (ROOT / "docs/operations/compose.md").read_text()
    [loop] = re.findall(r"^    for gateway in localhost:41002 localhost:41003; do\n.*?^    done\n", page, re.MULTILINE | re.DOTALL)
    served = b'{"status":"starting"}'

    class Health(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(503)
            self.send_header("content-length", str(len(served)))
            self.end_headers()
            self.wfile.write(served)

        def log_message(self, *_):
            """Says nothing."""
    nobody = free_port()
    with HTTPServer(("127.0.0.1", 0), Health) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        here = loop.replace("localhost:41002", f"127.0.0.1:{server.server_port}").replace("localhost:41003", f"127.0.0.1:{nobody}")
        said = subprocess.run(["bash", "-c", here], capture_output=True, text=True, timeout=30)
        server.shutdown()
    assert said.stdout.split() == [f"127.0.0.1:{server.server_port}:", "starting", f"127.0.0.1:{nobody}:", "unreachable"], said


def test_prometheus_scrapes_where_metrics_are():
    found = compose("docker-compose.observability.yaml")["services"]
    served = set()
    for service, image, it in ours("docker-compose.observability.yaml"):
        said = flags(it["command"])
        if image != "fake-provider":
            served.add(f"{service}:{(said.get('--metrics') or said['--listen']).rpartition(':')[2]}")
    scraped = yaml.safe_load((FOLDER / "observability/prometheus.yaml").read_text())["scrape_configs"]
    assert {target for job in scraped for it in job["static_configs"] for target in it["targets"]} == served
    provisioning = HOUSE / "grafana/provisioning"
    assert mounted(found["grafana"])["/etc/grafana/provisioning"].resolve() == provisioning
    [source] = yaml.safe_load((provisioning / "datasources/prometheus.yaml").read_text())["datasources"]
    host, port = re.fullmatch(r"http://([a-z]+):(\d+)", source["url"]).groups()
    assert host in found and found[host]["ports"] == [f"127.0.0.1:{port}:{port}"]


def test_grafana_asks_everybody_who_they_are():
    grafana = compose("docker-compose.observability.yaml")["services"]["grafana"]["environment"]
    assert grafana["GF_SECURITY_ADMIN_PASSWORD"].startswith("${GRAFANA_PASSWORD:?")
    assert not any(name.startswith("GF_AUTH_ANONYMOUS") for name in grafana)


def test_rules_and_dashboards_find_what_is_scraped_whoever_scrapes_it():
    readers = [HOUSE / "rules/alerts.yaml", *HOUSE.glob("grafana/dashboards/*.json")]
    asked = {job for it in readers for job in re.findall(r'job=\\?"([^"\\]+)\\?"', it.read_text())}
    house, quickstart = (yaml.safe_load(path.read_text()) for path in (
        HOUSE / "prometheus.yaml", FOLDER / "observability/prometheus.yaml"))
    [monitor] = Rendered(merged(example("hosted"), {"serviceMonitor": {"enabled": True}})).of("ServiceMonitor")
    relabeled = {it["port"]: {to["targetLabel"]: to["replacement"] for to in it["relabelings"]}
                 for it in monitor["spec"]["endpoints"]}
    assert asked == {"kt-gateway", "kt-sidecar"} == {job["job_name"] for job in house["scrape_configs"]}
    assert relabeled == {"metrics": {"job": "kt-gateway", "group": "kt"},
                         "sidecar-health": {"job": "kt-sidecar", "group": "kt"}}
    # Who copies the jobs into a Prometheus of their own has not its global interval, which is a minute if it says none.
    intervals = {job.get("scrape_interval") for job in house["scrape_configs"]}
    assert intervals == {it["interval"] for it in monitor["spec"]["endpoints"]}
    # Compose has other targets and nothing else of its own.
    for config in (house, quickstart):
        assert all(it["labels"]["group"] for job in config["scrape_configs"] for it in job.pop("static_configs"))
    assert house == quickstart
