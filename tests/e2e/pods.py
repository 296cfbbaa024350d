"""Pods as a cluster would make them: the injection template rendered and merged, and the order in which kubelets start
and stop what is in them.

The template is rendered by Helm's engine, which is Go's with the same library of functions (sprig) that Istio's injector
has. What Istio's own templates add is written down by hand, as much of it as ours refers to.
"""

import copy
import json
import tempfile
from pathlib import Path

import helm_python
import yaml

from mesh import ISTIO

# The user of Istio's proxies, where the platform does not give each namespace a range of its own.
PROXY_UID = 1337


def template():
    (values,) = yaml.safe_load_all((ISTIO / "injector-values.yaml").read_text())
    return values["sidecarInjectorWebhook"]["templates"]["kt"]


def rendered(pod, native=True, uid=PROXY_UID):
    """What the template `kt` says of a pod; fails with the template's own words."""
    context = {
        "ObjectMeta": {"Annotations": pod["metadata"].get("annotations", {}), "Labels": pod["metadata"].get("labels", {})},
        "NativeSidecars": native, "ProxyUID": uid,
    }
    with tempfile.TemporaryDirectory() as folder:
        chart = Path(folder) / "injected"
        (chart / "templates").mkdir(parents=True)
        (chart / "Chart.yaml").write_text("{apiVersion: v2, name: injected, version: 0.0.0}")
        (chart / "templates/pod.yaml").write_text(
            # Of a chart's values a large number is a fraction; Istio's is none.
            '{{ tpl .Values.template (merge (dict "Template" .Template "ProxyUID" (int64 .Values.context.ProxyUID)) .Values.context) }}')
        with helm_python.Chart.load(chart) as loaded:
            (text,) = loaded.render({"template": template(), "context": context}).values()
    return yaml.safe_load(text)


def proxy(is_gateway, uid=PROXY_UID):
    """Istio's own template: the container, and nothing in it that ours does not touch. Both templates say the user (the
    gateway's since Istio 1.20), the sidecar's alone that it is not root."""
    container = {
        "name": "istio-proxy", "image": "registry.example.com/istio/proxyv2:1.28.0", "args": ["proxy"],
        "securityContext": {"runAsUser": uid, "runAsGroup": uid, **({} if is_gateway else {"runAsNonRoot": True})},
        "ports": [{"name": "http-envoy-prom", "containerPort": 15090, "protocol": "TCP"}],
        "volumeMounts": [{"name": "istio-envoy", "mountPath": "/etc/istio/proxy"}],
    }
    volumes = [{"name": "istio-envoy", "emptyDir": {"medium": "Memory"}}]
    if is_gateway:
        return {"spec": {"containers": [container], "volumes": volumes}}
    # Istio drains what is INBOUND when the pod begins to end, before the application has ended.
    drain = {"exec": {"command": ["pilot-agent", "request", "--debug-port=15020", "POST", "drain"]}}
    container |= {"restartPolicy": "Always", "lifecycle": {"preStop": drain}}
    init = {"name": "istio-init", "image": container["image"], "args": ["istio-iptables"]}
    return {"spec": {"initContainers": [init, container], "volumes": volumes}}


# By which field Kubernetes knows elements of a list again when it merges two.
MERGED_BY = {"containers": "name", "initContainers": "name", "volumes": "name", "env": "name",
             "volumeMounts": "mountPath", "ports": "containerPort"}


def merged(into, value):
    """Kubernetes' strategic merge of a patch into a pod."""
    for name, new in value.items():
        if isinstance(new, dict) and isinstance(into.get(name), dict):
            merged(into[name], new)
        elif isinstance(new, list) and name in MERGED_BY:
            elements = into.setdefault(name, [])
            for element in new:
                known = next((it for it in elements if it[MERGED_BY[name]] == element[MERGED_BY[name]]), None)
                if known is None:
                    elements.append(copy.deepcopy(element))
                else:
                    merged(known, element)
        else:
            into[name] = copy.deepcopy(new)
    return into


def injected(pod, native=True, uid=PROXY_UID, has_own_probes=False):
    """A pod after Istio's injector: its templates in their order, then Istio's order of containers. `has_own_probes`: what
    is asked of its containers in the end, by whomever."""
    names = pod["metadata"]["annotations"]["inject.istio.io/templates"].split(",")
    own, result = copy.deepcopy(pod), copy.deepcopy(pod)
    for name in names:
        merged(result, rendered(pod, native, uid) if name == "kt" else proxy(name == "gateway", uid))
    # What the pod itself says of a container that a template makes counts; `auto` says nothing.
    for container in own["spec"].get("containers", []):
        if container.get("image") == "auto":
            container.pop("image")
        merged(result["spec"], {"containers": [container]})
    # istio-init, then the proxy where it is a native sidecar, then the rest in their order.
    first = {"istio-init": 0, "istio-proxy": 1}
    result["spec"].get("initContainers", []).sort(key=lambda it: first.get(it["name"], 2))
    return result if has_own_probes else with_probes_of_the_agent(result)


# Where the agent in istio-proxy answers, and what it calls a probe.
AGENT_PORT = 15020
CALLED = {"startupProbe": "startupz", "livenessProbe": "livez", "readinessProbe": "readyz"}


def with_probes_of_the_agent(pod):
    """Istio has the probes of all other containers asked by its agent, unless the pod says no: `patchRewriteProbe` in
    `pkg/kube/inject/app_probe.go`, which goes through init containers, too, and is on by default (`rewriteAppHTTPProbe`)."""
    if pod["metadata"]["annotations"].get("sidecar.istio.io/rewriteAppHTTPProbers") == "false":
        return pod
    for one in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]:
        for name, called in CALLED.items():
            probe = one.get(name, {})
            if one["name"] != "istio-proxy" and (probe.keys() & {"httpGet", "tcpSocket"}):
                probe.pop("tcpSocket", None)
                probe["httpGet"] = {"path": f"/app-health/{one['name']}/{called}", "port": AGENT_PORT}
    return pod


def starts(pod):
    """The containers in the order in which they start; those that end before the next one starts are left out."""
    inits = [it["name"] for it in pod["spec"].get("initContainers", []) if it.get("restartPolicy") == "Always"]
    return [*inits, *(it["name"] for it in pod["spec"]["containers"])]


def stops(pod):
    """Those that are told to end together, group by group: the containers, then native sidecars, last one first."""
    inits = [it["name"] for it in pod["spec"].get("initContainers", []) if it.get("restartPolicy") == "Always"]
    return [[it["name"] for it in pod["spec"]["containers"]], *([name] for name in reversed(inits))]


def container(pod, name):
    spec = pod["spec"]
    return next(it for it in [*spec.get("initContainers", []), *spec["containers"]] if it["name"] == name)


def mounting(pod, volume):
    """Who mounts a volume."""
    spec = pod["spec"]
    return {it["name"] for it in [*spec.get("initContainers", []), *spec["containers"]]
            if any(mount["name"] == volume for mount in it.get("volumeMounts", []))}
