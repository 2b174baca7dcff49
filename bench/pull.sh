#!/usr/bin/env bash
# What a pull by the mirror costs a host that is alone: containerd through it against containerd alone, in pairs.
if [ "${1:-}" = --help ]; then
    cat <<'USAGE'
Usage: bench/pull.sh     results in target/bench/pull.json; what they mean is in docs/BENCHMARKS.md

Environment: PAIRS=5  LAYERS=100M,200M,300M,400M  RATE=2gbit
             SMALL_PAIRS=3  SMALL=10000 (manifests and small blobs)  CONNECTIONS=8
             PANTALA=target/release/pantala  KEEP=0  LOG=info
Needs root, tests/install.sh base nginx net registry image containerd.
USAGE
    exit
fi
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib/common.sh"
need docker-registry registry
need containerd containerd
need skopeo image

pairs=${PAIRS:-5} layers=${LAYERS:-100M,200M,300M,400M} small=${SMALL:-10000} small_pairs=${SMALL_PAIRS:-3}
connections=${CONNECTIONS:-8}
MIRROR=127.0.0.1:7472
registry=10.88.0.2:5000
origin=http://$registry

start_cold() { # NAME: a daemon with an empty store
    write_config "$1"
    start_on 1 "$dir/$1.log" "$PANTALA" daemon --config "$dir/$1.toml"
    daemon=$!
    until_true 30 "the daemon being ready" ready 1
}

end_cold() { # NAME
    kill "$daemon"
    gone "$daemon" 300 || die "the daemon did not end within 30 s"
    rm -rf "${dir:?}/$1"
}

requests() { # what the registry was asked since it was last asked about, and the bytes of bodies
    "$lab/registry.sh" stats --dir "$dir/registry" --reset |
        awk '{ split($4, n, "="); split($5, b, "="); requests += n[2]; bytes += b[2] } END { print requests + 0, bytes + 0 }'
}

# NAME COMMAND...: the origin's requests and bytes go to NAME-asked.
counted() {
    local name=$1
    shift
    requests >/dev/null
    "$lib/timed.py" "$dir/$name" "$@" >"$dir/$name.out" 2>&1 || die "$name failed: $(tail -n 3 "$dir/$name.out")"
    requests >"$dir/$name-asked"
}

pull() { # NAME
    counted "$1" nsenter --net="/run/netns/$net_name-1" -- "$lab/containerd.sh" pull --dir "$dir/containerd-$1" "$registry/bench/app:v1"
    on 1 "$lab/containerd.sh" clean --dir "$dir/containerd-$1"
    sync -f "$dir"
}

by_mirror() { # PAIR
    local cpu
    start_cold "cold-$1"
    pull mirror
    cpu=$(cpu_seconds "$daemon")
    say "  the daemon took $cpu s of processor time"
    echo "$cpu" >>"$dir/cpu"
    end_cold "cold-$1"
}
by_registry() { pull direct; }

pair() { # PAIR: who goes first alternates
    if [ $(($1 % 2)) = 1 ]; then by_registry && by_mirror "$1"; else by_mirror "$1" && by_registry; fi
    noted "$1" ratios mirror direct
}

noted() { # PAIR FILE ONE OTHER
    local one other asked other_asked
    read -r one _ <"$dir/$3"
    read -r other _ <"$dir/$4"
    read -r asked _ <"$dir/$3-asked"
    read -r other_asked _ <"$dir/$4-asked"
    say "pair $1: $3 $one s and $asked requests, $4 $other s and $other_asked requests"
    calc "$one / $other" >>"$dir/$2"
    echo "$one" >>"$dir/$3-s"
    echo "$other" >>"$dir/$4-s"
}

small_by() { # NAME URL
    counted "$1" nsenter --net="/run/netns/$net_name-1" -- sh -c '"$0" each "$1" "$2" <"$3"' \
        "$lib/load.py" "$2" "$connections" "$dir/paths-$1"
    [ "$(jq .failed "$dir/$1.out")" = 0 ] || die "requests failed: $(jq -c .errors "$dir/$1.out")"
}
small_by_mirror() {
    start_cold "small-$1"
    small_by small-mirror "http://$MIRROR/"
    end_cold "small-$1"
}

small_pair() {
    "$lib/many-images.py" "$dir/registry/data" "small-$1" "$small" "$1" >"$dir/paths-small-direct"
    sed "s|\$|?ns=$registry|" "$dir/paths-small-direct" >"$dir/paths-small-mirror"
    sync -f "$dir"
    if [ $(($1 % 2)) = 1 ]; then
        small_by small-direct "$origin/" && small_by_mirror "$1"
    else
        small_by_mirror "$1" && small_by small-direct "$origin/"
    fi
    noted "$1" small-ratios small-mirror small-direct
}

part() { awk -v n="$2" '{ print $n }' "$dir/$1-asked"; } # NAME COLUMN

chmod 711 "$dir"
make_network --nodes 1 --rate "${RATE:-2gbit}" --origin-rate "${RATE:-2gbit}"
serve origin registry.sh "$dir/registry" --listen 10.88.0.2 --port 5000
on origin "$lab/make-image.py" --compress none --layer-sizes "$layers" --push "$registry/bench/app:v1" >"$dir/push.log"
serve 1 containerd.sh "$dir/containerd-direct" --no-cri --server "$registry=$origin"
serve 1 containerd.sh "$dir/containerd-mirror" --no-cri --mirror "$registry=http://$MIRROR" --server "$registry=$origin"
before=$(busy_before)
for i in $(seq "$pairs"); do pair "$i"; done
for i in $(seq "$small_pairs"); do small_pair "$i"; done
result pairs "$pairs" image_bytes "$(sed -n 's/^total \([0-9]*\) bytes.*/\1/p' "$dir/push.log")" \
    pull_over_direct "$(median <"$dir/ratios")" \
    pull_s "$(median <"$dir/mirror-s")" pull_direct_s "$(median <"$dir/direct-s")" \
    daemon_cpu_s "$(median <"$dir/cpu")" \
    origin_requests "$(part mirror 1)" origin_requests_direct "$(part direct 1)" \
    origin_bytes "$(part mirror 2)" origin_bytes_direct "$(part direct 2)" \
    small_contents "$small" \
    small_over_direct "$(median <"$dir/small-ratios")" \
    small_s "$(median <"$dir/small-mirror-s")" small_direct_s "$(median <"$dir/small-direct-s")" \
    small_origin_requests "$(part small-mirror 1)" small_origin_requests_direct "$(part small-direct 1)" \
    cpu_busy_before "$before"
