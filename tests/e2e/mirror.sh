#!/usr/bin/env bash
# needs: base net registry image
# What a registry's clients may expect of a mirror: its answers are the registry's own, byte by byte; artefacts, indexes of
# several platforms and digests of other functions; small ranges that read no more than they need. While the registry is away a
# tag may be answered with its age, if an operator chose that. Pages in a browser get nothing, and a frozen daemon tells nobody
# that it lives.
set -euo pipefail

PANTALA=$(realpath "${PANTALA:-target/debug/pantala}")
# shellcheck source=tests/lab/swarm.sh
. "$(dirname "$0")/../lab/swarm.sh"

trap swarm_finish EXIT
trap 'exit 130' INT TERM

registry=10.88.0.2
oci=application/vnd.oci.image
accept=(-H "Accept: $oci.index.v1+json" -H "Accept: $oci.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json")

# direct PATH, through NODE PATH [curl options]: head and body in $work/direct.* and $work/through.*
direct() { on origin curl -s -m 30 -D "$work/direct.head" -o "$work/direct.body" "${@:2}" "http://$registry$1"; }
through() { on "$1" curl -s -m 30 -D "$work/through.head" -o "$work/through.body" "${@:3}" "http://$(mirror_of "$1")$2?ns=$registry"; }
lines_of() { tr -d '\r' <"$1" | sed -E 's/^([A-Za-z-]+):/\L\1:/' | grep -Ev '^(date|connection|transfer-encoding):' | sort; }
status_of() { sed -n '1s/^[^ ]* \([0-9]*\).*/\1/p' "$1"; }
same_answer() { # PATH [curl options]: every line and every byte
    : >"$work/direct.body" >"$work/through.body"
    direct "$@" && through 2 "$@" || return 1
    diff <(lines_of "$work/direct.head") <(lines_of "$work/through.head") || return 1
    # Of a HEAD curl writes the head there, with its date.
    [[ " $* " == *" -I "* ]] || cmp "$work/direct.body" "$work/through.body"
}
# Blobs are our own answers: the status, the length and the place are the registry's; of a refusal not its words.
same_blob() { # PATH [curl options]
    : >"$work/direct.body" >"$work/through.body"
    direct "$@" && through 2 "$@" || return 1
    local kept='^(HTTP|content-length|content-range|docker-content-digest)'
    [ "$(status_of "$work/direct.head")" -lt 400 ] || kept='^(HTTP|content-range)'
    diff <(lines_of "$work/direct.head" | grep -E "$kept") <(lines_of "$work/through.head" | grep -E "$kept") || return 1
    [[ " $* " == *" -I "* || $kept = '^(HTTP|content-range)' ]] || cmp "$work/direct.body" "$work/through.body"
}
answers() { # STATUS NODE PATH [curl options]
    local wanted=$1 status
    shift
    through "$@" || true
    status=$(status_of "$work/through.head")
    echo "answered $status, not $wanted"
    [ "$status" = "$wanted" ]
}
has_line() { lines_of "$work/through.head" | grep -E "^$1"; }

