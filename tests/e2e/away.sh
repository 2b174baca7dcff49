#!/usr/bin/env bash
# needs: base nginx registry net image
# Hosts look at an origin once for all of them, and a blob that the swarm holds is served while its registry is away.
set -euo pipefail

PANTALA=$(realpath "${PANTALA:-target/debug/pantala}")
# shellcheck source=tests/lab/swarm.sh
. "$(dirname "$0")/../lab/swarm.sh"

finish() {
    trap - EXIT
    swarm_end
    echo "$passed passed, $failed failed"
    [ "$failed" = 0 ]
}
trap finish EXIT
trap 'exit 130' INT TERM

nodes=(2 3 4)
registry=10.88.0.2

fetch() { get "$1" "$file" "$work/$1/file"; }
requests() { # METHOD: of the web server so far
    "$lab/nginx.sh" stats --dir "$web" | awk -v method="$1" '$1 == method { split($3, n, "="); sum += n[2] } END { print sum + 0 }'
}
equals() { echo "$1, and not $2"; [ "$1" = "$2" ]; }
blob_of() { # IMAGE:TAG: its largest layer
    on origin curl -sf -H 'Accept: application/vnd.oci.image.manifest.v1+json' "http://$registry/v2/${1%:*}/manifests/${1#*:}" |
        jq -r '.layers | max_by(.size) | .digest'
}
through_mirror() { # NODE BLOB FILE
    on "$1" curl -sf -o "$3" "http://$(mirror_of "$1")/v2/$registry/test/app/blobs/$2"
}
is_whole() { # DIGEST FILE
    echo "$2 is not $1"
    [ "sha256:$(sha256sum <"$2" | cut -d ' ' -f 1)" = "$1" ]
}

swarm_begin 4
mkdir "$work/www"
head -c 20M /dev/urandom >"$work/www/file"
serve origin nginx.sh --root "$work/www" --listen $registry --port 8080
web=$dir file=$url/file
serve origin registry.sh --listen $registry --port 80
registry_dir=$dir
on origin "$lab/make-image.py" --compress none --layer-sizes 1M,6M --push $registry/test/app:v1 >"$work/push.log" 2>&1
blob=$(blob_of test/app:v1)
origins=("$url" "http://$registry:8080" "http://$registry")
extra=""
mirror_lines="registries = [\"$registry\"]"
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
