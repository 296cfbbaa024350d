"""The manifests are what Kubernetes, Istio and Envoy Gateway accept, and the pods that come of them are what they must be.

The schemas of Istio and Envoy Gateway are not ours to keep: they are read from `../shared/data/k8s-crds`, or where
KT_CRDS says. Where they are not there, the summary says in one line what was not compared.
"""

import copy
import functools
import json
import os
import re
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

from mesh import ENVOY_GATEWAY, ISTIO, documents, generate
from pods import AGENT_PORT, container, injected, merged, mounting, rendered, starts, stops
from processes import ROOT
from scraped import POD_MONITOR

CRDS = Path(os.environ.get("KT_CRDS", ROOT.parent / "shared/data/k8s-crds"))
KUBERNETES = "1.33"
MANIFESTS = [*sorted(ISTIO.glob("*.yaml")), *sorted(ENVOY_GATEWAY.glob("*.yaml"))]
# Kinds of which we have no schema here; the README says so.
UNKNOWN = {("networking.istio.io", "Gateway"), ("gateway.envoyproxy.io", "EnvoyProxy"),
           ("gateway.envoyproxy.io", "HTTPRouteFilter"), *(("gateway.networking.k8s.io", kind) for kind in (
               "Gateway", "GatewayClass", "HTTPRoute"))}


def resources():
    for path in MANIFESTS:
        for document in documents(path):
            if "kind" in document:
                yield pytest.param(document, id=f"{path.parent.name}/{path.stem}/{document['kind']}")


