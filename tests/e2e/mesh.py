"""Envoys made of the manifests in `envoy/istio` and `envoy/envoy-gateway`, as a control plane would make them.

There is no cluster here. What istiod and Envoy Gateway make of a Gateway resource is written down by hand, small, and
the manifests' patches are applied to it by the rules of those two. Envoy is the real one, and so is all else.
"""

import asyncio
import contextlib
import copy
import json
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import httpx
import yaml

from group import CONFIG, DEADLINE_S, UPSTREAM_KEY, Gateway, Group, Provider, Sidecar, merged
from processes import PLAIN, ROOT, Process, binary_dir, envoy, filter_module, free_port, wait_until

ISTIO, ENVOY_GATEWAY = ROOT / "envoy/istio", ROOT / "envoy/envoy-gateway"
WASM = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"
HCM = "envoy.filters.network.http_connection_manager"
HCM_TYPE = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER_TYPE = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"


def documents(path):
    """The resources in a manifest."""
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def generate(policy_config, out, *options):
    """Runs scripts/manifests."""
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/manifests", "--policy-config", policy_config, "--out", out, *options],
        capture_output=True, text=True, timeout=DEADLINE_S, env={"KT_BIN_DIR": str(binary_dir()), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr


def monitored(job, of):
    """The endpoints that are scraped as this job, of a folder's PodMonitors."""
    return [endpoint for monitor in documents(of / "podmonitor.yaml") for endpoint in monitor["spec"]["podMetricsEndpoints"]
            if {"targetLabel": "job", "replacement": job} in endpoint["relabelings"]]


# === Istio ===

def istio_listener(port):
    """What istiod makes of a server of a Gateway and its VirtualService, without TLS, and with the routes in place."""
    return {
        "name": f"0.0.0.0_{port}", "traffic_direction": "OUTBOUND",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": HCM, "typed_config": {
            "@type": HCM_TYPE, "stat_prefix": f"outbound_0.0.0.0_{port}",
            "use_remote_address": True, "normalize_path": True, "server_name": "istio-envoy",
            "stream_idle_timeout": "0s", "upgrade_configs": [{"upgrade_type": "websocket"}],
            "http_filters": [
                {"name": "envoy.filters.http.cors", "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors"}},
                {"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER_TYPE}},
            ],
            "route_config": {"name": f"http.{port}", "virtual_hosts": [{
                "name": f"*:{port}", "domains": ["*"],
                "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 404}}],
            }]},
        }}]}],
    }


def merge(into, value):
    """Protobuf's merge as istiod does it: messages into each other, lists behind each other, the rest replaced."""
    for name, new in value.items():
        if isinstance(new, dict) and isinstance(into.get(name), dict):
            merge(into[name], new)
        elif isinstance(new, list) and name in into:
            into[name] += copy.deepcopy(new)
        else:
            # What is false or zero is not there in a message, and so overrides nothing.
            assert new or not into.get(name), f"a merge cannot set {name} back to {new}"
            into[name] = copy.deepcopy(new)


def patched(envoy_filter, context, listeners):
    """Listeners, clusters and extension configurations after an EnvoyFilter's patches."""
    patches = envoy_filter["spec"]["configPatches"]

    def of(kind, *operations):
        for patch in patches:
            if patch["applyTo"] == kind and patch["patch"]["operation"] in operations:
                assert kind == "EXTENSION_CONFIG" or patch["match"]["context"] == context, patch
                yield patch, copy.deepcopy(patch["patch"]["value"])
    for listener in listeners:
        patch_listener(listener, of)
    listeners += [value for _, value in of("LISTENER", "ADD")]
    clusters = [value for _, value in of("CLUSTER", "ADD")]
    return listeners, clusters, [value for _, value in of("EXTENSION_CONFIG", "ADD")]


