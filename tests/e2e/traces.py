"""A collector of traces, a group that tells it what it does, and clients with a span of their own."""

import json
import secrets
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Thread

import pytest

from fleet import Fleet
from group import FOUR, Group
from processes import free_port, wait_until

SERVER, CLIENT = 2, 3


class Collector:
    """Takes what is exported to it."""

    def __init__(self):
        self.exports, self._changed = [], Condition()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                assert (self.path, self.headers["content-type"]) == ("/v1/traces", "application/json")
                with collector._changed:
                    collector.exports.append(json.loads(body))
                    collector._changed.notify_all()
                self.send_response(200)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", free_port()), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def spans(self, trace_id):
        """The spans of a trace so far, each with its attributes as a dictionary."""
        found = [span for export in self.exports for resource in export["resourceSpans"]
                 for scope in resource["scopeSpans"] for span in scope["spans"] if span["traceId"] == trace_id]
        return [{**span, "attributes": {each["key"]: next(iter(each["value"].values())) for each in span["attributes"]}}
                for span in found]

    def wait_spans(self, trace_id, count):
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.spans(trace_id)) >= count, 30), self.spans(trace_id)
        found = self.spans(trace_id)
        assert len(found) == count, found
        return found


class Traced(Group):
    """A group whose sidecar exports spans."""

    def __init__(self, collector_url):
        self.collector_url = collector_url
        super().__init__()

    def start_sidecar(self):
        self.sidecar.process.start({"OTEL_EXPORTER_OTLP_ENDPOINT": self.collector_url})
        wait_until(self.sidecar.is_ready, "the sidecar is ready")


class TracedFleet(Fleet):
    """A group whose gateways have a sidecar each, all of which export spans."""

    def __init__(self, collector_url):
        self.collector_url = collector_url
        super().__init__(gateways=FOUR[:3])

    def environment(self, sidecar):
        return {**super().environment(sidecar), "OTEL_EXPORTER_OTLP_ENDPOINT": self.collector_url}


@pytest.fixture(scope="module")
def collector():
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture(scope="module")
def traced(collector):
    with Traced(collector.url) as group:
        yield group


class Client:
    """A client's span, and the header that tells of it."""

    def __init__(self, flags="01"):
        self.trace_id, self.span_id = secrets.token_hex(16), secrets.token_hex(8)
        self.headers = {"traceparent": f"00-{self.trace_id}-{self.span_id}-{flags}"}


def of_kind(spans, kind):
    return [span for span in spans if span["kind"] == kind]
