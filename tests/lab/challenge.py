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
import base64
import json
import urllib.parse

import plain_web


class Handler(plain_web.Handler):
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
            return self.answer(200, [("Content-Type", "application/json")], token)
        if given:
            return self.answer(404)
        self.answer(401, [("WWW-Authenticate", self.server.challenge)])

    do_GET = do_HEAD = do_POST = handle_any


def main():
    options = plain_web.options(__doc__)
    options.add_argument("--bearer", action="store_true", help="ask for a token instead of a password")
    args = options.parse_args()
    server = plain_web.server(args, Handler)
    server.challenge = 'Basic realm="lab"'
    if args.bearer:
        server.challenge = (f'Bearer realm="http://{args.listen}:{args.port}/token",'
                            'service="lab",scope="repository:a/b:pull"')
    server.serve_forever()


if __name__ == "__main__":
    main()
