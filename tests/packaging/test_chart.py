"""The Helm chart: what it renders is valid, runs as nobody, starts and ends in order, and refuses what would go wrong."""

import json

import helm_python as helm
import jsonschema
import kubernetes_validate
import pytest
import yaml

from chart import CHART, TOPOLOGIES, Rendered, containers, example, flags, merged
from command_line import check_command, check_config
from graces import envoy_s, sidecar_s
from processes import ROOT

# The oldest that Chart.yaml allows, and the newest whose schemas there are.
VERSIONS = ["1.30", kubernetes_validate.latest_version()]


@pytest.fixture(scope="module", params=TOPOLOGIES)
def release(request):
    return Rendered(example(request.param))


def everything():
    """Each switch of the chart, on."""
    return merged(example("hybrid"), {
        "autoscaling": {"enabled": True, "extraMetrics": [{"type": "Resource", "resource": {
            "name": "memory", "target": {"type": "Utilization", "averageUtilization": 80}}}]},
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "persistence": {"enabled": True, "storageClass": "fast"},
        "restartOnConfigChange": True,
        "images": {"gateway": {"digest": "sha256:" + "0" * 64}},
        "imagePullSecrets": [{"name": "registry"}],
        "gateway": {"extraEnv": [{"name": "A", "value": "1"}], "extraVolumeMounts": [{"name": "ca", "mountPath": "/ca"}]},
        "sidecar": {"extraEnv": [{"name": "B", "value": "1"}], "extraVolumeMounts": [{"name": "ca", "mountPath": "/ca"}]},
        "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
        "podAnnotations": {"a": "b"}, "podLabels": {"c": "d"}, "priorityClassName": "high",
        "nodeSelector": {"disk": "ssd"}, "tolerations": [{"key": "k", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "service": {"annotations": {"e": "f"}}, "serviceAccount": {"annotations": {"g": "h"}},
        "otlp": {"endpoint": "http://otel-collector.observability:4318", "traceRatio": 0.1},
        "networkPolicy": {"extraEgress": [{"ports": [{"port": 4317}]}]},
    })


def exactly(required, **properties):
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


TEXT = {"type": "string", "minLength": 1}
# What the chart uses of the Prometheus operator's resource, by its API reference. A field beside these is an error.
SERVICE_MONITOR = exactly(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "monitoring.coreos.com/v1"},
    kind={"const": "ServiceMonitor"},
    metadata=exactly(["name", "labels"], name=TEXT, labels={"type": "object", "additionalProperties": TEXT}),
    spec=exactly(
        ["selector", "endpoints"],
        selector=exactly(["matchLabels"], matchLabels={"type": "object", "additionalProperties": TEXT}),
        sampleLimit={"type": "integer", "minimum": 1},
        labelLimit={"type": "integer", "minimum": 1},
        endpoints={"type": "array", "minItems": 1, "items": exactly(
            ["port", "path"],
            port=TEXT,
            path=TEXT,
            interval={"type": "string", "pattern": r"^[0-9]+(ms|s|m|h)$"},
            relabelings={"type": "array", "items": exactly(
                ["targetLabel", "replacement"], targetLabel=TEXT, replacement=TEXT)},
            metricRelabelings={"type": "array", "items": exactly(
                ["sourceLabels", "regex", "action"], sourceLabels={"type": "array", "minItems": 1, "items": TEXT}, regex=TEXT,
                action={"const": "drop"})},
        )},
    ),
)


def validate(document):
    if document["kind"] == "ServiceMonitor":
        jsonschema.validate(document, SERVICE_MONITOR)
    else:
        for version in VERSIONS:
            kubernetes_validate.validate(document, version, strict=True)


def test_a_release_is_scraped_within_the_bounds_of_any_other_group():
    jobs = {it["job_name"]: it for it in yaml.safe_load((ROOT / "deploy/observability/prometheus.yaml").read_text())["scrape_configs"]}
    for monitor in Rendered(everything()).of("ServiceMonitor"):
        # The limit is the monitor's, for the larger of the two.
        assert monitor["spec"]["sampleLimit"] == max(it["sample_limit"] for it in jobs.values()) and monitor["spec"]["labelLimit"]
        for endpoint in monitor["spec"]["endpoints"]:
            job = jobs[endpoint["relabelings"][0]["replacement"]]
            assert [(it["sourceLabels"], it["regex"], it["action"]) for it in endpoint.get("metricRelabelings", [])] == [
                (it["source_labels"], it["regex"], it["action"]) for it in job.get("metric_relabel_configs", [])]


def test_what_is_rendered_is_what_kubernetes_takes(release):
    for document in release.all:
        validate(document)


def test_with_every_switch_on_it_is_too():
    for document in Rendered(everything()).all:
        validate(document)


def test_a_field_that_kubernetes_does_not_know_is_found():
    [pod] = Rendered(example("per-team")).of("Pod")
    pod["spec"]["containers"][0]["imagePolicy"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError):
        validate(pod)
    [monitor] = Rendered(everything()).of("ServiceMonitor", "kt")
    monitor["spec"]["endpoints"][0]["intervall"] = "15s"
    with pytest.raises(jsonschema.ValidationError):
        validate(monitor)


def test_helm_finds_nothing_to_complain_of():
    found = helm.lint(CHART)
    assert found["errors"] == [] and [it["error"] for it in found["messages"]] == ["icon is recommended"]


def test_every_configuration_is_one_that_kt_takes(release, tmp_path):
    maps = release.of("ConfigMap")
    assert maps
    for it in maps:
        check_config(it["data"]["policy-config.yaml"], tmp_path)


def test_a_configuration_may_be_a_text_and_stays_as_it_is(tmp_path):
    text = (ROOT / "examples/fleet/policy-config.yaml").read_text()
    release = Rendered(merged(example("hosted"), {"policyConfig": text}))
    [config] = release.of("ConfigMap", "kt")
    assert config["data"]["policy-config.yaml"].strip() == text.strip()
    check_config(config["data"]["policy-config.yaml"], tmp_path)


def test_every_flag_is_one_that_the_programs_have(release):
    for pod in release.pods():
        for name, container in containers(pod).items():
            if "command" not in container:
                check_command("sidecar-cache" if name == "sidecar-cache" else "kt", container["args"])


def test_no_container_is_root_or_writes_to_its_image(release):
    for pod in release.pods():
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == 65532
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in containers(pod).values():
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}
            assert container["resources"]["limits"]["memory"] and container["resources"]["requests"]["cpu"]


