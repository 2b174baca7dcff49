#!/usr/bin/env bash
# A scheduler, a seed and four daemons in a network: files and images to all of them at once, with real clients.
# needs: base registry nginx net containerd podman image
set -euo pipefail

PANTALA=$(realpath "${PANTALA:-target/debug/pantala}")
# shellcheck source=tests/lab/swarm.sh
. "$(dirname "$0")/../lab/swarm.sh"

nodes=(2 3 4 5 6)
file_bytes=$((64 << 20))
plain=10.88.0.2 tokens=10.88.0.3 tls=10.88.0.4 private=10.88.0.5

push() { on origin "$lab/make-image.py" --compress none "$@" >>"$work/push.log" 2>&1; }

start_origins() {
    local link one
    link=$(on origin ip -o -4 addr | awk '/ 10\.88\.0\.2\// { print $2 }')
    for one in "$tokens" "$tls" "$private"; do on origin ip addr add "$one/16" dev "${link%%@*}"; done
    mkdir -p "$work/www"
    head -c $file_bytes /dev/urandom >"$work/www/file"
    serve origin nginx.sh --root "$work/www" --listen $plain --port 8080
    nginx=$dir
    serve origin registry.sh --listen $plain --port 80
    registry=$dir
    push --layer-sizes 4M,12M --push $plain/test/app:v1
    push --layer-sizes 3M,5M --push $plain/test/other:v1
    serve origin registry.sh --listen $tokens --port 80 --token user:secret --anonymous-pull
    token_realm=http://$tokens:$(cat "$dir/token.port")
    push --layer-sizes 2M,3M --push $tokens/test/app:v1 --creds user:secret --name tokens
    serve origin registry.sh --listen $tls --port 443 --tls --tls-name $tls
    ca_file=$cafile
    push --layer-sizes 2M,3M --push $tls/test/app:v1 --name tls --ca-dir "$ca"
    serve origin registry.sh --listen $private --port 80 --token user:secret
    private_registry_dir=$dir
    private_realm=http://$private:$(cat "$dir/token.port")
    push --layer-sizes 2M,3M --push $private/test/app:v1 --creds user:secret --name private
    origins=("http://$plain:8080" "http://$plain" "http://$tokens" "$token_realm" "$tls" "http://$private" "$private_realm")
    extra="ca_files = [\"$ca_file\"]"
    mirror_lines="registries = [\"$plain\", \"$tokens\", \"$tls\", \"$private\"]"
    "$lab/registry.sh" stats --dir "$registry" --reset >/dev/null
}

start_swarm() {
    local node
    swarm_scheduler 1
    swarm_daemon 2 seed
    for node in "${nodes[@]:1}"; do swarm_daemon "$node" daemon; done
    swarm_ready "${nodes[@]}"
}

