#!/usr/bin/env python3
"""A web server that asks every client for credentials and writes down what it gets.

It shows what a client does with a mirror's 401: whether it answers the challenge, to
which host it sends the credentials, and what it asks for next.  Every request is one
line on standard output: METHOD PATH and the Authorization header, `-` where there is
none.  A request with an Authorization header is answered with 404, so that a client
that tries several mirrors goes on to the next.  Use made-up passwords only.

Examples
  challenge.py --port 5010                      # a Basic challenge
  challenge.py --port 5010 --bearer             # a Bearer challenge, token server beside it
  ctr -a SOCKET images pull --hosts-dir DIR -u user:secret example.test/a/b:1
"""
import argparse
import base64
import http.server
import json
import urllib.parse


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, code, body=b"", headers=()):
        self.send_response(code)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def handle_any(self):
        length = int(self.headers.get("Content-Length", 0))
        form = self.rfile.read(length).decode()
        given = self.headers.get("Authorization")
        shown = given or "-"
        if given and given.lower().startswith("basic "):
            shown = "Basic " + base64.b64decode(given[6:]).decode()
        print(self.command, self.path, shown, form, flush=True)
        if urllib.parse.urlsplit(self.path).path == "/token":
            token = json.dumps({"token": "lab-token", "access_token": "lab-token", "expires_in": 300}).encode()
            return self.answer(200, token, [("Content-Type", "application/json")])
        if given:
            return self.answer(404)
        self.answer(401, headers=[("WWW-Authenticate", self.server.challenge)])

    do_GET = do_HEAD = do_POST = handle_any

    def log_message(self, *args):
        pass


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--listen", default="127.0.0.1", help="address (default 127.0.0.1)")
    p.add_argument("--port", type=int, required=True)
    p.add_argument("--bearer", action="store_true", help="ask for a token instead of a password")
    args = p.parse_args()
    server = http.server.ThreadingHTTPServer((args.listen, args.port), Handler)
    server.challenge = 'Basic realm="lab"'
    if args.bearer:
        server.challenge = (f'Bearer realm="http://{args.listen}:{args.port}/token",'
                            'service="lab",scope="repository:a/b:pull"')
    server.serve_forever()


if __name__ == "__main__":
    main()