def test_the_sidecar_starts_before_the_gateway_and_ends_after_it(release):
    for workload in release.workloads():
        pod = workload["spec"]["template"]["spec"]
        [sidecar], [gateway] = pod["initContainers"], pod["containers"]
        assert sidecar["restartPolicy"] == "Always" and "startupProbe" in sidecar
        drain = int(flags(gateway["args"])["--drain-seconds"])
        pause = gateway["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert pod["terminationGracePeriodSeconds"] >= pause + drain + envoy_s() + sidecar_s()


def test_gateway_and_sidecar_meet_on_a_socket_that_no_disk_has(release):
    for workload in release.workloads():
        pod = workload["spec"]["template"]["spec"]
        both = containers(pod)
        sidecar, gateway = (flags(both[name]["args"]) for name in ("sidecar-cache", "gateway"))
        assert gateway["--sidecar"] == sidecar["--socket"]
        assert gateway["--run-dir"].startswith("/run/kt/") and sidecar["--socket"].startswith("/run/kt/")
        for name in ("sidecar-cache", "gateway"):
            assert {"name": "run", "mountPath": "/run/kt"} in both[name]["volumeMounts"]
        [run] = [volume for volume in pod["volumes"] if volume["name"] == "run"]
        assert run["emptyDir"]["medium"] == "Memory"
        # A Unix socket's path has at most 107 bytes, and a pod's name 63.
        assert len(f"{gateway['--run-dir']}/egress-{'p' * 63}.sock") <= 107


def test_probes_and_services_go_to_ports_that_programs_listen_on(release):
    for workload in release.workloads():
        pod = workload["spec"]["template"]["spec"]
        both = containers(pod)
        ports = {port["name"]: port["containerPort"] for it in both.values() for port in it["ports"]}
        gateway, sidecar = flags(both["gateway"]["args"]), flags(both["sidecar-cache"]["args"])
        listening = {"http": gateway["--listen"], "metrics": gateway["--metrics"], "sidecar-health": sidecar["--listen"]}
        assert {name: f"0.0.0.0:{port}" for name, port in ports.items()} == listening
        assert both["gateway"]["readinessProbe"]["httpGet"] == {"path": "/health", "port": "http"}
        labels = workload["spec"]["template"]["metadata"]["labels"]
        services = [it for it in release.of("Service") if it["spec"]["selector"].items() <= labels.items()]
        # The sidecar's by its number: until 1.33 a Service does not find the names of a native sidecar's ports.
        targets = {port["name"]: port["targetPort"] for it in services for port in it["spec"]["ports"]}
        assert targets == {"http": "http", "metrics": "metrics", "sidecar-health": ports["sidecar-health"]}
        for it in services:
            is_for_clients = it["metadata"]["labels"]["kt-service"] == "clients"
            assert ({port["name"] for port in it["spec"]["ports"]} == {"http"}) == is_for_clients


def test_only_the_gateway_is_told_the_providers_keys_and_only_the_sidecar_the_engines(release):
    def secrets(container):
        return {it["name"] for it in container.get("env", []) if "secretKeyRef" in it.get("valueFrom", {})}
    for workload in release.workloads():
        both = containers(workload["spec"]["template"]["spec"])
        assert secrets(both["gateway"]) and all(name.endswith("_KEY") for name in secrets(both["gateway"]))
        assert secrets(both["sidecar-cache"]) <= {"KT_DATABASE_URL", "KT_REDIS_URL"}
    # Secrets are never the chart's own.
    assert release.of("Secret") == []


def test_selectors_find_exactly_their_own_pods():
    release = Rendered(everything())
    labels = [it["spec"]["template"]["metadata"]["labels"] for it in release.workloads()]
    assert len(labels) == 2
    selectors = [
        *(it["spec"]["selector"]["matchLabels"] for it in [*release.workloads(), *release.of("PodDisruptionBudget")]),
        *(it["spec"]["selector"] for it in release.of("Service")),
        *(it["spec"]["podSelector"]["matchLabels"] for it in release.of("NetworkPolicy")),
    ]
    assert len(selectors) == 10
    for selector in selectors:
        assert sum(selector.items() <= it.items() for it in labels) == 1, selector
    services = [it["metadata"]["labels"] for it in release.of("Service")]
    for it in release.of("ServiceMonitor"):
        assert sum(it["spec"]["selector"]["matchLabels"].items() <= service.items() for service in services) == 1


def test_tables_are_made_before_the_pods_start():
    release = Rendered(example("hybrid"))
    assert {it["metadata"]["name"] for it in release.of("Job")} == {"kt-migrate", "kt-payments-migrate"}
    for job in release.of("Job"):
        notes = job["metadata"]["annotations"]
        assert notes["helm.sh/hook"] == "pre-install,pre-upgrade"
        [volume] = job["spec"]["template"]["spec"]["volumes"]
        [config] = release.of("ConfigMap", volume["configMap"]["name"])
        before = config["metadata"]["annotations"]
        assert before["helm.sh/hook"] == notes["helm.sh/hook"]
        assert int(before["helm.sh/hook-weight"]) < int(notes["helm.sh/hook-weight"])
    assert Rendered(example("per-team")).of("Job") == []


def test_tables_are_made_by_who_has_all_that_the_sidecar_has_to_reach_the_engines():
    release = Rendered(everything())
    for job in release.of("Job"):
        workload = release.one("StatefulSet", job["metadata"]["name"].removesuffix("-migrate"))
        pod, made = workload["spec"]["template"]["spec"], job["spec"]["template"]["spec"]
        [it], sidecar = made["containers"], containers(pod)["sidecar-cache"]
        assert {"name": "B", "value": "1"} in sidecar["env"] and all(env in it["env"] for env in sidecar["env"])
        own = {"run", "data", "tmp"}
        mounts = [mount for mount in sidecar["volumeMounts"] if mount["name"] not in own]
        assert {"name": "ca", "mountPath": "/ca"} in mounts and all(mount in it["volumeMounts"] for mount in mounts)
        assert {"name": "ca", "configMap": {"name": "ca"}} in made["volumes"]
        assert {mount["name"] for mount in it["volumeMounts"]} <= {volume["name"] for volume in made["volumes"]}


def job_with(volumes, mounts):
    [job] = Rendered(merged(example("hosted"), {"extraVolumes": volumes, "sidecar": {"extraVolumeMounts": mounts}})).of("Job")
    pod = job["spec"]["template"]["spec"]
    own = {"policy-config"}
    return [{it["name"] for it in part} - own for part in (pod["volumes"], pod["containers"][0]["volumeMounts"])]


@pytest.mark.parametrize("volumes, mounts", [
    # A claim of the gateway's that one node has, or a Secret of its that is not there yet, would keep the job from starting.
    pytest.param(["ca", "gateway-only"], ["ca"], id="no volume that only the gateway mounts"),
    # The pod has `tmp`, `run` and `data`, and the job has not.
    pytest.param(["ca"], ["ca", "tmp"], id="no mount of a volume that only the pod has"),
    pytest.param(["gateway-only"], ["tmp"], id="none at all"),
])
def test_the_job_that_makes_the_tables_has_the_volumes_that_the_sidecar_mounts_and_no_other(volumes, mounts):
    found = job_with([{"name": it, "configMap": {"name": it}} for it in volumes], [{"name": it, "mountPath": f"/{it}"} for it in mounts])
    assert found == [set(volumes) & set(mounts)] * 2


def test_replicas_are_the_autoscaler_s_where_there_is_one():
    release = Rendered(example("hosted"))
    [scaler] = release.of("HorizontalPodAutoscaler")
    [workload] = release.workloads()
    assert "replicas" not in workload["spec"]
    target = scaler["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == (workload["kind"], workload["metadata"]["name"])


def test_a_dedicated_team_has_its_own_policies_and_credentials_and_the_rest_from_above():
    release = Rendered(example("hybrid"))
    shared, payments = (release.one("Deployment", name)["spec"] for name in ("kt", "kt-payments"))
    assert (shared["replicas"], payments["replicas"]) == (2, 3)
    gateways = [containers(it["template"]["spec"])["gateway"] for it in (shared, payments)]
    keys = [{it["name"] for it in gateway["env"]} & {"OPENAI_API_KEY", "PAYMENTS_OPENAI_KEY"} for gateway in gateways]
    assert keys == [{"OPENAI_API_KEY"}, {"PAYMENTS_OPENAI_KEY"}]
    assert gateways[0]["args"] == gateways[1]["args"] and gateways[1]["resources"]["requests"]["cpu"] == "2"
    configs = [yaml.safe_load(release.one("ConfigMap", name)["data"]["policy-config.yaml"])
               for name in ("kt", "kt-payments")]
    assert "policies" not in configs[0] and configs[1]["policies"]["chain"][0] == "pii-detector"


def test_only_prometheus_reaches_the_metrics():
    [policy] = Rendered(example("hosted")).of("NetworkPolicy")
    clients, metrics = policy["spec"]["ingress"]
    assert clients["ports"] == [{"port": "http"}] and "from" not in clients
    assert metrics["from"] and {it["port"] for it in metrics["ports"]} == {"metrics", 41010}
    blocks = [to["ipBlock"] for rule in policy["spec"]["egress"] for to in rule.get("to", []) if "ipBlock" in to]
    assert all("169.254.0.0/16" in block["except"] or block["cidr"] == "::/0" for block in blocks)


def test_the_engines_may_be_anywhere_until_somebody_says_where():
    def engines(values):
        [policy] = Rendered(values).of("NetworkPolicy")
        return {rule["ports"][0]["port"]: rule.get("to") for rule in policy["spec"]["egress"]}
    found = engines(example("hosted"))
    assert found[6379] is None and found[5432] is None
    here = [{"podSelector": {}}]
    found = engines(merged(example("hosted"), {"networkPolicy": {"redis": {"to": here}}}))
    assert found[6379] == here and found[5432] is None


@pytest.mark.parametrize("names", [
    {"redis": "redis://redis:6379/0", "postgres": "postgres://kt@postgres/kt"},
    {"redis": {"file": "/etc/kt/redis-url"}, "postgres": {"file": "/etc/kt/postgres-url"}},
    {"redis": {"env": "OWN_REDIS"}, "postgres": {"env": "OWN_POSTGRES"}},
], ids=["address", "file", "variable"])
def test_engines_are_reached_however_the_configuration_names_them(names):
    values = merged(example("hosted"), {
        "redis": {"existingSecret": ""}, "postgres": {"existingSecret": ""},
        "sidecar": {"extraEnv": [{"name": "OWN_REDIS", "value": "x"}, {"name": "OWN_POSTGRES", "value": "x"}]},
    })
    config = values["policyConfig"]
    config["workflow_cache"]["redis"]["url"], config["database"]["url"] = names["redis"], names["postgres"]
    release = Rendered(values)
    [policy] = release.of("NetworkPolicy")
    ports = {rule["ports"][0]["port"] for rule in policy["spec"]["egress"]}
    assert {6379, 5432} <= ports
    assert any(job["metadata"]["name"].endswith("-migrate") for job in release.of("Job"))


def test_a_name_that_looks_like_a_number_stays_a_name():
    for team in ("42", "1.5", "true"):
        release = Rendered(merged(example("per-team"), {"team": team}))
        [workload] = release.workloads()
        assert workload["metadata"]["labels"]["kt-team"] == team


def test_a_sidecar_tells_the_collector_that_is_named_and_may_reach_it():
    def told(change):
        release = Rendered(merged(example("hosted"), change))
        [workload], [policy] = release.workloads(), release.of("NetworkPolicy")
        sidecar = containers(workload["spec"]["template"]["spec"])["sidecar-cache"]
        given = {name: value for name, value in flags(sidecar["args"]).items() if name in ("--otlp-endpoint", "--trace-ratio")}
        return given, {rule["ports"][0]["port"]: rule.get("to") for rule in policy["spec"]["egress"]}
    given, egress = told({})
    assert given == {} and 4318 not in egress
    collector, there = "http://otel-collector.observability:4318", [{"namespaceSelector": {}}]
    given, egress = told({"otlp": {"endpoint": collector, "traceRatio": 0.25}, "networkPolicy": {"otlp": {"to": there}}})
    assert given == {"--otlp-endpoint": collector, "--trace-ratio": "0.25"} and egress[4318] == there
    # A sidecar speaks plain HTTP alone, and would not start.
    with pytest.raises(helm.HelmError, match="otlp"):
        told({"otlp": {"endpoint": "https://collector:4318"}})


def test_the_tests_of_a_release_reach_it_whoever_else_may():
    release = Rendered(example("hybrid"))
    policy = release.one("NetworkPolicy", "kt-payments")
    clients, tests, _ = policy["spec"]["ingress"]
    assert "podSelector" not in clients["from"][0] and tests["ports"] == [{"port": "http"}]
    wanted = tests["from"][0]["podSelector"]["matchLabels"]
    for pod in release.of("Pod"):
        assert wanted.items() <= pod["metadata"]["labels"].items()
    assert not any(wanted.items() <= it["spec"]["template"]["metadata"]["labels"].items() for it in release.workloads())


def test_no_two_things_of_a_release_have_one_name():
    release = Rendered(merged(everything(), {"dedicated": {"metrics-eu": example("hybrid")["dedicated"]["payments"]}}))
    named = [(it["kind"], it["metadata"]["name"]) for it in release.all]
    assert len(named) == len(set(named)) and ("Service", "kt-metrics-eu-metrics") in named


WRONG = {
    "no configuration": ("per-team", {"policyConfig": {}}, "policyConfig is empty"),
    "a configuration that is no YAML": ("per-team", {"policyConfig": "a: [b"}, "policyConfig is no YAML"),
    "fewer at most than at least": (
        "hosted", {"autoscaling": {"enabled": True, "minReplicas": 5, "maxReplicas": 4}}, "no more are wanted"),
    "two programs on one port": ("per-team", {"sidecar": {"port": 41020}}, "each must be another one"),
    "a team without a name": ("per-team", {"team": ""}, "wants `team`"),
    "a hosted team": ("hosted", {"team": "alpha"}, "`team` is for topology per-team"),
    "hybrid with nothing dedicated": ("hosted", {"topology": "hybrid"}, "wants deployments in `dedicated`"),
    "dedicated and not hybrid": ("hybrid", {"topology": "hosted"}, "`dedicated` is for topology hybrid"),
    "replicas that share nothing": ("per-team", {"replicas": 2}, "several replicas want `database`"),
    "an autoscaler over what is not shared": (
        "per-team", {"autoscaling": {"enabled": True}}, "several replicas want `database`"),
    "keys that go with the pod": ("per-team", {"persistence": {"enabled": False}}, "would be lost with the pod"),
    "a credential that nobody gives": ("hosted", {"providerKeys": []}, "add it to providerKeys"),
    "a database whose address nobody gives": ("hosted", {"postgres": {"existingSecret": ""}}, "postgres.existingSecret"),
    "a Redis under another variable": ("hosted", {"redis": {"env": "OTHER"}}, "redis.existingSecret"),
    "a dedicated credential that nobody gives": (
        "hybrid", {"dedicated": {"payments": {"providerKeys": []}}}, "dedicated.payments: policyConfig: the target openai"),
    "certificates that nobody asks for": ("hosted", {"policyConfig": {"identities": [
        {"jwt": {"issuer": "https://idp.example"}, "org": "acme"}, {"spiffe": "spiffe://acme.example/*", "org": "acme"},
    ]}}, "identities[1].spiffe"),
    "certificates that a dedicated deployment does not ask for": ("hybrid", {"dedicated": {"payments": {"policyConfig": {
        "identities": [{"spiffe": "spiffe://acme.example/*", "org": "acme"}]}}}}, "dedicated.payments: policyConfig: identities[0].spiffe"),
    "a value that is misspelled": ("hosted", {"replica": 3}, "replica"),
    "a dedicated value that is misspelled": ("hybrid", {"dedicated": {"payments": {"replica": 3}}}, "replica"),
    **{f"a deployment whose things would be called as another's: {name}": (
        "hybrid", {"dedicated": {name: example("hybrid")["dedicated"]["payments"]}}, f"dedicated.{name}: what belongs to it")
       for name in ("shared", "metrics", "migrate", "test", "payments-metrics", "payments-migrate", "payments-test")},
    "a port of another type": ("hosted", {"gateway": {"port": "41002"}}, "port"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_would_go_wrong_in_operation_is_refused_with_what_to_do(case):
    topology, change, said = WRONG[case]
    values = merged(example(topology), change)
    if case == "no configuration":
        values["policyConfig"] = {}
    with pytest.raises(helm.HelmError) as refused:
        Rendered(values)
    assert said in str(refused.value), refused.value


def test_every_value_is_documented_and_in_the_schema():

    text = (CHART / "values.yaml").read_text()
    schema = json.loads((CHART / "values.schema.json").read_text())
    readme = (CHART / "README.md").read_text()
    values = yaml.safe_load(text)
    assert values.keys() | {"global"} == schema["properties"].keys()
    for name in values:
        assert f"`{name}`" in readme or f"`{name}." in readme, f"README.md does not name {name}"

    def compare(values, schema, path):
        schema = schema["properties"]
        for name, value in values.items():
            found = schema[name]
            if "$ref" in found:
                found = definitions[found["$ref"].rsplit("/", 1)[1]]
            if isinstance(value, dict) and "properties" in found:
                assert value.keys() == found["properties"].keys(), f"{path}{name}"
                compare(value, found, f"{path}{name}.")
    definitions = schema["definitions"]
    compare(values, schema, "")
