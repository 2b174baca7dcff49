#!/usr/bin/env bash
# Starts and stops a private container registry (docker-registry) for tests.
set -euo pipefail

usage() {
    cat <<'USAGE'
Usage: registry.sh start [options]     start a registry, print its settings as KEY=VALUE
       registry.sh stop  --dir DIR     stop it and remove DIR (--keep leaves DIR)
       registry.sh status --dir DIR    exit 0 if it answers
       registry.sh stats --dir DIR     requests and bytes served so far (--reset: from now on)

Options of start
  --dir DIR           folder for config, data, logs, pids (default: mktemp -d)
  --listen ADDR       address to listen on (default 127.0.0.1)
  --port PORT         port (default: a free one)
  --bin PATH          docker-registry to run (default: from PATH)
  --auth USER:PASS    basic authentication (needs htpasswd, package apache2-utils)
  --token USER:PASS   bearer tokens: a token server is started beside it and the
                      registry sends clients there (needs openssl and python3)
  --tenant USER:PASS  one more user of the token server, who may pull USER/... alone (may be repeated)
  --token-ttl SEC     life of such a token (default 300; the registry allows 60 more)
  --anonymous-pull    the token server lets anyone pull
  --tls               HTTPS with a certificate of an own CA (needs openssl)
  --tls-name NAME     one more host name in that certificate (may be repeated)
  --pull-through URL  be a pull-through cache of the registry at URL
  --delay MS          every answer comes that much later (needs python3)
  --rate BYTES        at most so many bytes a second to all clients together; K, M, G allowed
  --cut BYTES         end every connection after so many bytes sent to the client

start prints dir=, url=, addr=, and with TLS ca= (folder with ca.crt) and cafile=.
  eval "$(registry.sh start --tls)"; curl --cacert "$cafile" "$url/v2/"
Everything it starts is ended by stop, by process id.  Root is not needed.
USAGE
}

# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/process.sh"

number() {
    local n=${1%[KkMmGg]} f=1
    case $1 in *[Kk]) f=1024 ;; *[Mm]) f=1048576 ;; *[Gg]) f=1073741824 ;; esac
    [[ $n =~ ^[0-9]+$ ]] || die "not a number: $1"
    echo $((n * f))
}

# spawn NAME COMMAND...: run in the background in a session of its own, keep its pid.
spawn() {
    local name=$1
    shift
    setsid "$@" >>"$dir/$name.log" 2>&1 </dev/null &
    echo $! >"$dir/$name.pid"
}

write_front() {
    cat >"$dir/front.py" <<'PY'
"""TCP front: passes bytes on, with a delay, a rate limit and a cut."""
import asyncio, sys, time
host, port, to_host, to_port, delay, rate, cut = sys.argv[1:]
delay, rate, cut = float(delay) / 1000, float(rate), int(cut)
free_at = 0.0

async def paced(n):
    global free_at
    now = time.monotonic()
    free_at = max(free_at, now) + n / rate
    await asyncio.sleep(free_at - now)

async def pump(reader, writer, downstream):
    queue, loop = asyncio.Queue(64), asyncio.get_running_loop()
    async def read():
        while True:
            data = await reader.read(65536)
            await queue.put((loop.time() + (delay if downstream else 0), data))
            if not data:
                return
    task, sent = asyncio.create_task(read()), 0
    try:
        while True:
            due, data = await queue.get()
            if not data:
                break
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            if downstream and cut:
                data = data[: max(0, cut - sent)]
            if downstream and rate:
                await paced(len(data))
            writer.write(data)
            await writer.drain()
            sent += len(data)
            if downstream and cut and sent >= cut:
                break
    except (ConnectionError, OSError):
        pass
    finally:
        task.cancel()
        writer.close()

async def serve(reader, writer):
    try:
        up_reader, up_writer = await asyncio.open_connection(to_host, int(to_port))
    except OSError:
        writer.close()
        return
    await asyncio.gather(pump(reader, up_writer, False), pump(up_reader, writer, True),
                         return_exceptions=True)

async def main():
    server = await asyncio.start_server(serve, host, int(port), backlog=1024)
    async with server:
        await server.serve_forever()
asyncio.run(main())
PY
}

