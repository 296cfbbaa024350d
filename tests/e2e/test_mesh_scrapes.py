"""A mesh's pods are scraped under the names that dashboards and alerts read, and within bounds.

What they read is there is shown with real Envoys: `test_mesh.py`.
"""

import copy

import pytest
import yaml

from mesh import ENVOY_GATEWAY, ISTIO, documents
from pods import injected, merged
from processes import ROOT
from scraped import relabeled
from test_mesh_manifests import PODS


def monitors(of):
    return documents(of / "podmonitor.yaml")


def scraped(pod, of):
    """The ports of a pod that are scraped, with their paths, by the job they are scraped as."""
    ports = {port["name"]: port["containerPort"] for it in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
             for port in it.get("ports", [])}
    labels, found = pod["metadata"]["labels"], {}
    for monitor in monitors(of):
        selector = monitor["spec"]["selector"]
        if selector.get("matchLabels", {}).items() <= labels.items() and {
                it["key"] for it in selector.get("matchExpressions", [])} <= labels.keys():
            for it in monitor["spec"]["podMetricsEndpoints"]:
                job, group = it["relabelings"]
                assert job["targetLabel"] == "job" and group == {
                    "sourceLabels": ["__meta_kubernetes_namespace"], "targetLabel": "group"}
                found[job["replacement"]] = (ports[it["port"]], it["path"])
    return found


def test_the_pods_of_envoy_gateway_are_scraped_under_the_names_that_alerts_read():
    (proxy,) = [it for it in documents(ENVOY_GATEWAY / "gateway.yaml") if it["kind"] == "EnvoyProxy"]
    pod = copy.deepcopy(proxy["spec"]["provider"]["kubernetes"]["envoyDeployment"]["patch"]["value"]["spec"]["template"])
    (gateway,) = [it for it in documents(ENVOY_GATEWAY / "gateway.yaml") if it["kind"] == "Gateway"]
    # What Envoy Gateway says of pods that it runs for a Gateway.
    merged(pod, {
        "metadata": {"labels": {f"gateway.envoyproxy.io/owning-gateway-{name}": gateway["metadata"][name]
                                for name in ("name", "namespace")}},
        "spec": {"containers": [{"name": "envoy", "ports": [{"name": "metrics", "containerPort": 19001}]}]},
    })
    assert scraped(pod, ENVOY_GATEWAY) == {"kt-gateway": (19001, "/stats/prometheus"), "kt-sidecar": (41010, "/metrics")}


def test_the_bootstrap_of_envoy_gateway_has_the_labels_of_kts_own_envoys():
    (proxy,) = [it for it in documents(ENVOY_GATEWAY / "gateway.yaml") if it["kind"] == "EnvoyProxy"]
    own = yaml.safe_load((ROOT / "envoy/bootstrap.yaml").read_text())
    assert proxy["spec"]["bootstrap"]["type"] == "Merge"
    assert yaml.safe_load(proxy["spec"]["bootstrap"]["value"]) == {"stats_config": own["stats_config"]}


def test_istios_own_counts_are_left_to_its_own_monitor():
    rules = monitors(ISTIO)[0]["spec"]["podMetricsEndpoints"][0]["metricRelabelings"]
    kept = [name for name in ("istio_requests_total", "envoy_server_live", "kt_filter_hits_total", "envoy_cluster_lb_healthy_panic")
            if relabeled({"__name__": name}, rules)]
    assert kept == ["envoy_server_live", "kt_filter_hits_total"]


@pytest.mark.parametrize("of", [ISTIO, ENVOY_GATEWAY], ids=lambda of: of.name)
def test_a_mesh_is_scraped_within_the_bounds_of_any_other_group(of):
    (text,) = documents(ROOT / "deploy/observability/prometheus.yaml")
    for job in text["scrape_configs"]:
        (spec,) = [it["spec"] for it in monitors(of) if it["metadata"]["name"] == job["job_name"]]
        assert spec["sampleLimit"] == job["sample_limit"] and 0 < spec["labelLimit"]
        (endpoint,) = spec["podMetricsEndpoints"]
        assert (endpoint["interval"], endpoint["scrapeTimeout"]) == tuple(
            text["global"][name] for name in ("scrape_interval", "scrape_timeout"))
        dropped = [(it["source_labels"], it["regex"]) for it in job.get("metric_relabel_configs", [])]
        assert [(it["sourceLabels"], it["regex"]) for it in endpoint.get("metricRelabelings", [])
                if it.get("action") == "drop"] == dropped


@PODS
def test_an_injected_pod_is_scraped_under_the_names_that_alerts_read(pod):
    assert scraped(injected(pod), ISTIO) == {"kt-gateway": (15090, "/stats/prometheus"), "kt-sidecar": (41010, "/metrics")}
    kept = yaml.safe_load(pod["metadata"]["annotations"]["proxy.istio.io/config"])["proxyStatsMatcher"]
    assert kept == {"inclusionPrefixes": ["cluster.provider_", "cluster.kt_", "http.ingress.", "http.egress."]}
