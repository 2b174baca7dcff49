#!/usr/bin/env python3
"""Asks a web server for files over connections that stay, reads every byte, and says how fast they came.

    load.py flood  URL CONNECTIONS SECONDS       the next request as soon as an answer has ended
    load.py paced  URL CONNECTIONS SECONDS RATE  so many requests a second, whatever the answers do
    load.py each   BASE CONNECTIONS < LINES      each line, a path, once

Prints {"requests", "bytes", "seconds", "first_byte_p50_ms", "first_byte_p99_ms", "failed"}. A first byte's time is
counted from when its request was due, so that a server that stops keeps nothing from being counted.
"""

import json
import socket
import sys
import threading
import time
import urllib.parse

BUFFER = 256 << 10


class Connection:
    def __init__(self, host, port):
        self.where = (host, port)
        self.socket = None
        self.buffer = bytearray(BUFFER)

    def ask(self, path):
        """One request: when its first byte came, and the bytes of the body."""
        if self.socket is None:
            self.socket = socket.create_connection(self.where, timeout=60)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        accept = "application/vnd.oci.image.manifest.v1+json, */*"
        head = f"GET {path} HTTP/1.1\r\nHost: {self.where[0]}:{self.where[1]}\r\nAccept: {accept}\r\n\r\n"
        self.socket.sendall(head.encode())
        got = self.socket.recv_into(self.buffer)
        first = time.monotonic()
        end = self.buffer.find(b"\r\n\r\n", 0, got)
        while end < 0:
            more = self.socket.recv_into(memoryview(self.buffer)[got:])
            if not more:
                raise OSError("the connection ended in a head")
            got += more
            end = self.buffer.find(b"\r\n\r\n", 0, got)
        head = bytes(self.buffer[:end]).decode("latin-1").lower().split("\r\n")
        fields = dict(line.split(":", 1) for line in head[1:])
        length = int(fields["content-length"])
        rest = length - (got - end - 4)
        while rest:
            more = self.socket.recv_into(self.buffer)
            if not more:
                raise OSError("the connection ended in a body")
            rest -= more
        if fields.get("connection", "").strip() == "close":
            self.close()
        if not head[0].split()[1].startswith("2"):
            raise OSError(f"{path}: {head[0]}")
        return first, length

    def close(self):
        if self.socket is not None:
            self.socket.close()
        self.socket = None


class Load:
    """What the connections share: which request is next, and what came of them."""

    def __init__(self, url, asks):
        parts = urllib.parse.urlsplit(url)
        self.host, self.port = parts.hostname, parts.port or 80
        self.asks = asks
        self.lock = threading.Lock()
        self.waits, self.bytes, self.failed = [], 0, []

    def next(self):
        with self.lock:
            return next(self.asks, None)

    def work(self):
        connection = Connection(self.host, self.port)
        while (ask := self.next()) is not None:
            path, due = ask
            if due is None:
                due = time.monotonic()
            elif (early := due - time.monotonic()) > 0:
                time.sleep(early)
            try:
                first, length = connection.ask(path)
            except (OSError, KeyError, ValueError) as error:
                connection.close()
                with self.lock:
                    self.failed.append(str(error))
                continue
            with self.lock:
                self.waits.append(first - due)
                self.bytes += length
        connection.close()

    def run(self, connections):
        start = time.monotonic()
        threads = [threading.Thread(target=self.work) for _ in range(connections)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        waits = sorted(self.waits) or [0.0]
        json.dump(
            {
                "requests": len(self.waits),
                "bytes": self.bytes,
                "seconds": round(time.monotonic() - start, 4),
                "first_byte_p50_ms": round(waits[len(waits) // 2] * 1000, 3),
                "first_byte_p99_ms": round(waits[min(len(waits) - 1, len(waits) * 99 // 100)] * 1000, 3),
                "failed": len(self.failed),
                "errors": self.failed[:3],
            },
            sys.stdout,
        )


def flood(path, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield path, None


def paced(path, seconds, rate):
    start = time.monotonic() + 0.1
    for number in range(int(seconds * rate)):
        yield path, start + number / rate


def main():
    # Threads that wait for a socket must not wait for each other's turn of 5 ms as well.
    sys.setswitchinterval(0.0002)
    mode, url, connections = sys.argv[1], sys.argv[2], int(sys.argv[3])
    parts = urllib.parse.urlsplit(url)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    if mode == "flood":
        asks = flood(path, float(sys.argv[4]))
    elif mode == "paced":
        asks = paced(path, float(sys.argv[4]), float(sys.argv[5]))
    else:
        asks = ((line.strip(), None) for line in sys.stdin if line.strip())
    Load(url, asks).run(connections)


if __name__ == "__main__":
    main()
