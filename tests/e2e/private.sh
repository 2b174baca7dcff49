#!/usr/bin/env bash
# needs: base net registry image containerd
# Private images in a swarm with two tenants, one of them hostile: what is cached here or on another host goes to who has
# shown his right to it at the registry, and to nobody else. No credential is in any log, metric or store.
set -euo pipefail

PANTALA=$(realpath "${PANTALA:-target/debug/pantala}")
# shellcheck source=tests/lab/swarm.sh
. "$(dirname "$0")/../lab/swarm.sh"

trap swarm_finish EXIT
trap 'exit 130' INT TERM

nodes=(2 3 4 5)
tokens=10.88.0.3 basic=10.88.0.4 public=10.88.0.5 evil=10.88.0.6
# Long and odd, so that finding it anywhere means something. Bob is the hostile one: he has an account, and no right to ann's.
ann=ann:canary-$RANDOM$RANDOM-ann bob=bob:canary-$RANDOM$RANDOM-bob

push() { on origin "$lab/make-image.py" --compress none "$@" >>"$work/push.log" 2>&1; }
encoded() { printf %s "$1" | base64 -w0; }
largest() { jq -r '.layers | max_by(.size) | .digest' "$1"; }

start_registries() {
    local link one
    link=$(on origin ip -o -4 addr | awk '/ 10\.88\.0\.2\// { print $2 }')
    for one in "$tokens" "$basic" "$public" "$evil"; do on origin ip addr add "$one/16" dev "${link%%@*}"; done
    serve origin registry.sh --listen $tokens --port 443 --tls --tls-name $tokens --token "$ann" --tenant "$bob"
    tokens_dir=$dir ca_file=$cafile realm=https://$tokens:$(cat "$dir/token.port")
    push --layer-sizes 1M,9M --push $tokens/ann/app:v1 --creds "$ann" --ca-dir "$ca"
    push --layer-sizes 3M --push $tokens/ann/other:v1 --creds "$ann" --ca-dir "$ca" --name other
    # Tokens of a server whose clock is far behind.
    cp -r "$dir" "$work/expired"
    on origin python3 "$dir/token_server.py" $tokens 5001 "$work/expired" "$ann" -600 0 https >"$work/expired.log" 2>&1 &
    echo $! >>"$work/pids"
    serve origin registry.sh --listen $basic --port 80 --auth "$ann"
    basic_dir=$dir
    push --layer-sizes 2M --push $basic/team/app:v1 --creds "$ann" --name basic
    serve origin registry.sh --listen $public --port 80
    push --layer-sizes 2M --push $public/test/app:v1 --name public
    origins=("$tokens" "$realm" "http://$basic" "http://$public" "http://$evil")
    mirror_lines="registries = [\"$tokens\", \"$basic\", \"$public\"]"
}