def patch_listener(listener, of):
    for _, value in of("LISTENER", "MERGE"):
        merge(listener, value)
    for chain in listener["filter_chains"]:
        manager = chain["filters"][0]["typed_config"]
        for patch, value in of("NETWORK_FILTER", "MERGE"):
            assert patch["match"]["listener"]["filterChain"]["filter"]["name"] == value["name"] == HCM
            merge(manager, value["typed_config"])
        filters = manager["http_filters"]
        for patch, value in of("HTTP_FILTER", "INSERT_FIRST", "INSERT_BEFORE", "MERGE"):
            named = patch["match"]["listener"]["filterChain"]["filter"].get("subFilter", {}).get("name")
            at = next((at for at, it in enumerate(filters) if it["name"] == named), 0)
            match patch["patch"]["operation"]:
                case "INSERT_FIRST":
                    filters.insert(0, value)
                case "INSERT_BEFORE":
                    filters.insert(at, value)
                case "MERGE":
                    merge(filters[at], value)
        for host in manager["route_config"]["virtual_hosts"]:
            for _, value in of("VIRTUAL_HOST", "MERGE"):
                merge(host, value)
            for _, value in of("HTTP_ROUTE", "INSERT_FIRST"):
                host["routes"].insert(0, value)


# What Istio's bootstrap (1.28) takes out of names of statistics: nothing that Envoy does by itself, and its own by names of its
# own, most of which end with a `;` that Istio puts there.
ISTIO_TAGS = {
    "cluster_name": r"^cluster(\.(.+);)", "http_conn_manager_prefix": r"^http\.(([^;]*);\.)",
    "response_code": r"_rq(_(\d{3}))$", "response_code_class": r"_rq(_(\dxx))$",
    "cache": r"(cache\.(.+?)\.)", "component": r"(component\.(.+?)\.)", "tag": r"(tag\.(.+?);\.)",
    "wasm_filter": r"(wasm_filter\.(.+?)\.)", "authz_enforce_result": r"rbac(\.(allowed|denied))",
}
# And all that it keeps, beside what a pod asks for.
ISTIO_KEEPS = ["reporter=", "cluster_manager", "listener_manager", "server", "cluster.xds-grpc", "wasm", "component", "istio"]


def istio_stats(context):
    """What Istio's bootstrap says of statistics, in a pod of this context."""
    (pod,) = [it for path in ("gateway.yaml", "sample-pod.yaml") for it in documents(ISTIO / path)
              if it["kind"] == ("Deployment" if context == "GATEWAY" else "Pod")]
    annotations = (pod["spec"]["template"] if context == "GATEWAY" else pod)["metadata"]["annotations"]
    asked = yaml.safe_load(annotations["proxy.istio.io/config"])["proxyStatsMatcher"]
    assert asked.keys() == {"inclusionPrefixes"}
    return {
        "use_all_default_tags": False,
        "stats_tags": [{"tag_name": name, "regex": regex} for name, regex in ISTIO_TAGS.items()],
        "stats_matcher": {"inclusion_list": {"patterns": [
            {"prefix": prefix} for prefix in [*asked["inclusionPrefixes"], *ISTIO_KEEPS]]}},
    }


# === Envoy Gateway ===

# What its bootstrap (1.8) says of statistics.
ENVOY_GATEWAY_STATS = {
    "use_all_default_tags": True,
    "stats_tags": [{"tag_name": "from_zone", "regex": r"\.zone(\.(([^\.]+)\.))"}],
}


def envoy_gateway_override():
    """What our EnvoyProxy merges into the bootstrap."""
    (proxy,) = [it for it in documents(ENVOY_GATEWAY / "gateway.yaml") if it["kind"] == "EnvoyProxy"]
    assert proxy["spec"]["bootstrap"]["type"] == "Merge"
    return proxy["spec"]["bootstrap"]["value"]


