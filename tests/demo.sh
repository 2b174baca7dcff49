#!/usr/bin/env bash
# Shows on this machine what Pantala does: one origin, many hosts, an image and a file to all of them at once.
set -euo pipefail

usage() {
    cat <<'USAGE'
Usage: demo.sh

As root: a network of namespaces, each host with its own upload and download rate, an origin
with a registry and nginx, a scheduler, a seed and daemons; containerd pulls on every host.
Otherwise: all of it on loopback, without rates, and skopeo pulls (if it is there).
Everything it starts is ended, also on Ctrl-C.

  PANTALA=FILE       the program (default: target/release/pantala, built here)
  DEMO_HOSTS=6       hosts, the seed among them
  DEMO_RATE=200      Mbit/s of each host, up and down
  DEMO_FILE_MB=256   size of the file
  DEMO_LAYERS_MB="10 20 30 40"
                     the image's layers
USAGE
}
case ${1:-} in -h | --help) usage && exit ;; esac

cd "$(dirname "$0")/.."
count=${DEMO_HOSTS:-6} rate=${DEMO_RATE:-200} file_mb=${DEMO_FILE_MB:-256}
read -r -a layers <<<"${DEMO_LAYERS_MB:-10 20 30 40}"
root=0
[ "$(id -u)" != 0 ] || root=1

say() { printf '\e[2m%s\e[0m\n' "$*"; }
die() { echo "demo.sh: $*" >&2; exit 1; }

program() {
    if [ -z "${PANTALA:-}" ]; then
        say "building the program (a few minutes the first time)"
        cargo build --release --quiet --package pantala
        PANTALA=${CARGO_TARGET_DIR:-target}/release/pantala
    fi
    PANTALA=$(realpath "$PANTALA")
    export PANTALA
    [ -x "$PANTALA" ] || die "no program at $PANTALA"
}

packages() {
    if [ $root = 1 ]; then
        tests/install.sh registry nginx containerd net image >/dev/null
    else
        [ -x /usr/sbin/nginx ] || command -v nginx >/dev/null || die "needs nginx: tests/install.sh nginx, as root"
    fi
    client=none
    if command -v skopeo >/dev/null && command -v docker-registry >/dev/null; then client=skopeo; fi
}

finish() {
    local code=$?
    trap - EXIT INT TERM
    swarm_end
    if [ $code = 0 ] || [ $code = 130 ] || [ $code = 143 ]; then
        [ -z "$work" ] || rm -rf -- "$work"
    else
        echo "demo.sh: failed; logs are in ${work:-no folder}" >&2
        [ -z "$work" ] || tail -qn 2 "$work"/*/image.log "$work"/*/file.log 2>/dev/null >&2 || true
    fi
    exit $code
}

# ---- the stage --------------------------------------------------------------
start_origin() {
    mkdir -p "$work/www"
    head -c "${file_mb}M" /dev/urandom >"$work/www/model.bin"
    digest=$(sha256sum "$work/www/model.bin" | cut -d' ' -f1)
    serve origin nginx.sh --root "$work/www" --listen "$origin_ip"
    nginx=$dir file_url=$url/model.bin
    origins=("$url")
    [ $client != none ] || return 0
    serve origin registry.sh --listen "$origin_ip"
    registry=$dir registry_addr=$addr
    origins+=("$url")
    mirror_lines="default_registry = \"$addr\""
    local sizes
    sizes=$(IFS=M,; printf '%sM,' "${layers[@]}")
    on origin "$lab/make-image.py" --compress none --layer-sizes "${sizes%,}" --push "$addr/demo/app:v1" >"$work/push.log"
    image_bytes=$(sed -n 's/^total \([0-9]*\) bytes.*/\1/p' "$work/push.log")
    "$lab/registry.sh" stats --dir "$registry" --reset >/dev/null
}

start_swarm() {
    local node
    swarm_scheduler 1
    swarm_daemon 2 seed
    for node in "${nodes[@]:1}"; do swarm_daemon "$node" daemon; done
    swarm_ready "${nodes[@]}"
}

# No way past the mirror: the server that a client falls back to is a closed port.
start_clients() {
    local node
    [ $client != none ] || return 0
    for node in "${nodes[@]}"; do
        printf '[[registry]]\nprefix = "app.test"\nlocation = "127.0.0.1:9"\ninsecure = true\n[[registry.mirror]]\nlocation = "%s"\ninsecure = true\n' \
            "$(mirror_of "$node")" >"$work/$node/registries.conf"
    done
    [ $root = 1 ] || return 0
    for node in "${nodes[@]}"; do
        serve "$node" containerd.sh --dir "$work/$node/containerd" --no-cri \
            --mirror "$registry_addr=http://$(mirror_of "$node")" \
            --server "$registry_addr=http://127.0.0.1:9" 2>>"$work/containerd.log" || return 0
    done
    client=containerd
}