# A registry that says of every digest that it has it, and what its length is: $1 to anybody, $2 to who shows anything.
start_evil() {
    cat >"$work/evil.py" <<'PY'
import http.server, sys
host, length, repository_for_all = sys.argv[1], int(sys.argv[2]), "/v2/all/"
class Evil(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_HEAD(self):
        may = self.path.startswith(repository_for_all) or "Authorization" in self.headers
        self.send_response(200 if may else 401)
        self.send_header("Content-Length", str(length if may else 0))
        self.end_headers()
        return may
    def do_GET(self):
        if self.do_HEAD():
            self.wfile.write(bytes(length))
http.server.ThreadingHTTPServer((host, 80), Evil).serve_forever()
PY
    on origin python3 "$work/evil.py" $evil "$1" >"$work/evil.log" 2>&1 &
    echo $! >>"$work/pids"
    wait_for 10 on origin curl -s -m 2 -o /dev/null http://$evil/
}

token_of() { # USER:PASS REPOSITORY [REALM]
    on origin curl -sf --cacert "$ca_file" -u "$1" "${3:-$realm}/token?service=lab-registry&scope=repository:$2:pull" | jq -r .token
}

# ask NODE REGISTRY PATH [curl options]: the mirror's answer is in $work/body, its status on standard output.
ask() {
    local node=$1 registry=$2 path=$3
    shift 3
    on "$node" curl -s -m 60 -o "$work/body" -w '%{http_code}\n' "$@" "http://$(mirror_of "$node")/v2/$path?ns=$registry" || true
}
gets() { # NODE REGISTRY REPOSITORY DIGEST [curl options]
    local node=$1 registry=$2 repository=$3 digest=$4 status
    shift 4
    status=$(ask "$node" "$registry" "$repository/blobs/$digest" "$@")
    echo "answered $status"
    [ "$status" = 200 ] && is_whole "$digest" "$work/body"
}
# The bytes of ann's blob, or some of them, are not in what came.
leaks_nothing() {
    python3 - "$work/secret" "$work/body" <<'PY'
import sys
secret, body = (open(name, "rb").read() for name in sys.argv[1:])
at = len(secret) // 2
sys.exit(secret[at : at + 64] in body or secret[:64] in body)
PY
}
is_refused() { # STATUS... (as a pattern) NODE REGISTRY PATH [curl options]
    local pattern=$1 status
    shift
    status=$(ask "$@")
    echo "answered $status"
    [[ $status =~ ^($pattern)$ ]] && leaks_nothing
}
# Everything a stranger can try: HEAD, GET, a range; of a blob and of a manifest.
all_refused() { # NODE [curl options]
    local node=$1 path way
    shift
    for path in "ann/app/blobs/$secret" "ann/app/manifests/v1" "ann/app/manifests/$manifest"; do
        for way in "-I" "" "-r 0-63"; do
            # shellcheck disable=SC2086  # an option and its value
            is_refused '401|403|404' "$node" $tokens "$path" $way "$@" || { echo "$path $way"; return 1; }
        done
    done
    is_refused '401|403|404' "$node" $tokens "bob/app/blobs/$secret" "$@"
}
# What is cached and what is not are refused alike, but for their names.
refused_alike() { # NODE [curl options]
    local node=$1 digest
    shift
    for digest in "$secret" "$unasked"; do
        on "$node" curl -s -m 60 -D - "$@" "http://$(mirror_of "$node")/v2/ann/app/blobs/$digest?ns=$tokens" |
            sed "s/$digest/DIGEST/g; /^[Dd]ate:/d" >"$work/refused-$digest"
    done
    diff "$work/refused-$secret" "$work/refused-$unasked"
}
sent() { sent_bytes registry.sh "$1"; }
unchanged() { echo "$1, then $2"; [ "$1" = "$2" ]; }

swarm_begin 5
start_registries
extra="ca_files = [\"$ca_file\"]
proof_lifetime = \"4s\"
DOCKER
[log]
level = \"debug\""
plain_extra=${extra/DOCKER/}
printf '{"auths":{"%s":{"auth":"%s"}}}' $tokens "$(encoded "$ann")" >"$work/docker.json"
# The same from a program that docker's tools would ask.
mkdir "$work/bin"
printf '{"credHelpers":{"%s":"lab"}}' $tokens >"$work/helped.json"
cat >"$work/bin/docker-credential-lab" <<SH
#!/bin/sh
read -r server && [ "\$1 \$server" = "get $tokens" ] && printf '{"ServerURL":"x","Username":"ann","Secret":"%s"}' '${ann#*:}'
SH
chmod 700 "$work/bin/docker-credential-lab"
extra=$plain_extra
swarm_scheduler 1
for node in 2 3; do swarm_daemon $node daemon; done
swarm_ready 2 3

ann_token=$(token_of "$ann" ann/app) bob_token=$(token_of "$bob" bob/app) wide_token=$(token_of "$bob" ann/app)
expired=$(token_of "$ann" ann/app https://$tokens:5001)
as_ann=(-H "Authorization: Bearer $ann_token")
as_basic=(-H "Authorization: Basic $(encoded "$ann")")
on origin curl -sf --cacert "$ca_file" "${as_ann[@]}" -H 'Accept: application/vnd.oci.image.manifest.v1+json' \
    "https://$tokens/v2/ann/app/manifests/v1" >"$work/manifest.json"
manifest=sha256:$(sha256sum <"$work/manifest.json" | cut -d ' ' -f 1)
secret=$(largest "$work/manifest.json")
unasked=$(jq -r '.layers | min_by(.size) | .digest' "$work/manifest.json")
on origin curl -sf --cacert "$ca_file" "${as_ann[@]}" "https://$tokens/v2/ann/app/blobs/$secret" >"$work/secret"
size=$(stat -c %s "$work/secret")
start_evil "$size"
"$lab/registry.sh" stats --dir "$tokens_dir" --reset >/dev/null

# ---- who may have it ---------------------------------------------------------
verdict "its tenant gets a private blob through one host" "$work/2/log" gets 2 $tokens ann/app "$secret" "${as_ann[@]}"
verdict "the registry sent it once" "too much" at_most "$(sent "$tokens_dir")" $((size + 20000))
before=$(sent "$tokens_dir")
verdict "and through another host" "$work/3/log" gets 3 $tokens ann/app "$secret" "${as_ann[@]}"
verdict "whose bytes come from the first, not from the registry" "sent again" unchanged "$before" "$(sent "$tokens_dir")"
verdict "which counts them" "no bytes from peers" test "$(metric 3 pantala_body_bytes_total peer)" -ge "$size"
verdict "and again, from what is held" "$work/2/log" gets 2 $tokens ann/app "$secret" "${as_ann[@]}"
verdict "which costs the registry no byte" "sent again" unchanged "$before" "$(sent "$tokens_dir")"

# ---- who may not -------------------------------------------------------------
for node in 2 3; do
    verdict "without credentials nothing is given by host $node" "$work/$node/log" all_refused $node
    verdict "nor for made-up ones" "$work/$node/log" all_refused $node -H "Authorization: Bearer nonsense"
    verdict "nor for the other tenant's own" "$work/$node/log" all_refused $node -H "Authorization: Bearer $bob_token"
    verdict "nor for his token for the first tenant's name" "$work/$node/log" all_refused $node -H "Authorization: Bearer $wide_token"
    verdict "nor for his password" "$work/$node/log" all_refused $node -u "$bob"
    verdict "nor for an expired token" "$work/$node/log" all_refused $node -H "Authorization: Bearer $expired"
done
verdict "what is held and what is not are refused alike" "they differ" refused_alike 2
verdict "also with the other tenant's credentials" "they differ" refused_alike 2 -H "Authorization: Bearer $bob_token"

claimed() { # NODE REPOSITORY [curl options]: whatever comes, it is not ann's
    local node=$1 repository=$2
    shift 2
    ask "$node" $evil "$repository/blobs/$secret" "$@"
    leaks_nothing
}
for node in 2 3; do
    verdict "a registry that claims the digest for everybody gets nothing of it from host $node" "leaked" claimed $node all/x
    verdict "nor one that claims it for its own tenant" "leaked" claimed $node bobs/x -H "Authorization: Bearer $bob_token"
done

# ---- rights that end ---------------------------------------------------------
on origin curl -sf "${as_basic[@]}" -H 'Accept: application/vnd.oci.image.manifest.v1+json' \
    http://$basic/v2/team/app/manifests/v1 >"$work/basic.json"
layer=$(largest "$work/basic.json")
for node in 2 3; do
    verdict "a password opens what it opens at the registry, on host $node" "$work/$node/log" gets $node $basic team/app "$layer" "${as_basic[@]}"
done
htpasswd -Bbn carol other >"$basic_dir/htpasswd"
wait_for 20 on origin bash -c "! curl -sf -o /dev/null -H 'Authorization: Basic $(encoded "$ann")' http://$basic/v2/"
revoked() { is_refused '401' "$1" $basic "team/app/blobs/$layer" "${as_basic[@]}"; }
for node in 2 3; do
    # The proof counts for 4 s in this test.
    verdict "a right that was taken away ends here too, on host $node" "$work/$node/log" wait_for 8 revoked $node
done
layer=$(on origin curl -sf -H 'Accept: application/vnd.oci.image.manifest.v1+json' http://$public/v2/test/app/manifests/v1 |
    tee "$work/public.json" | jq -r '.layers[0].digest')
for node in 2 3; do verdict "what is public is everybody's, on host $node" "$work/$node/log" gets $node $public test/app "$layer"; done

# ---- credentials of the hosts --------------------------------------------------
docker="docker_config = \"$work/docker.json\""
extra="${plain_extra/proof_lifetime/import_credentials = [\"$tokens\"]
$docker
proof_lifetime}"
swarm_daemon 4 seed
extra="${plain_extra/proof_lifetime/lent_credentials = [\"$tokens\"]
${docker/docker.json/helped.json}
proof_lifetime}"
PATH=$work/bin:$PATH swarm_daemon 5 daemon
swarm_ready 4 5
other=$(on origin curl -sf --cacert "$ca_file" -H "Authorization: Bearer $(token_of "$ann" ann/other)" \
    -H 'Accept: application/vnd.oci.image.manifest.v1+json' "https://$tokens/v2/ann/other/manifests/v1" | jq -r '.layers[0].digest')
