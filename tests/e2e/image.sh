#!/usr/bin/env bash
# needs: base net registry image
# Whole images by `pantala get`: as a layout and as an archive, for one platform or all, by tag or digest, read by skopeo.
# One that is broken off, by a signal or by the death of the command or the daemon, goes on where it was.
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
digest_of() { on origin skopeo inspect --tls-verify=false --raw "docker://$1" | sha256sum | cut -d ' ' -f 1; }

# begin_get IMAGE PATH: in the background; its pid is $getting. Half of it comes.
begin_get() {
    "$lab/registry.sh" stats --dir "$registry_dir" --reset >/dev/null
    (become 2 "$PANTALA" get "$1" -o "$2" --socket "$(socket_of 2)") >"$work/2/broken" 2>&1 &
    getting=$!
    reach $((24 * mib)) pantala_origin_body_bytes_total 2
}
# breaks_off SIGNAL NAME CODE [WORDS]: what was begun ends so when that is sent to its process, or to the daemon's.
breaks_off() {
    local code=0
    if [ "$2" = daemon ]; then swarm_kill 2 "$1"; else kill "-$1" "$getting"; fi
    wait "$getting" || code=$?
    echo "ended with $code: $(tr '\n' ' ' <"$work/2/broken")"
    [ $code = "$3" ] && grep -q -- "${4:-^}" <(cat "$work/2/broken"; echo)
}
# goes_on IMAGE PATH: the same command again brings what was missing, and little more than that.
goes_on() {
    [ ! -e "$2" ] || { echo "$2 is there too early"; return 1; }
    get 2 "$1" "$2" || return 1
    # 48 MiB in all, 72 if it began anew. Lost are at most a second's marks, 10 MB, and what was under way.
    at_most "$(sent_bytes registry.sh "$registry_dir")" $((66 * mib))
}
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

index=$(digest_of $multi)
verdict "an index by its digest is one for this platform" "$work/2/log" get 2 "$registry/test/multi@sha256:$index" "$work/2/digest"
verdict "and it is" "$work/2/log" is "oci:$work/2/digest" linux/amd64/2
verdict "it says which it took" "$work/said" ends_with 0 "for linux/amd64 .this host's platform" \
    get 2 "$registry/test/multi@sha256:$index" "$work/2/told"
verdict "an image by its digest needs no platform" "$work/2/log" \
    get 2 "$registry/test/app@sha256:$(digest_of $app)" "$work/2/single.tar"
verdict "skopeo copies that" "$work/2/log" copies "oci-archive:$work/2/single.tar"
verdict "what is neither says what was asked" "$work/said" ends_with 4 "/v2/test/app/manifests/sha256:abab" \
    get 2 "$registry/test/app@sha256:$(printf 'ab%.0s' {1..32})" "$work/2/other"
verdict "no folder is called an archive" "$work/said" ends_with 2 'name a .tar file' get 2 $app "$work/2/app.tgz"

"$lab/swarm-net.sh" set --dir "$net" origin --rate 80mbit
for name in signal client daemon; do push --layer-sizes 30M,18M --push $registry/test/$name:v1; done
begin_get $registry/test/signal:v1 "$work/2/signal"
verdict "Ctrl-C ends it" "$work/2/broken" breaks_off INT command 130 'give the same command again'
verdict "nothing half written is left of it" "$work/2/log" nothing_left
verdict "the same command goes on" "$work/2/log" goes_on $registry/test/signal:v1 "$work/2/signal"
verdict "to the right end" "$work/2/log" copies "oci:$work/2/signal:v1"

begin_get $registry/test/client:v1 "$work/2/client"
verdict "a command is killed" "$work/2/broken" breaks_off KILL command 137
verdict "the same command goes on" "$work/2/log" goes_on $registry/test/client:v1 "$work/2/client"
verdict "to the right end" "$work/2/log" copies "oci:$work/2/client:v1"
verdict "and takes away what was left" "$work/2/log" nothing_left

begin_get $registry/test/daemon:v1 "$work/2/daemon.tar"
verdict "the daemon is killed" "$work/2/broken" breaks_off KILL daemon 6 'next: '
swarm_daemon 2 daemon
swarm_ready 2
verdict "the same command goes on" "$work/2/log" goes_on $registry/test/daemon:v1 "$work/2/daemon.tar"
verdict "to the right end" "$work/2/log" copies "oci-archive:$work/2/daemon.tar"
verdict "nothing half written is left" "$work/2/log" nothing_left