write_token_server() {
    cat >"$dir/token_server.py" <<'PY'
"""Token server of the registry token protocol: RS256, signed by openssl."""
import base64, http.server, json, os, re, secrets, socketserver, subprocess, sys, time, urllib.parse
host, port, where, user, ttl, anonymous, scheme, *tenants = sys.argv[1:]
kept_apart = [one.split(":", 1)[0] for one in tenants]
pem = open(f"{where}/token.crt").read()
x5c = "".join(pem.split("-----")[2].split())

def b64(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

def sign(claims):
    head = {"typ": "JWT", "alg": "RS256", "x5c": [x5c]}
    body = ".".join(b64(json.dumps(x).encode()) for x in (head, claims))
    out = subprocess.run(["openssl", "dgst", "-sha256", "-sign", f"{where}/token.key"],
                         input=body.encode(), stdout=subprocess.PIPE, check=True)
    return body + "." + b64(out.stdout)

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, code, obj):
        raw = json.dumps(obj).encode()
        self.send_response(code)
        if code == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="token"')
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def grant(self, query, name):
        access = []
        for scope in query.get("scope", []):
            for one in scope.split():
                m = re.fullmatch(r"([a-z]+(?:\([a-z]+\))?):(.+):([a-z,*]+)", one)
                if not m:
                    continue
                actions = m.group(3).split(",")
                if name in kept_apart and not m.group(2).startswith(f"{name}/"):
                    continue
                if name is None:
                    actions = [a for a in actions if a == "pull" and anonymous == "1"]
                if actions:
                    access.append({"type": m.group(1), "name": m.group(2), "actions": actions})
        now = int(time.time())
        token = sign({"iss": "lab-token", "sub": name or "", "aud": query.get("service", [""])[0],
                      "exp": now + int(ttl), "nbf": now - 5, "iat": now,
                      "jti": secrets.token_hex(8), "access": access})
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
        return {"token": token, "access_token": token, "expires_in": int(ttl), "issued_at": stamp}

    def do_GET(self):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        kind, _, value = self.headers.get("Authorization", "").partition(" ")
        name = None
        if kind.lower() == "basic":
            given = base64.b64decode(value).decode()
            if given not in (user, *tenants):
                return self.answer(401, {"details": "wrong user or password"})
            name = given.split(":", 1)[0]
        self.answer(200, self.grant(query, name))

    def do_POST(self):
        length = int(self.headers.get("Content-Length", 0))
        form = urllib.parse.parse_qs(self.rfile.read(length).decode())
        given = f"{form.get('username', [''])[0]}:{form.get('password', [''])[0]}"
        if form.get("grant_type") != ["password"] or given not in (user, *tenants):
            return self.answer(401, {"details": "wrong user or password"})
        self.answer(200, self.grant(form, given.split(":", 1)[0]))

class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    address_family = __import__("socket").AF_INET6 if ":" in host else __import__("socket").AF_INET

server = Server((host, int(port)), Handler)
if scheme == "https":
    import ssl
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{where}/tls.crt", f"{where}/tls.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
PY
}

make_tls() {
    local names="DNS:localhost,IP:127.0.0.1,IP:::1" n
    case $listen in 127.0.0.1 | ::1 | 0.0.0.0 | ::) ;; *) names+=",IP:$listen" ;; esac
    for n in "${tls_names[@]}"; do
        if [[ $n =~ ^[0-9.]+$ || $n == *:* ]]; then names+=",IP:$n"; else names+=",DNS:$n"; fi
    done
    mkdir -p "$dir/ca"
    openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj "/CN=lab CA" \
        -addext "keyUsage=critical,keyCertSign,cRLSign" \
        -keyout "$dir/ca.key" -out "$dir/ca/ca.crt" 2>/dev/null
    openssl req -newkey rsa:2048 -nodes -subj "/CN=registry" \
        -keyout "$dir/tls.key" -out "$dir/tls.csr" 2>/dev/null
    printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n' "$names" >"$dir/tls.ext"
    openssl x509 -req -in "$dir/tls.csr" -CA "$dir/ca/ca.crt" -CAkey "$dir/ca.key" \
        -CAcreateserial -days 30 -extfile "$dir/tls.ext" -out "$dir/tls.crt" 2>/dev/null
}