verdict "a host that lends its credentials gives it to who shows none" "$work/5/log" gets 5 $tokens ann/other "$other"
verdict "which a seed imports with its own" "the seed read nothing" test "$(metric 4 pantala_origin_body_bytes_total)" -gt 0
# The name that it falls back to is a closed port: what arrives came through the mirror.
by_skopeo() { # NODE
    printf '[[registry]]\nprefix = "ann.test"\nlocation = "127.0.0.1:9"\ninsecure = true\n[[registry.mirror]]\nlocation = "%s/%s"\ninsecure = true\n' \
        "$(mirror_of "$1")" $tokens >"$work/$1/registries.conf"
    rm -rf "$work/$1/pulled"
    on "$1" timeout 60 skopeo --registries-conf "$work/$1/registries.conf" copy --insecure-policy "docker://ann.test/ann/app:v1" "dir:$work/$1/pulled"
}
verdict "and to skopeo, which shows none to a mirror" "$work/5/log" by_skopeo 5
fails() { ! "$@"; }
verdict "but not through a host that lends none" "it was let in" fails by_skopeo 3
verdict "a seed that only imports lends them to nobody" "$work/4/log" is_refused 401 4 $tokens "ann/other/blobs/$other"
serve 3 containerd.sh --dir "$work/3/containerd" --no-cri || fail "containerd"
pulled() {
    "$lab/containerd.sh" mirror --dir "$work/3/containerd" --mirror "$tokens=http://$(mirror_of 3)" --server "$tokens=http://127.0.0.1:9"
    on 3 timeout 60 env SSL_CERT_FILE="$ca_file" "$lab/containerd.sh" pull --dir "$work/3/containerd" "$tokens/ann/app:v1" "$@"
}
verdict "containerd without credentials gets nothing" "it was let in" fails pulled
verdict "containerd with the other tenant's gets nothing" "it was let in" fails pulled -u "$bob"
verdict "containerd with the tenant's gets the image" "$work/3/log" pulled -u "$ann"

by_get() { get 2 "$tokens/ann/app:v1" "$work/2/image/" --overwrite --header "Authorization: Basic $(encoded "$1")"; }
verdict "a command with the other tenant's password gets nothing" "it was let in" fails by_get "$bob"
verdict "a command with the tenant's gets the image" "$work/2/log" by_get "$ann"

# ---- no secret anywhere ----------------------------------------------------------
found_nowhere() {
    local node one
    for node in "${nodes[@]}"; do on "$node" curl -fsS "http://127.0.0.1:$(port "$node" 1)/metrics" >"$work/$node/metrics"; done
    for one in "${ann#*:}" "${bob#*:}" "$(encoded "$ann")" "$(encoded "$bob")" "$ann_token" "$bob_token" "$wide_token" "$expired"; do
        [ ${#one} -gt 10 ] || { echo "no secret: $one"; return 1; }
        if grep -RlaF -- "$one" "$work"/scheduler "$work"/[0-9]/{log,data,metrics,pantala.toml}; then return 1; fi
    done
}
verdict "the logs tell of private blobs" "no such line" grep -q 'a private blob' "$work/2/log"
verdict "no credential is in any log, store or metric" "found" found_nowhere