def envoy_gateway_listener(port):
    """What Envoy Gateway makes of an HTTP listener; with its route configuration, which it serves apart."""
    listener = {
        "name": "kt/kt/llm",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "per_connection_buffer_limit_bytes": 32768,
        "default_filter_chain": {"name": "kt/kt/llm", "filters": [{"name": HCM, "typed_config": {
            "@type": HCM_TYPE, "stat_prefix": f"http-{port}", "use_remote_address": True, "normalize_path": True,
            "merge_slashes": True, "path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT",
            "server_header_transformation": "PASS_THROUGH",
            "common_http_protocol_options": {"headers_with_underscores_action": "REJECT_REQUEST"},
            "http2_protocol_options": {"max_concurrent_streams": 100, "initial_stream_window_size": 65536,
                                       "initial_connection_window_size": 1048576},
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
                "@type": ROUTER_TYPE, "suppress_envoy_headers": True}}],
        }}]},
    }
    routes = {"name": "kt/kt/llm", "virtual_hosts": [{
        "name": "kt/kt/llm/*", "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 404}}],
    }]}
    return listener, routes


def json_patched(policy, resources):
    """xDS resources by type and name, after the patches of an EnvoyPatchPolicy."""
    for patch in policy["spec"]["jsonPatches"]:
        kind, name, operation = patch["type"].rpartition(".")[2], patch["name"], patch["operation"]
        assert operation["op"] == "add"
        value = copy.deepcopy(operation["value"])
        if operation["path"] == "":
            assert (kind, name) not in resources and value["name"] == name
            resources[kind, name] = value
            continue
        *to, last = operation["path"].removeprefix("/").split("/")
        at = resources[kind, name]
        for step in to:
            at = at[int(step)] if isinstance(at, list) else at[step]
        if isinstance(at, list):
            assert int(last) <= len(at)
            at.insert(int(last), value)
        else:
            at[last] = value
    return resources


# === The Envoys ===

def moved(value, places):
    """The configuration with what stands at some paths of the pod at others of this machine."""
    if isinstance(value, dict):
        return {name: moved(part, places) for name, part in value.items()}
    if isinstance(value, list):
        return [moved(part, places) for part in value]
    if isinstance(value, str):
        for place, here in places.items():
            value = value.replace(place, str(here))
    return value


def bootstrap(name, folder, listeners, clusters, stats=None):
    return {
        "node": {"id": name, "cluster": "mesh"},
        **({"stats_config": stats} if stats else {}),
        "admin": {"address": {"pipe": {"path": str(folder / f"{name}-admin.sock")}}},
        "static_resources": {"listeners": listeners, "clusters": clusters},
    }


def istio_bootstrap(name, folder, manifest, context, places, listeners=()):
    """What an Istio proxy runs: the patched listeners, and its extension configuration in a file in the place of ADS."""
    (envoy_filter,) = documents(manifest)
    listeners, clusters, (extension,) = patched(envoy_filter, context, copy.deepcopy(list(listeners)))
    code = extension["typed_config"]["config"]["vm_config"]["code"]
    assert code.pop("remote")["http_uri"]["uri"].startswith("oci://")
    # What the agent does when it has downloaded the module.
    code["local"] = {"filename": str(filter_module())}
    discovered = folder / f"{name}-ecds.json"
    kind = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
    discovered.write_text(json.dumps({"resources": [moved({"@type": kind, **extension}, places)]}))
    for listener in listeners:
        for chain in listener["filter_chains"]:
            for http_filter in chain["filters"][0]["typed_config"]["http_filters"]:
                if source := http_filter.get("config_discovery", {}).get("config_source"):
                    assert source.pop("ads") == {} and source["initial_fetch_timeout"] == "0s"
                    source["path_config_source"] = {"path": str(discovered)}
    return moved(bootstrap(name, folder, listeners, clusters, istio_stats(context)), places)


def envoy_gateway_bootstrap(name, folder, manifest, places, port):
    """What an Envoy of Envoy Gateway runs, with its routes in place."""
    (policy,) = documents(manifest)
    listener, routes = envoy_gateway_listener(port)
    resources = json_patched(policy, {
        ("Listener", listener["name"]): listener, ("RouteConfiguration", routes["name"]): routes})
    manager = listener["default_filter_chain"]["filters"][0]["typed_config"]
    manager["route_config"] = routes
    of = lambda kind: [resource for (is_a, _), resource in resources.items() if is_a == kind]
    places = {**places, "/usr/lib/kt/kt_filter.wasm": filter_module()}
    return moved(bootstrap(name, folder, of("Listener"), of("Cluster"), ENVOY_GATEWAY_STATS), places)


