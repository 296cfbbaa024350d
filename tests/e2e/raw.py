"""Bytes as no HTTP library would send them."""

import hashlib
import json
import socket

import httpx

from answers import Answer


def exchange(gateway, request, half_close=False, timeout=20):
    """Sends `request` as it is and reads one answer; `None` where the connection ended without one."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout) as connection:
        try:
            connection.sendall(request)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
        except (ConnectionResetError, BrokenPipeError):
            pass  # An answer may have come before the request was whole.
        return read(connection)


def read(connection):
    data = b""
    while b"\r\n\r\n" not in data:
        try:
            piece = connection.recv(65536)
        except ConnectionResetError:
            return None
        if not piece:
            return None
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    headers = httpx.Headers([tuple(line.split(": ", 1)) for line in lines])
    length = int(headers.get("content-length", 0))
    while len(body) < length and (piece := connection.recv(65536)):
        body += piece
    if headers.get("transfer-encoding") == "chunked":
        while not body.endswith(b"0\r\n\r\n") and (piece := connection.recv(65536)):
            body += piece
        body = unchunked(body)
    return Answer(int(status_line.split()[1]), headers, body)


def unchunked(body):
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        whole, body = whole + body[:int(size, 16)], body[int(size, 16) + 2:]
    return whole


def request(body=b"", headers=(), method=b"POST", path=b"/v1/chat/completions", host=b"gateway"):
    """A request's bytes. `headers` are whole lines; the length is ours unless they have one."""
    lines = [method + b" " + path + b" HTTP/1.1"]
    if host is not None:
        lines.append(b"host: " + host)
    lines += headers
    if not any(line.lower().startswith((b"content-length", b"transfer-encoding")) for line in headers):
        lines.append(b"content-length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def bearer(key):
    return b"authorization: Bearer " + key.secret.encode()


def chat_bytes(prompt):
    return json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": prompt}]}).encode()


def digest(body):
    """A body as the fake provider tells that it has seen it."""
    return hashlib.sha256(body).hexdigest()