def strict(schema):
    """A CRD's schema as JSON Schema that lets no unknown field pass, which an API server would drop without a word."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {name: strict(part) if name != "enum" else part for name, part in schema.items()}
    if schema.pop("x-kubernetes-int-or-string", False):
        schema.pop("type", None)
    is_open = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object" and not is_open:
        schema["additionalProperties"] = False
    return schema


@functools.cache
def crds():
    """The resource definitions by group and kind."""
    found = sorted(CRDS.glob("*.yaml"))
    if not found:
        pytest.skip(f"not compared: no schemas of Istio and Envoy Gateway in {CRDS}; KT_CRDS names another folder")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    read = [crd for path in found for crd in yaml.load_all(path.read_text(), loader) if crd]
    return {(crd["spec"]["group"], crd["spec"]["names"]["kind"]): crd for crd in read}


def crd_schema(group, kind, version):
    """The schema of a kind, or nothing where there is none here."""
    if (group, kind) not in crds():
        return None
    (found,) = [it for it in crds()[group, kind]["spec"]["versions"] if it["name"] == version]
    schema = strict(found["schema"]["openAPIV3Schema"])
    # The API server's own part.
    schema["properties"] |= {"apiVersion": {}, "kind": {}, "metadata": {}}
    return schema


@pytest.mark.parametrize("resource", list(resources()))
def test_a_manifest_is_valid(resource):
    group, _, version = resource["apiVersion"].rpartition("/")
    if "." not in group or group.endswith(".k8s.io") and group != "gateway.networking.k8s.io":
        kubernetes_validate.validate(resource, KUBERNETES, strict=True)
        return
    if group == "monitoring.coreos.com":
        jsonschema.validate(resource, POD_MONITOR)
        return
    schema = crd_schema(group, resource["kind"], version)
    assert (schema is None) == ((group, resource["kind"]) in UNKNOWN), "a kind with a schema is validated by it"
    if schema:
        jsonschema.Draft7Validator(schema).validate(resource)


def test_the_pods_of_envoy_gateway_are_valid_and_keep_the_sockets_to_two_containers():
    (proxy,) = [it for it in documents(ENVOY_GATEWAY / "gateway.yaml") if it["kind"] == "EnvoyProxy"]
    patch = proxy["spec"]["provider"]["kubernetes"]["envoyDeployment"]["patch"]
    assert patch["type"] == "StrategicMerge"
    # As much of Envoy Gateway's own as ours is merged with.
    deployment = {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "envoy-kt-kt"},
        "spec": {"selector": {"matchLabels": {"app": "envoy"}}, "template": {
            "metadata": {"labels": {"app": "envoy"}},
            "spec": {"containers": [{"name": "envoy", "image": "envoyproxy/envoy:distroless-v1.38.0"},
                                    {"name": "shutdown-manager", "image": "envoyproxy/gateway:v1.8.0"}]},
        }},
    }
    kubernetes_validate.validate(merged(deployment, patch["value"]), KUBERNETES, strict=True)
    pod = deployment["spec"]["template"]
    assert mounting(pod, "kt-run") == {"envoy", "sidecar-cache"}
    assert mounting(pod, "kt-credentials") == {"envoy"}
    assert starts(pod) == ["sidecar-cache", "envoy", "shutdown-manager"]
    assert stops(pod) == [["envoy", "shutdown-manager"], ["sidecar-cache"]]


def test_the_schemas_find_a_field_that_is_none():
    (envoy_filter,) = documents(ISTIO / "envoyfilter-gateway.yaml")
    wrong = copy.deepcopy(envoy_filter)
    wrong["spec"]["configPatches"][0]["applyto"] = "HTTP_FILTER"
    validator = jsonschema.Draft7Validator(crd_schema("networking.istio.io", "EnvoyFilter", "v1alpha3"))
    assert not list(validator.iter_errors(envoy_filter))
    assert [error.message for error in validator.iter_errors(wrong)]


def sample():
    (pod,) = documents(ISTIO / "sample-pod.yaml")
    return pod


def gateway_pod():
    (deployment,) = [it for it in documents(ISTIO / "gateway.yaml") if it["kind"] == "Deployment"]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "kt-gateway", **deployment["spec"]["template"]["metadata"]},
            "spec": deployment["spec"]["template"]["spec"]}


PODS = pytest.mark.parametrize("pod", [sample(), gateway_pod()], ids=["sidecar", "gateway"])


@PODS
def test_the_limit_on_connections_is_that_of_kts_own_envoys_and_istios_to_set(pod):
    (override,) = documents(ISTIO / "bootstrap.yaml")
    # Istio has an overload manager of its own; a second monitor of the same name is none that Envoy starts with.
    assert json.loads(override["data"]["custom_bootstrap.json"]).keys() == {"stats_config"}
    (limit,) = re.findall(r"max_active_downstream_connections: (\d+)", (ROOT / "envoy/bootstrap.yaml").read_text())
    config = yaml.safe_load(pod["metadata"]["annotations"]["proxy.istio.io/config"])
    assert config["proxyMetadata"] == {"ISTIO_META_GLOBAL_DOWNSTREAM_MAX_CONNECTIONS": limit}


@PODS
def test_an_injected_pod_is_valid(pod):
    pod = injected(pod)
    kubernetes_validate.validate(pod, KUBERNETES, strict=True)
    for it in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]:
        confined = it.get("securityContext", {})
        # A kubelet starts no such container as whoever its image says: Istio's says nobody, and so root.
        assert not confined.get("runAsNonRoot") or confined.get("runAsUser", 0) > 0, it["name"]
    assert container(pod, "istio-proxy")["securityContext"]["runAsNonRoot"]


@PODS
def test_both_containers_run_as_the_proxys_user_also_where_the_platform_chooses_it(pod):
    # OpenShift: each namespace has a range, and a pod that names another user is refused.
    pod = injected(pod, uid=1000650000)
    users = {container(pod, name)["securityContext"]["runAsUser"] for name in ("istio-proxy", "sidecar-cache")}
    assert users == {1000650000}


def test_the_gateways_account_may_be_given_its_certificate():
    of = lambda kind: [it for it in documents(ISTIO / "gateway.yaml") if it["kind"] == kind]
    (gateway,), (deployment,) = of("Gateway"), of("Deployment")
    named = [it["tls"]["credentialName"] for it in gateway["spec"]["servers"] if "credentialName" in it.get("tls", {})]
    assert named and gateway["spec"]["selector"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    account = {"kind": "ServiceAccount", "name": deployment["spec"]["template"]["spec"]["serviceAccountName"],
               "namespace": deployment["metadata"]["namespace"]}
    assert gateway["metadata"]["namespace"] == account["namespace"], "istiod gives no certificate across namespaces"
    bound = [it["roleRef"]["name"] for it in of("RoleBinding")
             if account in it["subjects"] and it["metadata"]["namespace"] == account["namespace"]]
    rules = [rule for role in of("Role") if role["metadata"]["name"] in bound for rule in role["rules"]]
    # What istiod asks about the account that connects to it.
    assert any("secrets" in rule["resources"] and "list" in rule["verbs"] and "resourceNames" not in rule for rule in rules)
    # It reads them for the account: no pod has its token.
    (pods,) = of("ServiceAccount")
    assert pods["metadata"]["name"] == account["name"] and pods["automountServiceAccountToken"] is False


@PODS
def test_no_container_of_the_application_mounts_the_sockets_or_the_credentials(pod):
    pod = injected(pod)
    assert mounting(pod, "kt-run") == {"istio-proxy", "sidecar-cache"}
    assert mounting(pod, "kt-credentials") == {"istio-proxy"}
    assert mounting(pod, "kt-policy-config") == mounting(pod, "kt-data") == {"sidecar-cache"}
    # What no volume keeps apart the application could open over the network or by a shared process namespace.
    assert not pod["spec"].get("shareProcessNamespace") and not pod["spec"].get("hostNetwork")


@PODS
def test_the_sidecar_has_what_a_cluster_asks_of_a_container(pod):
    pod = injected(pod)
    cache, proxy = container(pod, "sidecar-cache"), container(pod, "istio-proxy")
    assert cache["restartPolicy"] == "Always" and {"startupProbe", "livenessProbe"} <= set(cache)
    # A native sidecar's readiness would be the pod's.
    assert "readinessProbe" not in cache
    assert cache["resources"]["limits"]["memory"] and "cpu" not in cache["resources"]["limits"]
    confined = cache["securityContext"]
    assert confined["runAsNonRoot"] and confined["readOnlyRootFilesystem"] and not confined["allowPrivilegeEscalation"]
    # Both sockets are for their owner alone, so both have one owner.
    assert confined["runAsUser"] == proxy["securityContext"]["runAsUser"]
    image = container(injected({**pod, "metadata": {**pod["metadata"], "annotations": {
        **pod["metadata"]["annotations"], "kt/image": "own/image:1"}}}), "sidecar-cache")["image"]
    assert image == "own/image:1"


@PODS
def test_a_pod_names_the_collector_of_its_spans_and_needs_no_stores(pod):
    def cache(**annotations):
        own = {**pod["metadata"], "annotations": {**pod["metadata"]["annotations"], **annotations}}
        return container(injected({**pod, "metadata": own}), "sidecar-cache")
    usual, collector = cache(), "http://otel-collector.observability:4318"
    assert not any("otlp" in argument for argument in usual["args"])
    assert cache(**{"kt/otlp-endpoint": collector})["args"] == [*usual["args"], f"--otlp-endpoint={collector}"]
    assert usual["envFrom"] == [{"secretRef": {"name": "kt-stores", "optional": True}}]


def test_an_application_is_in_a_namespace_of_its_own_and_finds_there_what_it_refers_to(tmp_path):
    pod = sample()
    of = pod["metadata"]["namespace"]
    # Who may start pods beside the gateway may read what its account may.
    (deployment,) = [it for it in documents(ISTIO / "gateway.yaml") if it["kind"] == "Deployment"]
    assert of != deployment["metadata"]["namespace"]
    generate(ISTIO / "policy-config.yaml", tmp_path, "--namespace", of)
    there = {(it["kind"], it["metadata"]["name"]): it for path in sorted((tmp_path / "istio").glob("*.yaml")) for it in documents(path)}
    assert {it["metadata"]["namespace"] for it in there.values()} == {of}
    injected_pod = injected(pod)
    maps = {volume["configMap"]["name"] for volume in injected_pod["spec"]["volumes"] if "configMap" in volume}
    maps.add(pod["metadata"]["annotations"]["sidecar.istio.io/bootstrapOverride"])
    assert {("ConfigMap", name) for name in maps} <= there.keys()
    selected = there["EnvoyFilter", "kt-sidecar"]["spec"]["workloadSelector"]["labels"]
    assert selected.items() <= injected_pod["metadata"]["labels"].items()
    # What Envoy Gateway reads stays where its Gateway is.
    (policy,) = documents(tmp_path / "envoy-gateway/envoypatchpolicy.yaml")
    (gateway,) = [it for it in documents(ENVOY_GATEWAY / "gateway.yaml") if it["kind"] == "Gateway"]
    assert policy["metadata"]["namespace"] == gateway["metadata"]["namespace"]


def secrets_needed(pod):
    """The Secrets that a pod of this kind does not start without."""
    for volume in pod["spec"]["volumes"]:
        if "secret" in volume and not volume["secret"].get("optional"):
            yield volume["secret"]["secretName"]
    for it in (*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]):
        for env in it.get("env", []):
            if (of := env.get("valueFrom", {}).get("secretKeyRef")) and not of.get("optional"):
                yield of["name"]


def test_the_sample_pod_is_injected_and_the_page_makes_all_that_it_needs():
    pod = sample()
    of = pod["metadata"]["namespace"]
    namespaces = [it for path in MANIFESTS for it in documents(path)
                  if it.get("kind") == "Namespace" and it["metadata"]["name"] == of]
    asks = pod["metadata"]["labels"].get("sidecar.istio.io/inject") == "true"
    assert asks or any(it["metadata"].get("labels", {}).get("istio-injection") == "enabled" for it in namespaces)
    page = (ISTIO / "README.md").read_text()
    assert namespaces or f"kubectl create namespace {of}\n" in page
    listed = {it["metadata"]["name"] for it in documents(ISTIO / "secrets-example.yaml")}
    made = set(re.findall(rf"kubectl create secret generic (\S+) --namespace {of} ", page))
    assert f"namespace: {of}/' envoy/istio/secrets-example.yaml" in page
    needed = set(secrets_needed(injected(pod)))
    assert {"kt-credentials", "agent-gateway-key"} <= needed <= listed | made
    # The whole folder has a gateway's filter in it.
    applied = set(re.findall(r"kubectl apply --filename of-agents/istio/(\S*)", page))
    assert applied == {"bootstrap.yaml", "policy-configmap.yaml", "envoyfilter-sidecar.yaml"}


def test_beside_an_application_the_proxy_starts_first_and_ends_last():
    pod = injected(sample())
    assert starts(pod) == ["istio-proxy", "sidecar-cache", "agent"]
    assert stops(pod) == [["agent"], ["sidecar-cache"], ["istio-proxy"]]
    assert pod["metadata"]["labels"]["kt/proxy"] == "sidecar"


def test_on_a_gateway_the_sidecar_starts_first_and_ends_last():
    pod = injected(gateway_pod())
    assert starts(pod) == ["sidecar-cache", "istio-proxy"]
    assert stops(pod) == [["istio-proxy"], ["sidecar-cache"]]
    assert pod["metadata"]["labels"]["kt/proxy"] == "gateway"
    assert container(pod, "istio-proxy")["lifecycle"]["preStop"]["sleep"]["seconds"] > 0


@PODS
def test_whoever_is_asked_whether_a_container_has_started_runs_by_then(pod):
    pod = injected(pod)
    order = starts(pod)
    native = [name for name in order if container(pod, name).get("restartPolicy") == "Always"]
    asked = {name: container(pod, name)["startupProbe"]["httpGet"]["port"]
             for name in native if "startupProbe" in container(pod, name)}
    assert "sidecar-cache" in asked
    for name, port in asked.items():
        answers = "istio-proxy" if port == AGENT_PORT else name
        assert order.index(answers) <= order.index(name), f"{name} waits for {answers}, which waits for it"


@pytest.mark.parametrize("annotation, value, problem", [
    ("sidecar.istio.io/nativeSidecar", "false", "must be a native sidecar"),
    ("traffic.sidecar.istio.io/excludeInboundPorts", "9090", "would meet mutual TLS"),
])
def test_a_pod_that_would_lose_requests_is_refused_in_words(annotation, value, problem):
    pod = sample()
    pod["metadata"]["annotations"][annotation] = value
    with pytest.raises(Exception, match=problem):
        rendered(pod)


def test_the_sidecar_and_envoy_speak_of_the_same_places():
    pod = injected(sample())
    arguments = dict(argument.removeprefix("--").split("=", 1) for argument in container(pod, "sidecar-cache")["args"])
    mounts = {mount["name"]: mount["mountPath"] for mount in container(pod, "sidecar-cache")["volumeMounts"]}
    of_proxy = {mount["name"]: mount["mountPath"] for mount in container(pod, "istio-proxy")["volumeMounts"]}
    assert mounts["kt-run"] == of_proxy["kt-run"]
    text = json.dumps(documents(ISTIO / "envoyfilter-sidecar.yaml"))
    assert f'"{arguments["socket"]}"' in text and arguments["socket"].startswith(f"{mounts['kt-run']}/")
    for secret in documents(ISTIO / "secrets-example.yaml")[0]["stringData"]:
        assert f'"{of_proxy["kt-credentials"]}/{secret}"' in text, secret
    assert arguments["policy-config"] == f"{mounts['kt-policy-config']}/policy-config.yaml"
