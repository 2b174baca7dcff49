#!/usr/bin/env bash
# needs: base nginx registry net image
# Hosts look at an origin once for all of them, and a blob that the swarm holds is served while its registry is away.
set -euo pipefail

PANTALA=$(realpath "${PANTALA:-target/debug/pantala}")
# shellcheck source=tests/lab/swarm.sh
. "$(dirname "$0")/../lab/swarm.sh"

trap swarm_finish EXIT
trap 'exit 130' INT TERM

nodes=(2 3 4)

requests() { # METHOD: of the web server so far
    "$lab/nginx.sh" stats --dir "$nginx" | awk -v method="$1" '$1 == method { split($3, n, "="); sum += n[2] } END { print sum + 0 }'
}
equals() { echo "$1, and not $2"; [ "$1" = "$2" ]; }
through_mirror() { # NODE BLOB FILE
    on "$1" curl -sf -o "$3" "http://$(mirror_of "$1")/v2/$registry/test/app/blobs/$2"
}

swarm_begin 4
swarm_origin
make_file file 20
what=file
swarm_registry 1M,6M
swarm_scheduler 1
for node in "${nodes[@]}"; do swarm_daemon "$node" daemon; done
swarm_ready "${nodes[@]}"

verdict "three hosts get a file at once" "see $work/NODE/fetch.log" each fetch "${nodes[@]}"
verdict "one of them looked at the origin" "$work/2/log" equals "$(requests HEAD)" 1
verdict "one request brought the file" "$work/2/log" equals "$(requests GET)" 1
verdict "the first host gets a blob in the background" "$work/2/log" get 2 "$registry/test/app@$blob" "$work/2/blob" --background
"$lab/registry.sh" stop --dir "$registry_dir" --keep
verdict "another host gets it by get while the registry is away" "$work/3/log" get 3 "$registry/test/app@$blob" "$work/3/blob"
verdict "a third host's mirror serves it" "$work/4/log" through_mirror 4 "$blob" "$work/4/blob"
for node in "${nodes[@]}"; do verdict "host $node has the whole blob" "" is_whole "$blob" "$work/$node/blob"; done
