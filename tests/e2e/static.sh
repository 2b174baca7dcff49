#!/usr/bin/env bash
# needs: base nginx registry net image
# Hosts without a scheduler find each other by control.peers, and one seed reads the origin for all.
set -euo pipefail

PANTALA=$(realpath "${PANTALA:-target/debug/pantala}")
# shellcheck source=tests/lab/swarm.sh
. "$(dirname "$0")/../lab/swarm.sh"

trap swarm_finish EXIT
trap 'exit 130' INT TERM

nodes=(2 3 4)
seed=5
length=$((64 << 20))

fetch() { get "$1" "$file" "$work/$1/file" --digest "sha256:$sum"; }
fetch_blob() { on "$1" curl -sf -m 120 -o "$work/$1/blob" "http://$(mirror_of "$1")/v2/$registry/test/app/blobs/$blob"; }
# once BYTES LENGTH: all of it, and at most 5 % more.
once() {
    echo "$1 bytes of $2"
    [ "$1" -ge "$2" ] && [ "$1" -le $(($2 + $2 / 20)) ]
}
knows() { on "$1" curl -fsS -m 2 "http://127.0.0.1:$(port "$1" 1)/metrics" | grep -Eq '^pantala_connections [3-9]'; }

# without_scheduler NODE: the same daemon again, with its certificate, knowing nobody but all peers.
without_scheduler() {
    local peers
    peers=$(for node in "${nodes[@]}" "$seed"; do printf '"%s:%s", ' "$(ip_of "$node")" "$(port "$node" 0)"; done)
    sed -i "s|^schedulers = .*|peers = [${peers%, }]|" "$work/$1/pantala.toml"
    rm -f "$work/$1/data/members.json"
    launch "$1" "$1" "$PANTALA" daemon --config "$work/$1/pantala.toml"
}

swarm_begin 5
swarm_origin
head -c $length /dev/urandom >"$work/www/file"
sum=$(sha256sum <"$work/www/file" | cut -d ' ' -f 1)
file=$origin/file
swarm_registry 1M,40M

swarm_scheduler 1
for node in "${nodes[@]}"; do swarm_daemon "$node" daemon; done
swarm_daemon $seed seed
swarm_ready "${nodes[@]}" $seed
swarm_kill scheduler TERM
for node in "${nodes[@]}" $seed; do swarm_kill "$node" TERM; done
for node in "${nodes[@]}" $seed; do without_scheduler "$node"; done
swarm_ready "${nodes[@]}" $seed
for node in "${nodes[@]}" $seed; do verdict "host $node finds the others" "$work/$node/log" wait_for 20 knows "$node"; done

before=$(sent_bytes nginx.sh "$nginx")
verdict "three hosts get a file at once" "see $work/NODE/fetch.log" each fetch "${nodes[@]}"
verdict "the origin sent it about once" "$work/$seed/log" once $(($(sent_bytes nginx.sh "$nginx") - before)) $length
for node in "${nodes[@]}"; do verdict "host $node has the whole file" "" is_whole "sha256:$sum" "$work/$node/file"; done

before=$(sent_bytes registry.sh "$registry_dir")
verdict "three hosts get a blob through their mirrors" "see $work/NODE/fetch_blob.log" each fetch_blob "${nodes[@]}"
size=$(stat -c %s "$work/2/blob" 2>/dev/null || echo 0)
verdict "the registry sent it about once" "$work/$seed/log" once $(($(sent_bytes registry.sh "$registry_dir") - before)) "$size"
for node in "${nodes[@]}"; do verdict "host $node has the whole blob" "" is_whole "$blob" "$work/$node/blob"; done