answers() { curl -so /dev/null --max-time 5 --noproxy '*' -k "$1/v2/"; }

start() {
    dir=""
    local listen=127.0.0.1 port="" bin=docker-registry auth="" token="" ttl=300 anonymous=0
    local tls=0 upstream="" delay=0 rate=0 cut=0
    local -a tls_names=() tenants=()
    while [ $# -gt 0 ]; do
        case $1 in
        --dir) dir=$2 && shift 2 ;;
        --listen) listen=$2 && shift 2 ;;
        --port) port=$2 && shift 2 ;;
        --bin) bin=$2 && shift 2 ;;
        --auth) auth=$2 && shift 2 ;;
        --token) token=$2 && shift 2 ;;
        --tenant) tenants+=("$2") && shift 2 ;;
        --token-ttl) ttl=$2 && shift 2 ;;
        --anonymous-pull) anonymous=1 && shift ;;
        --tls) tls=1 && shift ;;
        --tls-name) tls_names+=("$2") && shift 2 ;;
        --pull-through) upstream=$2 && shift 2 ;;
        --delay) delay=$2 && shift 2 ;;
        --rate) rate=$(number "$2") && shift 2 ;;
        --cut) cut=$(number "$2") && shift 2 ;;
        *) die "unknown option $1 (see --help)" ;;
        esac
    done
    [ -z "$auth" ] || [ -z "$token" ] || die "--auth and --token exclude each other"
    need "$bin" docker-registry
    need python3 python3
    need curl curl
    if [ -z "$port" ]; then
        port=$(free_port "$listen")
    else
        free_port "$listen" "$port" >/dev/null 2>&1 || die "cannot listen on $(host_port "$listen" "$port")"
    fi
    [ -z "$dir" ] && dir=$(mktemp -d -t registry.XXXXXX)
    mkdir -p "$dir/data"
    if alive "$dir/registry.pid"; then die "already running in $dir"; fi
    local scheme=http inner=$listen inner_port=$port front=0
    if [ "$delay" != 0 ] || [ "$rate" != 0 ] || [ "$cut" != 0 ]; then
        front=1 inner=127.0.0.1 inner_port=$(free_port 127.0.0.1)
    fi
    if [ $tls = 1 ]; then
        need openssl openssl
        scheme=https
        make_tls
    fi
    {
        printf 'version: 0.1\nlog:\n  level: warn\n  accesslog: {disabled: false}\n'
        printf 'storage:\n  filesystem: {rootdirectory: "%s/data"}\n  delete: {enabled: true}\n' "$dir"
        printf 'http:\n  addr: "%s"\n  relativeurls: true\n  secret: lab\n' "$(host_port "$inner" "$inner_port")"
        [ $tls = 1 ] && printf '  tls: {certificate: "%s/tls.crt", key: "%s/tls.key"}\n' "$dir" "$dir"
        [ -n "$upstream" ] && printf 'proxy: {remoteurl: "%s"}\n' "$upstream"
        if [ -n "$auth" ]; then
            need htpasswd apache2-utils >&2
            htpasswd -Bbn "${auth%%:*}" "${auth#*:}" >"$dir/htpasswd"
            printf 'auth:\n  htpasswd: {realm: lab, path: "%s/htpasswd"}\n' "$dir"
        fi
        if [ -n "$token" ]; then
            local token_port
            token_port=$(free_port "$listen")
            openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj "/CN=lab token" \
                -keyout "$dir/token.key" -out "$dir/token.crt" 2>/dev/null
            printf 'auth:\n  token: {realm: "%s://%s/token", service: lab-registry, issuer: lab-token, rootcertbundle: "%s/token.crt"}\n' \
                "$scheme" "$(host_port "$listen" "$token_port")" "$dir"
            echo "$token_port" >"$dir/token.port"
        fi
        true
    } >"$dir/config.yml"
    trap 'for name in front registry token; do end_pid "$dir/$name.pid"; done' EXIT
    if [ -n "$token" ]; then
        write_token_server
        spawn token python3 "$dir/token_server.py" "$listen" "$(cat "$dir/token.port")" "$dir" "$token" "$ttl" "$anonymous" "$scheme" "${tenants[@]}"
    fi
    spawn registry "$bin" serve "$dir/config.yml"
    if [ $front = 1 ]; then
        write_front
        spawn front python3 "$dir/front.py" "$listen" "$port" "$inner" "$inner_port" "$delay" "$rate" "$cut"
    fi
    local reach=$listen url
    case $listen in 0.0.0.0) reach=127.0.0.1 ;; ::) reach=::1 ;; esac
    url=$scheme://$(host_port "$reach" "$port")
    echo "$url" >"$dir/url"
    for _ in $(seq 100); do
        alive "$dir/registry.pid" || { tail -5 "$dir/registry.log" >&2; die "the registry ended, see $dir/registry.log"; }
        if answers "$url"; then
            trap - EXIT
            echo "dir=$dir"
            echo "addr=$(host_port "$reach" "$port")"
            echo "url=$url"
            if [ $tls = 1 ]; then
                echo "ca=$dir/ca"
                echo "cafile=$dir/ca/ca.crt"
            fi
            return 0
        fi
        sleep 0.1
    done
    die "no answer from $url, see $dir/registry.log"
}