def drain_s():
    """For how many seconds a gateway's Envoy drains."""
    return re.search(r"drainDuration: (\d+)s", (ISTIO / "gateway.yaml").read_text())[1]


class MeshGateway(Gateway):
    """An Envoy that is configured as one of a mesh would be."""

    def __init__(self, gateway_id, folder, port, config, override=None):
        self.id, self.port, self.run_dir = gateway_id, port, folder
        self.url = f"http://127.0.0.1:{port}"
        self._http = httpx.Client(base_url=self.url, timeout=DEADLINE_S, verify=PLAIN)
        self._admin = Path(config["admin"]["address"]["pipe"]["path"])
        self.config_path = folder / f"{gateway_id}.json"
        self.config_path.write_text(json.dumps(config, indent=1))
        argv = [envoy(), "--config-path", self.config_path, "--concurrency", "1", "--log-level", "warning",
                "--disable-hot-restart", "--file-flush-interval-msec", "200",
                # As Istio's agent starts its Envoy, with the drainDuration of gateway.yaml.
                "--drain-strategy", "immediate", "--drain-time-s", drain_s()]
        if override is not None:
            argv += ["--config-yaml", override]
        self.process = Process(gateway_id, argv, folder / f"{gateway_id}.log")

    def is_ready(self):
        health = self.health()
        return health.status_code == 200 and health.json().get("snapshot")

    def restart(self):
        """Starts it again after its end."""
        self.process.start()
        wait_until(self.is_ready, f"{self.id} is ready again", DEADLINE_S)

    def admin_address(self):
        return str(self._admin)

    def admin(self):
        transport = httpx.HTTPTransport(uds=str(self._admin), verify=PLAIN)
        return httpx.Client(transport=transport, base_url="http://envoy", timeout=30)

    def envoy_stats(self):
        with self.admin() as admin:
            stats = admin.get("/stats", params={"format": "json", "usedonly": ""}).json()["stats"]
        return {stat["name"]: stat["value"] for stat in stats if "value" in stat}


@contextlib.contextmanager
def wasm_plugin(mesh, has_sidecar):
    """An Envoy with what istiod makes of our WasmPlugin; with the cluster of a sidecar, which it cannot bring along."""
    (plugin,) = documents(ISTIO / "wasmplugin.yaml")
    spec, port = plugin["spec"], free_port()
    listener = istio_listener(port)
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    manager["http_filters"].insert(0, {"name": "kt.kt-deny-all", "typed_config": {"@type": WASM, "config": {
        "name": "kt.kt-deny-all", "root_id": spec["pluginName"], "failure_policy": spec["failStrategy"],
        "vm_config": {"runtime": "envoy.wasm.runtime.v8", "code": {"local": {"filename": str(filter_module())}}},
        "configuration": {"@type": "type.googleapis.com/google.protobuf.StringValue",
                          "value": json.dumps(spec["pluginConfig"])},
    }}})
    clusters = json.loads(mesh.b.config_path.read_text())["static_resources"]["clusters"] if has_sidecar else []
    name = f"wasmplugin-{port}"
    config = bootstrap(name, mesh.folder, [listener], [it for it in clusters if it["name"] == "kt_sidecar"])
    gateway = MeshGateway(name, mesh.folder, port, config)
    gateway.process.start()
    try:
        yield gateway
    finally:
        gateway.process.kill()


def write_credentials(folder, key):
    """What the example Secret says, with this key in it, as a kubelet puts it there: behind a link."""
    version = folder / f"..{key}"
    version.mkdir(parents=True, exist_ok=True)
    files = documents(ISTIO / "secrets-example.yaml")[0]["stringData"]
    for name, secret in files.items():
        (version / name).write_text(secret.replace("<the provider's key>", key))
    link = folder / "..new"
    link.symlink_to(version.name)
    link.rename(folder / "..data")
    for name in files:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")