# ---- clients ----------------------------------------------------------------
fetch() { get "$1" http://$plain:8080/file "$work/$1/file"; }

# The name that a client falls back to is a closed port: what arrives came through the mirror.
registries_conf() { # NODE
    local one
    for one in $plain $tokens $tls $private; do
        printf '[[registry]]\nprefix = "r%s.test"\nlocation = "127.0.0.1:9"\ninsecure = true\n[[registry.mirror]]\nlocation = "%s/%s"\ninsecure = true\n' \
            "${one##*.}" "$(mirror_of "$1")" "$one"
    done
}

skopeo_from() { # NODE REGISTRY IMAGE [options]
    local node=$1 registry=$2 image=$3
    shift 3
    registries_conf "$node" >"$work/$node/registries.conf"
    rm -rf "$work/$node/pulled"
    on "$node" timeout 60 skopeo --registries-conf "$work/$node/registries.conf" copy --insecure-policy "$@" \
        "docker://r${registry##*.}.test/$image" "dir:$work/$node/pulled"
}

podman_from() { # NODE REGISTRY IMAGE
    registries_conf "$1" >"$work/$1/registries.conf"
    on "$1" env CONTAINERS_REGISTRIES_CONF="$work/$1/registries.conf" timeout 90 podman --root "$work/$1/podman" \
        --runroot "$work/$1/podman-run" --storage-driver vfs pull -q "r${2##*.}.test/$3"
}

containerd_from() { # NODE REGISTRY IMAGE [ctr options]
    local node=$1 registry=$2 image=$3
    shift 3
    "$lab/containerd.sh" mirror --dir "$work/$node/containerd" --mirror "$registry=http://$(mirror_of "$node")" \
        --server "$registry=http://127.0.0.1:9"
    on "$node" timeout 60 "$lab/containerd.sh" pull --dir "$work/$node/containerd" "$registry/$image" "$@"
}

image_by_skopeo() { skopeo_from "$1" $plain test/app:v1; }
image_by_containerd() { containerd_from "$1" $plain test/other:v1; }

# ---- checks -----------------------------------------------------------------
measured() {
    local node count=0
    for node in "${nodes[@]}"; do count=$((count + $(metric "$node" pantala_task_efficiency_count))); done
    echo "$count tasks measured"
    [ "$count" -gt 0 ] && grep -h '% of the best' "$work"/*/fetch.log
}

same_files() {
    local node digest
    digest=$(sha256sum <"$work/www/file")
    for node in "${nodes[@]}"; do [ "$(sha256sum <"$work/$node/file")" = "$digest" ] || { echo "differs on $node"; return 1; }; done
}


layer_bytes() { # in the images that the origin's registry holds: what each pull of all of them takes
    sed -n 's/^total \([0-9]*\) bytes.*/\1/p' "$work/push.log" | sed -n "$1p"
}

# The command fails, and says that it is for want of credentials.
refused() {
    if "$@" >"$work/refused" 2>&1; then echo "it was let in"; return 1; fi
    grep -Ei 'unauthori[sz]ed|authentication|denied' "$work/refused" || { tail -n 1 "$work/refused"; return 1; }
}

# With a mirror that refuses it, skopeo goes to the registry with its own credentials.
skopeo_past_mirror() { # NODE USER:PASS
    printf '[[registry]]\nlocation = "%s"\ninsecure = true\n[[registry.mirror]]\nlocation = "%s/%s"\ninsecure = true\n' \
        $private "$(mirror_of "$1")" $private >"$work/$1/registries.conf"
    rm -rf "$work/$1/pulled"
    on "$1" timeout 60 skopeo --registries-conf "$work/$1/registries.conf" copy --insecure-policy --src-creds "$2" \
        "docker://$private/test/app:v1" "dir:$work/$1/pulled"
}

# held DIR: whether some bytes from within the registry's largest layer are in a file of any store.
held() {
    python3 - "$1" "$work" "${nodes[@]}" <<'PYTHON'
import os, sys
registry, work, nodes = sys.argv[1], sys.argv[2], sys.argv[3:]
files = lambda top: [os.path.join(d, f) for d, _, names in os.walk(top) for f in names]
layer = max(files(registry + "/data"), key=os.path.getsize)
with open(layer, "rb") as f:
    f.seek(os.path.getsize(layer) // 2)
    some = f.read(64)
for node in nodes:
    for path in files(f"{work}/{node}/data"):
        with open(path, "rb") as f:
            if some in f.read():
                print("held in", path)
                sys.exit(0)
print("held nowhere")
sys.exit(1)
PYTHON
}

files() {
    verdict "a file by get on all hosts at once" "see $work/NODE/fetch.log" each fetch "${nodes[@]}"
    verdict "every host has the same file" "a digest differs" same_files
    verdict "the origin sent the file once" "too much" at_most "$(sent_bytes nginx.sh "$nginx")" $((file_bytes * 101 / 100))
    verdict "peers sent the rest" "no bytes from peers" test "$(metric 4 pantala_body_bytes_total peer)" -gt 0
    verdict "hosts tell how near they came to what is possible" "no pantala_task_efficiency" measured
}

images() {
    local node
    verdict "an image by skopeo on all hosts at once" "see $work/NODE/image_by_skopeo.log" each image_by_skopeo "${nodes[@]}"
    verdict "the registry sent that image once" "too much" at_most "$(sent_bytes registry.sh "$registry")" \
        $(($(layer_bytes 1) * 101 / 100 + 20000))
    "$lab/registry.sh" stats --dir "$registry" --reset >/dev/null
    for node in "${nodes[@]:1:3}"; do
        serve "$node" containerd.sh --dir "$work/$node/containerd" --no-cri || fail "containerd on $node"
    done
    verdict "an image by containerd on three hosts at once" "see $work/NODE/image_by_containerd.log" \
        each image_by_containerd "${nodes[@]:1:3}"
    verdict "the registry sent that image once as well" "too much" at_most "$(sent_bytes registry.sh "$registry")" \
        $(($(layer_bytes 2) * 101 / 100 + 20000))
    verdict "podman pulls through the mirror" "see the mirror's log" podman_from 5 $plain test/app:v1
}

registries() {
    verdict "skopeo: a registry with anonymous tokens" "$work/3/log" skopeo_from 3 $tokens test/app:v1
    verdict "podman: a registry with anonymous tokens" "$work/6/log" podman_from 6 $tokens test/app:v1
    verdict "containerd: a registry with anonymous tokens" "$work/4/log" containerd_from 4 $tokens test/app:v1
    verdict "skopeo: a registry behind TLS of an own authority" "$work/3/log" skopeo_from 3 $tls test/app:v1
    verdict "podman: a registry behind TLS of an own authority" "$work/5/log" podman_from 5 $tls test/app:v1
    verdict "containerd: a registry behind TLS of an own authority" "$work/4/log" containerd_from 4 $tls test/app:v1
}

private_registry() {
    verdict "private image without credentials: skopeo is refused" "it was let in" refused skopeo_from 3 $private test/app:v1
    verdict "private image with credentials: skopeo gets it past the mirror" "$work/3/log" skopeo_past_mirror 3 user:secret
    verdict "private image with credentials: containerd gets it" "$work/4/log" containerd_from 4 $private test/app:v1 -u user:secret
    verdict "private image with a wrong password: skopeo is refused" "it was let in" refused skopeo_past_mirror 3 user:wrong
    verdict "private image with a wrong password: containerd is refused" "it was let in" refused containerd_from 5 $private test/app:v1 -u user:wrong
    verdict "private image without credentials: containerd is refused" "it was let in" refused containerd_from 5 $private test/app:v1
    verdict "private image after others had it: skopeo without credentials is refused" "it was let in" \
        refused skopeo_from 3 $private test/app:v1
    verdict "what is not private is in a store" "the search does not find it" held "$registry"
    verdict "and what is private too, for who may have it" "the search does not find it" held "$private_registry_dir"
}

trap swarm_finish EXIT
trap 'exit 130' INT TERM
swarm_begin 6 --rate 500mbit
start_origins
start_swarm
files
images
registries
private_registry
