"""A bare Envoy with the hardening of the ingress listener and nothing of kt, and an upstream that records bytes.

    with Bare() as bare:
        answer = raw.exchange(bare, request)
        bare.upstream.seen(b"x-probe: 7")
"""

import json
import shutil
import socket
import tempfile
import threading
from pathlib import Path

from processes import Process, envoy, free_port, wait_until

# What Envoy has upstream as a connection, a message at a time, when it can no longer be reached for: it is closed.
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Upstream:
    """A server that keeps what arrives, byte for byte, and answers every whole request."""

    def __init__(self):
        self._socket = socket.create_server(("127.0.0.1", free_port()))
        self.port = self._socket.getsockname()[1]
        self._arrived, self._lock = [], threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._socket.close()

    def seen(self, marker):
        """What arrived with this in its head: the bytes of it, and whether it was whole. `None` where nothing did."""
        with self._lock:
            found = [record for record in self._arrived if marker in bytes(record["bytes"])]
        assert len(found) <= 1, found
        return (bytes(found[0]["bytes"]), found[0]["whole"]) if found else None

    def _accept(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        record, data = None, b""
        with connection:
            while True:
                try:
                    piece = connection.recv(65536)
                except OSError:
                    return
                if not piece:
                    return
                if record is None:
                    record, data = {"bytes": bytearray(), "whole": False}, b""
                    with self._lock:
                        self._arrived.append(record)
                data += piece
                record["bytes"] += piece
                if is_whole(data):
                    record["whole"] = True
                    connection.sendall(ANSWER)
                    record = None


def is_whole(data):
    """Whether a message that Envoy has written is there to its end."""
    head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        return False
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
    if fields.get(b"transfer-encoding") == b"chunked":
        return body.endswith(b"0\r\n\r\n")
    return len(body) >= int(fields.get(b"content-length", 0))


class Bare:
    """The Envoy. `port` is its listener's, as a gateway's is."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="kt-bare-"))
        self.port, self.upstream = free_port(), Upstream()
        config = self.folder / "envoy.json"
        config.write_text(json.dumps(bootstrap(self.port, self.upstream.port)))
        self.process = Process("bare-envoy", [
            envoy(), "-c", config, "--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warn",
        ], self.folder / "envoy.log")

    def __enter__(self):
        self.process.start()
        wait_until(lambda: socket.create_connection(("127.0.0.1", self.port)).close() or True, "the bare Envoy listens")
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.upstream.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def bootstrap(port, upstream):
    """The connection manager as envoy/ingress.yaml hardens it, and a router behind it."""
    typed = "type.googleapis.com/envoy.extensions.filters"
    manager = {
        "@type": f"{typed}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bare", "codec_type": "AUTO",
        "normalize_path": True, "merge_slashes": True, "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "use_remote_address": True, "skip_xff_append": True, "generate_request_id": False,
        "request_headers_timeout": "10s", "max_request_headers_kb": 64,
        "common_http_protocol_options": {
            "max_headers_count": 100, "headers_with_underscores_action": "REJECT_REQUEST",
        },
        "http_filters": [{
            "name": "router", "typed_config": {"@type": f"{typed}.http.router.v3.Router"},
        }],
        "route_config": {"virtual_hosts": [{
            "name": "all", "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}],
        }]},
    }
    at = lambda number: {"socket_address": {"address": "127.0.0.1", "port_value": number}}
    return {"static_resources": {
        "listeners": [{"name": "bare", "address": at(port), "filter_chains": [{"filters": [{
            "name": "manager", "typed_config": manager,
        }]}]}],
        "clusters": [{"name": "upstream", "type": "STATIC", "load_assignment": {
            "cluster_name": "upstream",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": at(upstream)}}]}],
        }}],
    }}