class TlsFront:
    """TLS before the fake provider, with a certificate of its own for `localhost`."""

    def __init__(self, folder, to):
        assert shutil.which("openssl"), "no openssl: run 'scripts/setup test', or apt-get install openssl"
        self.port, self._to = free_port(), to
        self.certificate = folder / "provider.crt"
        subprocess.run([
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
            "-addext", "subjectAltName=DNS:localhost", "-keyout", folder / "provider.key", "-out", self.certificate,
        ], check=True, capture_output=True)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.certificate, folder / "provider.key")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(DEADLINE_S)

    async def _listen(self):
        # Both addresses that Envoy knows the name by: were one refused, a body that is too large to be kept for a second
        # attempt would not get one.
        await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._context)
        # A machine without IPv6 does not know the name by the other.
        with contextlib.suppress(OSError):
            await asyncio.start_server(self._serve, "::1", self.port, ssl=self._context)

    async def _serve(self, reader, writer):
        there, back = await asyncio.open_connection("127.0.0.1", self._to)

        async def pump(source, sink):
            try:
                while data := await source.read(65536):
                    sink.write(data)
                    await sink.drain()
            except OSError:
                pass
            finally:
                sink.close()
        await asyncio.gather(pump(reader, back), pump(there, writer))

    def close(self):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE_S)


class Mesh(Group):
    """Three gateways over one sidecar: on an Istio gateway, beside an application, and on Envoy Gateway."""

    def __init__(self, config=None):
        self.folder = Path(tempfile.mkdtemp(prefix="kt-e2e-"))
        self.config_path = self.folder / "policy-config.yaml"
        self.provider = Provider(self.folder)
        self.tls = TlsFront(self.folder, self.provider.port)
        self.config = merged(CONFIG, {
            "providers": {"targets": self.targets()}, "policies": {"chain": ["prompt-injection"]},
        }, config or {})
        self.write_config(self.config)
        self.sidecar = Sidecar(self.folder, self.config_path)
        self.manifests = self.folder / "manifests"
        beside = free_port()
        generate(self.config_path, self.manifests, "--port", str(beside))
        self.write_credential(UPSTREAM_KEY)
        self.gateways = list(self._gateways(beside))

    def target(self):
        return {**super().target(), "base_url": f"https://localhost:{self.tls.port}"}

    def places(self):
        """Where what is in a pod is here."""
        return {
            "/run/kt/sidecar.sock": self.sidecar.socket, "/run/kt": self.folder,
            "/etc/kt/credentials": self.folder / "credentials",
            "/etc/ssl/certs/ca-certificates.crt": self.tls.certificate,
        }

    def write_credential(self, key):
        write_credentials(self.folder / "credentials", key)

    def _gateways(self, beside):
        istio = self.manifests / "istio"
        (override,) = documents(istio / "bootstrap.yaml")
        override = override["data"]["custom_bootstrap.json"]
        port = free_port()
        yield MeshGateway("kt-gateway", self.folder, port, istio_bootstrap(
            "kt-gateway", self.folder, istio / "envoyfilter-gateway.yaml", "GATEWAY", self.places(),
            [istio_listener(port)]), override)
        yield MeshGateway("kt-sidecar", self.folder, beside, istio_bootstrap(
            "kt-sidecar", self.folder, istio / "envoyfilter-sidecar.yaml", "SIDECAR_OUTBOUND", self.places()), override)
        port = free_port()
        yield MeshGateway("kt-envoy-gateway", self.folder, port, envoy_gateway_bootstrap(
            "kt-envoy-gateway", self.folder, self.manifests / "envoy-gateway/envoypatchpolicy.yaml", self.places(), port),
            envoy_gateway_override())

    def __exit__(self, *why):
        super().__exit__(*why)
        self.tls.close()