# ---- what each host does ----------------------------------------------------
image() {
    local start
    start=$(seconds)
    if [ $client = containerd ]; then
        on "$1" "$lab/containerd.sh" pull --dir "$work/$1/containerd" "$registry_addr/demo/app:v1"
        since "$start" >"$work/$1/image-time"
        on "$1" "$lab/containerd.sh" ctr --dir "$work/$1/containerd" images ls -q | grep -qF "$registry_addr/demo/app:v1"
    else
        on "$1" skopeo --registries-conf "$work/$1/registries.conf" copy --insecure-policy \
            docker://app.test/demo/app:v1 "dir:$work/$1/pulled"
        since "$start" >"$work/$1/image-time"
        [ -s "$work/$1/pulled/manifest.json" ]
    fi
}

file() {
    local start
    start=$(seconds)
    get "$1" "$file_url" "$work/$1/model.bin" --digest "sha256:$digest"
    since "$start" >"$work/$1/file-time"
}

check_files() {
    local node
    for node in "${nodes[@]}"; do
        echo "$digest  $work/$node/model.bin" | sha256sum --check --quiet || die "host $node has a wrong file"
    done
}

# ---- what came of it --------------------------------------------------------
mb() { awk -v n="$1" 'BEGIN { printf "%.1f", n / 1e6 }'; }
slowest() { sort -n "$work"/*/"$1" | tail -n 1; }
line() { printf "  %-8s %10s %10s %13s %13s\n" "$@"; }

table() {
    local node name
    echo
    line host "image s" "file s" "peers MB" "origin MB"
    for node in "${nodes[@]}"; do
        name=host$((node - 2))
        [ "$node" != 2 ] || name=seed
        line "$name" "$(cat "$work/$node/image-time" 2>/dev/null || echo -)" "$(cat "$work/$node/file-time")" \
            "$(mb "$(metric "$node" pantala_body_bytes_total peer)")" \
            "$(mb "$(metric "$node" pantala_body_bytes_total origin)")"
    done
    echo
}

sum() { # WHAT BYTES SENT SLOWEST
    printf '  %-6s %8s MB to %s hosts: the origin sent %s MB, %.2f x the content; slowest host %s s' \
        "$1" "$(mb "$2")" "$count" "$(mb "$3")" "$(awk -v a="$3" -v b="$2" 'BEGIN { print a / b }')" "$4"
    if [ $root = 1 ]; then
        awk -v n="$2" -v rate="$rate" -v t="$4" 'BEGIN { b = n * 8 / rate / 1e6; printf ", bound F/u %.2f s, efficiency %.0f%%", b, 100 * b / t }'
    fi
    echo
}

trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
program
# shellcheck source=tests/lab/swarm.sh
. tests/lab/swarm.sh
packages
mapfile -t nodes < <(seq 2 $((count + 1)))
say "starting an origin, a scheduler, a seed and $((count - 1)) daemons"
if [ $root = 1 ]; then swarm_begin $((count + 1)) --rate "${rate}mbit"; else swarm_loopback; fi
start_origin
start_swarm
start_clients
if [ $client != none ]; then
    say "$client pulls an image of $(mb "$image_bytes") MB in ${#layers[@]} layers on all $count hosts at once"
    each image "${nodes[@]}" || die "an image was not pulled"
fi
say "pantala get fetches a file of $file_mb MiB on all $count hosts at once"
each file "${nodes[@]}" || die "a file was not fetched"
check_files
table
[ $client = none ] || sum image "$image_bytes" "$(sent_bytes registry.sh "$registry")" "$(slowest image-time)"
sum file $((file_mb << 20)) "$(sent_bytes nginx.sh "$nginx")" "$(slowest file-time)"
if [ $root = 1 ]; then
    echo "  Each host has $rate Mbit/s up and down: from the origin alone it is as fast only while the origin can send $((rate * count)) Mbit/s."
fi
cat <<'NEXT'

  All digests are right. Next:
    make up                         all of Pantala in one process, to try by hand
    DEMO_HOSTS=10 make demo         more hosts, the same load on the origin
    docs/                           how to run it on real hosts
NEXT
