#!/usr/bin/env python3
"""A web server and registry that misbehaves as its path says.

It serves the files of --root at /MODE/NAME, and as blobs at /v2/MODE/app/blobs/sha256:HEX, where HEX is a file's
digest.  What it did is kept for each mode and file; GET /.sent/MODE/NAME tells the body bytes so far.

Modes
  right          as it should be: ranges, length, a strong tag
  first-wrong    wrong bytes of the right length until as many as the file has were sent
  wrong          wrong bytes of the right length always
  no-ranges      takes no notice of Range
  changes        after half of the file it is another one, with another tag
  short          the first two answers break off in their middle
  longer         HEAD tells a hundred bytes more than there are
  empty          200 with nothing in it
  busy           the first two answers are 429 with Retry-After, then as it should be
  away           the first two answers are 503, then as it should be
  401 404 429 503  that status, always
  metadata       a redirect to http://169.254.169.254/
"""
import hashlib
import os
import threading

import plain_web

sent, answers, lock = {}, {}, threading.Lock()


class Handler(plain_web.Handler):
    def find(self):
        """The mode and the bytes of the file, or None."""
        parts = self.path.split("?")[0].strip("/").split("/")
        if len(parts) == 5 and parts[0] == "v2" and parts[3] == "blobs":
            mode, name = parts[1], self.server.blobs.get(parts[4])
        elif len(parts) == 2:
            mode, name = parts
        else:
            return None
        path = os.path.join(self.server.root, os.path.basename(name or ""))
        if not os.path.isfile(path):
            return None
        with open(path, "rb") as file:
            return mode, name, file.read()

    def do_GET(self):
        if self.path.startswith("/.sent/"):
            with lock:
                return self.answer(200, body=str(sent.get(self.path[7:], 0)).encode())
        if self.path in ("/v2", "/v2/"):
            return self.answer(200)
        found = self.find()
        if found is None:
            return self.answer(404)
        mode, name, content = found
        key = f"{mode}/{name}"
        with lock:
            count = answers[key] = answers.get(key, 0) + (self.command == "GET")
            before = sent.get(key, 0)
        if mode.isdigit():
            headers = [("Retry-After", "1")] if mode == "429" else []
            headers += [("WWW-Authenticate", 'Basic realm="lab"')] if mode == "401" else []
            return self.answer(int(mode), headers)
        if mode == "metadata":
            return self.answer(302, [("Location", "http://169.254.169.254/latest/meta-data/")])
        if mode in ("busy", "away") and self.command == "GET" and count <= 2:
            return self.answer(429 if mode == "busy" else 503, [("Retry-After", "1")])
        if mode == "empty" and self.command == "GET":
            return self.answer(200, [("ETag", '"one"')])
        self.give(mode, key, content, before, count)

    do_HEAD = do_GET

    def give(self, mode, key, content, before, count):
        tag, length = '"one"', len(content)
        if mode == "changes" and before >= length // 2:
            tag, content = '"two"', bytes(reversed(content))
        if mode == "wrong" or (mode == "first-wrong" and before < length):
            content = content.translate(bytes(255 - byte for byte in range(256)))
        start, end = 0, length
        asked = self.headers.get("Range", "")
        if asked.startswith("bytes=") and mode != "no-ranges":
            first, _, last = asked[6:].partition("-")
            start, end = int(first), min(int(last or length - 1) + 1, length)
        if self.headers.get("If-Range", tag) != tag:
            start, end = 0, length
        is_part = (start, end) != (0, length)
        self.send_response(206 if is_part else 200)
        self.send_header("ETag", tag)
        if mode != "no-ranges":
            self.send_header("Accept-Ranges", "bytes")
        if is_part:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{length}")
        lie = 100 if mode == "longer" and self.command == "HEAD" else 0
        self.send_header("Content-Length", str(end - start + lie))
        self.end_headers()
        if self.command == "HEAD":
            return
        body = content[start:end]
        if mode == "short" and count <= 2:
            self.close_connection = True
            body = body[: len(body) // 2]
        for at in range(0, len(body), 1 << 16):
            part = body[at : at + (1 << 16)]
            self.wfile.write(part)
            with lock:
                sent[key] = sent.get(key, 0) + len(part)

    def handle(self):
        try:
            super().handle()
        except (BrokenPipeError, ConnectionResetError):
            pass


def main():
    options = plain_web.options(__doc__)
    options.add_argument("--root", required=True, help="the files to serve, as they are now")
    args = options.parse_args()
    server = plain_web.server(args, Handler)
    server.root, server.blobs = args.root, {}
    for name in os.listdir(args.root):
        with open(os.path.join(args.root, name), "rb") as file:
            server.blobs["sha256:" + hashlib.sha256(file.read()).hexdigest()] = name
    server.serve_forever()


if __name__ == "__main__":
    main()