put_blob() { # FILE [ALGORITHM]: pushes it to the registry; prints its digest
    local sum=${2:-sha256} digest place
    digest=$sum:$("${sum}sum" <"$1" | cut -d ' ' -f 1)
    place=$(on origin curl -sf -X POST -D - -o "$work/posted" "http://$registry/v2/test/chart/blobs/uploads/" | tr -d '\r' | sed -n 's/^[Ll]ocation: //p')
    on origin curl -s -o "$work/put" -X PUT -H 'Content-Type: application/octet-stream' --data-binary "@$1" "http://$registry$place&digest=$digest"
    echo "$digest"
}
put_manifest() { # TAG FILE
    on origin curl -sf -X PUT -H "Content-Type: $oci.manifest.v1+json" --data-binary "@$2" "http://$registry/v2/test/chart/manifests/$1"
}
# A chart as helm pushes it, and a signature of it as cosign and oras do.
push_artefacts() {
    local config layer digest
    printf '{"name":"chart"}' >"$work/config" && head -c 3000 /dev/urandom >"$work/chart.tgz"
    config=$(put_blob "$work/config") layer=$(put_blob "$work/chart.tgz")
    printf '{"schemaVersion":2, "mediaType":"%s.manifest.v1+json","config":{"mediaType":"application/vnd.cncf.helm.config.v1+json","digest":"%s","size":16},\n "layers":[{"mediaType":"application/vnd.cncf.helm.chart.content.v1.tar+gzip","digest":"%s","size":3000}]}\n' \
        $oci "$config" "$layer" >"$work/chart.json"
    put_manifest 1.0.0 "$work/chart.json"
    digest=$(sha256sum <"$work/chart.json" | cut -d ' ' -f 1)
    printf '{"schemaVersion":2,"mediaType":"%s.manifest.v1+json","artifactType":"application/vnd.dev.cosign.artifact.sig.v1+json","config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"%s","size":16},"layers":[{"mediaType":"application/vnd.dev.cosign.simplesigning.v1+json","digest":"%s","size":3000}],"subject":{"mediaType":"%s.manifest.v1+json","digest":"sha256:%s","size":%d}}' \
        $oci "$config" "$layer" $oci "$digest" "$(stat -c %s "$work/chart.json")" >"$work/signature.json"
    put_manifest "sha256-$digest.sig" "$work/signature.json"
    chart=sha256:$digest chart_layer=$layer
}
copies() { # IMAGE: skopeo through the mirror, all platforms; what it falls back to is a closed port
    printf '[[registry]]\nprefix = "any.test"\nlocation = "127.0.0.1:9"\ninsecure = true\n[[registry.mirror]]\nlocation = "%s/%s"\ninsecure = true\n' \
        "$(mirror_of 2)" $registry >"$work/registries.conf"
    rm -rf "$work/copied"
    on 2 timeout 60 skopeo --registries-conf "$work/registries.conf" copy --all --insecure-policy "docker://any.test/$1" "dir:$work/copied"
}
body_bytes() { metric "$1" pantala_body_bytes_total "$2"; }
blob_bytes() { sent_bytes registry.sh "$registry_dir"; }
came() { # NODE BYTES: so many verified bytes came here, from wherever
    local came
    came=$(($(body_bytes "$1" peer) + $(body_bytes "$1" origin)))
    echo "$came of $2"
    [ "$came" -ge "$2" ]
}
# As stargz reads a layer: the footer, the table before it, then files here and there.
reads_lazily() { # NODE
    local range
    for range in $((size - 51))-$((size - 1)) $((size - 20051))-$((size - 52)) 5000000-5020000 12000000-12004095; do
        through "$1" "/v2/test/lazy/blobs/$lazy" -H "Range: bytes=$range" || return 1
        [ "$(status_of "$work/through.head")" = 206 ] || { head -1 "$work/through.head"; return 1; }
        cmp "$work/through.body" <(tail -c +$((${range%-*} + 1)) "$work/lazy.body" | head -c $((${range#*-} - ${range%-*} + 1))) || return 1
    done
}

swarm_begin 4
serve origin registry.sh --listen $registry --port 80
registry_dir=$dir
push() { on origin "$lab/make-image.py" --compress none "$@" >>"$work/push.log" 2>&1; }
push --layer-sizes 1M,2M --platforms linux/amd64,linux/arm64 --push $registry/test/multi:v1
push --layer-sizes 1M --push $registry/test/app:v1
push --layer-sizes 1M --name other --push $registry/test/other:v1
push --layer-sizes 24M --name lazy --push $registry/test/lazy:v1
push_artefacts
head -c 1000 /dev/urandom >"$work/sha512"
sha512=$(put_blob "$work/sha512" sha512)
origins=("http://$registry")
swarm_scheduler 1
base="registries = [\"$registry\"]"
mirror_lines="$base
stale_if_error = \"1h\""
swarm_daemon 2 daemon
mirror_lines="$base
fill = true"
swarm_daemon 3 daemon
mirror_lines=$base
swarm_daemon 4 daemon
swarm_ready 2 3 4
manifest=/v2/test/multi/manifests/v1
direct $manifest "${accept[@]}"
index=sha256:$(sha256sum <"$work/direct.body" | cut -d ' ' -f 1)

# ---- answers are the registry's ------------------------------------------------
verdict "a tag, asked in several Accept lines, byte by byte" "$work/2/log" same_answer $manifest "${accept[@]}"
verdict "and only in its head" "$work/2/log" same_answer $manifest -I "${accept[@]}"
verdict "a client that takes no index is given what the registry gives it" "$work/2/log" \
    same_answer $manifest -H "Accept: application/vnd.docker.distribution.manifest.v2+json"
verdict "an index by its digest" "$work/2/log" answers 200 2 "/v2/test/multi/manifests/$index" "${accept[@]}"
verdict "whose bytes are right" "$work/through.body" is_whole "$index" "$work/through.body"
verdict "its tags" "$work/2/log" same_answer /v2/test/multi/tags/list
verdict "a tag that is not there" "$work/2/log" same_answer /v2/test/multi/manifests/none "${accept[@]}"
verdict "an unchanged tag is told so" "$work/2/log" same_answer $manifest "${accept[@]}" -H "If-None-Match: \"$index\""
verdict "skopeo copies all platforms" "$work/2/log" copies test/multi:v1
verdict "a chart" "$work/2/log" same_answer /v2/test/chart/manifests/1.0.0 -H "Accept: $oci.manifest.v1+json"
verdict "its layer" "$work/2/log" same_blob "/v2/test/chart/blobs/$chart_layer"
verdict "a signature with a type of its own" "$work/2/log" \
    same_answer "/v2/test/chart/manifests/${chart/:/-}.sig" -H "Accept: $oci.manifest.v1+json"
verdict "who refers to it" "$work/2/log" same_answer "/v2/test/chart/referrers/$chart"
verdict "a blob by SHA-512" "$work/2/log" same_answer "/v2/test/chart/blobs/$sha512"

# ---- parts of blobs --------------------------------------------------------------
direct /v2/test/lazy/manifests/v1 -H "Accept: $oci.manifest.v1+json"
lazy=$(jq -r '.layers[0].digest' "$work/direct.body")
direct "/v2/test/lazy/blobs/$lazy" && mv "$work/direct.body" "$work/lazy.body"
size=$(stat -c %s "$work/lazy.body")
"$lab/registry.sh" stats --dir "$registry_dir" --reset >/dev/null
verdict "a lazy snapshotter reads footer, table and files" "$work/2/log" reads_lazily 2
verdict "which costs the registry no more than the pieces around them" "too much" at_most "$(blob_bytes)" $((4 * mib))
verdict "and again from what is held" "$work/2/log" reads_lazily 2
verdict "for nothing" "too much" at_most "$(blob_bytes)" $((4 * mib))
verdict "another host the same" "$work/3/log" reads_lazily 3
verdict "where the rest follows by itself" "$work/3/log" wait_for 120 came 3 "$size"
path=/v2/test/lazy/blobs/$lazy
verdict "the head tells the length" "$work/2/log" same_blob "$path" -I
for range in "bytes=-51" "bytes=0-0" "bytes=$((size - 1))-"; do
    verdict "the range $range is what the registry says" "$work/2/log" same_blob "$path" -H "Range: $range"
done
# The registry of the lab says a length then that it does not keep.
beyond() { answers 416 2 "$path" -H "Range: bytes=$size-" && has_line "content-range: bytes \*/$size"; }
verdict "a range beyond the end is told where that is" "$work/2/log" beyond
tagged=(-H "If-Range: \"$lazy\"" -H "Range: bytes=5-9")
verdict "a part of the very version" "$work/2/log" answers 206 2 "$path" "${tagged[@]}"
verdict "the whole of another" "$work/2/log" answers 200 2 "$path" -H 'If-Range: "sha256:00"' -H "Range: bytes=5-9"

# ---- pages in a browser -------------------------------------------------------------
verdict "a name that leads here gets nothing" "$work/2/log" answers 421 2 "$path" -H "Host: evil.example:7472"
verdict "over HTTP/2 neither" "$work/2/log" answers 421 2 "$path" --http2-prior-knowledge -H "Host: evil.example:7472"
verdict "nor does a page of another site" "$work/2/log" answers 403 2 "$path" -H "Origin: http://evil.example"
page() { [ "$(on 2 curl -s -o /dev/null -w '%{http_code}' -H "Host: $1" "http://127.0.0.1:$(port 2 1)/metrics")" = "$2" ]; }
verdict "the status page is no other" "$work/2/log" page evil.example 421
verdict "and is there for an address" "$work/2/log" page 127.0.0.1:7471 200

# ---- while the registry is away ------------------------------------------------------
for node in 2 4; do
    answers 200 $node /v2/test/app/manifests/v1 "${accept[@]}" >/dev/null
    cp "$work/through.body" "$work/app.json"
    answers 200 $node /v2/test/other/manifests/v1 "${accept[@]}" >/dev/null
    for digest in $(jq -r '.config.digest, .layers[].digest' "$work/app.json"); do
        answers 200 $node "/v2/test/app/blobs/$digest" >/dev/null
    done
done
answers 200 2 /v2/test/lazy/manifests/v1 "${accept[@]}" >/dev/null
cp "$work/through.body" "$work/lazy.json"
"$lab/registry.sh" stop --dir "$registry_dir" --keep
old_tag() { answers 200 2 /v2/test/app/manifests/v1 "${accept[@]}" "$@" && has_line 'age: [0-9]' && has_line 'warning: 111'; }
verdict "a tag is what it meant, and says its age" "$work/2/log" old_tag
verdict "which is the right manifest" "differs" cmp "$work/app.json" "$work/through.body"
verdict "as containerd asks it" "$work/2/log" old_tag -I
verdict "not without all that it leads to" "$work/2/log" answers 503 2 /v2/test/other/manifests/v1 "${accept[@]}"
by_digest() { answers "$1" 2 "/v2/test/$2/manifests/sha256:$(sha256sum <"$3" | cut -d ' ' -f 1)" "${accept[@]}"; }
verdict "by its digest it is given" "$work/2/log" by_digest 200 app "$work/app.json"
verdict "but not one of whose layer only parts are held" "$work/2/log" by_digest 503 lazy "$work/lazy.json"
verdict "and it is counted" "$work/2/log" test "$(metric 2 pantala_stale_manifests_total)" -ge 2
verdict "without the key nothing changes" "$work/4/log" answers 503 4 /v2/test/app/manifests/v1 "${accept[@]}"

# ---- the service manager's watchdog ----------------------------------------------------
swarm_kill 4 TERM
cat >"$work/manager.py" <<'PY'
import os, signal, socket, subprocess, sys, time
path, limit = sys.argv[1], 1.0
manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
manager.bind(path)
told = dict(os.environ, NOTIFY_SOCKET=path, WATCHDOG_USEC=str(int(limit * 1e6)))
child = subprocess.Popen(sys.argv[2:], env=told)
try:
    manager.settimeout(20)
    for _ in range(5):
        assert manager.recv(64) == b"WATCHDOG=1"
    child.send_signal(signal.SIGSTOP)
    manager.settimeout(limit)
    try:
        while manager.recv(64):
            pass
    except TimeoutError:
        print("silent while it is stopped")
    child.send_signal(signal.SIGCONT)
    manager.settimeout(20)
    assert manager.recv(64) == b"WATCHDOG=1"
finally:
    child.terminate()
    child.wait()
PY
watched() { on 4 timeout 120 python3 "$work/manager.py" "$work/notify" "$PANTALA" daemon --config "$work/4/pantala.toml" 2>>"$work/4/log"; }
verdict "a daemon tells that it lives, and not while it is stopped" "$work/4/log" watched
