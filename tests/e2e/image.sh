#!/usr/bin/env bash
# needs: base net registry image
# Whole images by `pantala get`: as a layout and as an archive, for one platform or all, read by skopeo.
set -euo pipefail

PANTALA=$(realpath "${PANTALA:-target/debug/pantala}")
# shellcheck source=tests/lab/swarm.sh
. "$(dirname "$0")/../lab/swarm.sh"

trap swarm_finish EXIT
trap 'exit 130' INT TERM

registry=10.88.0.2
multi=$registry/test/multi:v1 app=$registry/test/app:v1

push() { on origin "$lab/make-image.py" --compress none "$@" >>"$work/push.log" 2>&1; }
equals() { echo "$1, and not $2"; [ "$1" = "$2" ]; }
# What skopeo says of it, in one word for each image: os/architecture/layers.
told() { skopeo inspect "$1" | jq -r '"\(.Os)/\(.Architecture)/\(.Layers | length)"'; }
is() { equals "$(told "$1")" "$2"; }
# skopeo checks every digest while it copies.
copies() {
    rm -rf "$work/copied"
    skopeo copy --insecure-policy "${@:2}" "$1" "dir:$work/copied"
}
to_layout() { get "$1" $multi "$work/$1/layout/"; }
to_stdout() { on 2 "$PANTALA" get $app -o - --socket "$(socket_of 2)" >"$work/2/stdout.tar" && cmp "$work/2/stdout.tar" "$work/2/app.tar"; }
nothing_left() { ! find "$work/2" -name '*.partial' | grep .; }

swarm_begin 3
serve origin registry.sh --listen $registry --port 80
registry_dir=$dir
push --layer-sizes 2M,5M --platforms linux/amd64,linux/arm64 --push $multi
push --layer-sizes 1M,3M --push $app
origins=("http://$registry")
swarm_scheduler 1
for node in 2 3; do swarm_daemon "$node" daemon; done
swarm_ready 2 3

verdict "two hosts get an image at once" "see $work/NODE/log" each to_layout 2 3
verdict "it is one for this platform" "$work/2/log" is "oci:$work/2/layout:v1" linux/amd64/2
verdict "skopeo copies it, digest by digest" "$work/2/log" copies "oci:$work/3/layout:v1"
verdict "other platforms on request" "$work/2/log" get 2 $multi "$work/2/arm" --platform linux/arm64
verdict "and it is that one" "$work/2/log" is "oci:$work/2/arm:v1" linux/arm64/2
verdict "all of them" "$work/2/log" get 2 $multi "$work/2/all" --platform all
verdict "skopeo copies all of them" "$work/2/log" copies "oci:$work/2/all:v1" --all
verdict "an archive" "$work/2/log" get 2 $app "$work/2/app.tar"
verdict "skopeo copies it too" "$work/2/log" copies "oci-archive:$work/2/app.tar"
verdict "standard output gets the same archive" "$work/2/log" to_stdout
verdict "an image for one platform is not taken for another" "$work/2/log" \
    ends_with 4 'the image is for linux/amd64' get 2 $app "$work/2/other" --platform linux/arm64
verdict "a platform that is not there names those that are" "$work/2/log" \
    ends_with 4 'linux/amd64, linux/arm64, or all' get 2 $multi "$work/2/other" --platform windows/amd64
verdict "a tag that is not there" "$work/2/log" ends_with 4 'does not have it' get 2 $registry/test/app:v2 "$work/2/other"
verdict "a digest that is not the image's" "$work/2/log" \
    ends_with 7 'the image is sha256' get 2 $app "$work/2/other" --digest "sha256:$(printf 'ab%.0s' {1..32})"
verdict "a layout is not replaced unasked" "$work/2/log" ends_with 1 overwrite get 2 $app "$work/2/layout"
verdict "but on request" "$work/2/log" get 2 $app "$work/2/layout" --overwrite
verdict "and is then the new one" "$work/2/log" equals "$(jq -r '.manifests[0].annotations["io.containerd.image.name"]' "$work/2/layout/index.json")" $app
verdict "nothing half written is left" "$work/2/log" nothing_left