stop() {
    local dir=$1 keep=$2 name
    [ -f "$dir/config.yml" ] || die "$dir is no registry folder"
    for name in front registry token; do end_pid "$dir/$name.pid"; done
    [ "$keep" = 1 ] || rm -rf -- "$dir"
}

stats() {
    local dir=$1
    # Common log format: ADDR - USER [TIME] "METHOD PATH PROTO" STATUS BYTES ...
    awk '/^[^ ]+ - [^ ]* ?\[/ && match($0, /"[A-Z]+ [^ ]+ HTTP\/[0-9.]+" [0-9]+ [0-9]+/) {
            split(substr($0, RSTART + 1, RLENGTH - 1), f, /"? /)
            kind = "other"
            if (f[2] ~ /\/blobs\/sha/) kind = "blob"
            else if (f[2] ~ /\/manifests\//) kind = "manifest"
            else if (f[2] ~ /\/uploads\//) kind = "upload"
            key = f[1] " " kind " " f[4]
            n[key]++; b[key] += f[5]
        }
        END { for (k in n) printf "%s requests=%d bytes=%d\n", k, n[k], b[k] }' "$dir/registry.log" | sort
}

command=${1:-}
[ $# -gt 0 ] && shift
case $command in
start) start "$@" ;;
stop | status | stats)
    dir="" keep=0 reset=0
    while [ $# -gt 0 ]; do
        case $1 in
        --dir) dir=$2 && shift 2 ;;
        --keep) keep=1 && shift ;;
        --reset) reset=1 && shift ;;
        *) die "unknown option $1 (see --help)" ;;
        esac
    done
    [ -n "$dir" ] || die "--dir is needed"
    case $command in
    stop) stop "$dir" "$keep" ;;
    status) alive "$dir/registry.pid" && answers "$(cat "$dir/url")" ;;
    stats)
        stats "$dir"
        [ $reset = 0 ] || : >"$dir/registry.log"
        ;;
    esac
    ;;
-h | --help | help) usage ;;
*)
    usage >&2
    exit 2
    ;;
esac
