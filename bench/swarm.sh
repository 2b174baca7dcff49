#!/usr/bin/env bash
# How near a swarm comes to the best that its links allow: one new file, every host wants it at once.
if [ "${1:-}" = --help ]; then
    cat <<'USAGE'
Usage: bench/swarm.sh      results in target/bench/swarm.json; what they mean is in docs/BENCHMARKS.md

Environment: RUNS=5  HOSTS=16  SIZE=64MiB  RATE=100mbit  ORIGIN_RATE=RATE  DELAY= (ms)  CONGESTION=cubic
             BITTORRENT=1 (0: without)  PANTALA=target/release/pantala  KEEP=0  LOG=info
Needs root, tests/install.sh base nginx net peers.
USAGE
    exit
fi
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib/common.sh"

runs=${RUNS:-5} hosts=${HOSTS:-16} rate=${RATE:-100mbit} size=$(bytes "${SIZE:-64MiB}")
seed=$((hosts + 1)) scheduler=$((hosts + 2))
limit=${TIMEOUT:-240}
if [ "${BITTORRENT:-1}" = 1 ]; then
    /usr/bin/python3 -c "import libtorrent" 2>/dev/null || die "no libtorrent: tests/install.sh peers, or BITTORRENT=0"
fi

# ---- a cluster --------------------------------------------------------------------
start_scheduler() {
    cat >"$dir/scheduler.toml" <<TOML
version = 1
[scheduler]
listen = "0.0.0.0:7480"
status = "off"
ca_dir = "$dir/ca"
[log]
level = "${LOG:-info}"
TOML
    start_on "$scheduler" "$dir/scheduler.log" "$PANTALA" scheduler --config "$dir/scheduler.toml"
    until_true 20 "a listening scheduler" listens "$scheduler" 7480
    "$PANTALA" token create --config "$dir/scheduler.toml" --uses "$hosts" >"$dir/token" 2>>"$dir/scheduler.log"
    "$PANTALA" token create --config "$dir/scheduler.toml" --role seed >"$dir/seed-token" 2>>"$dir/scheduler.log"
    chmod 600 "$dir/token" "$dir/seed-token"
}

listens() { on "$1" ss -ltnH "sport = :$2" | grep -q .; } # NODE PORT

start_cluster() {
    local node token
    start_scheduler
    for node in $(seq "$seed"); do
        token=$dir/token
        [ "$node" != "$seed" ] || token=$dir/seed-token
        write_config "d$node" '' "seed = $([ "$node" = "$seed" ] && echo true || echo false)" \
            '[control]' "schedulers = [\"10.88.1.$scheduler:7480\"]" "join_token_file = \"$token\""
        start_on "$node" "$dir/d$node.log" "$PANTALA" daemon --config "$dir/d$node.toml"
    done
    for node in $(seq "$seed"); do
        until_true 60 "the daemon of node $node being ready" ready "$node"
        until_true 60 "the joining of node $node" joined "$node"
    done
}

joined() { find "$dir/d$1" -name host.crt | grep -q .; } # NODE: it has its certificate

origin_bytes() { # since the last reset
    "$lab/nginx.sh" stats --dir "$web" | awk '{ sub(/.*bytes=/, ""); n += $0 } END { printf "%d", n }'
}

# ---- one measurement each -----------------------------------------------------------
link_goodput() { # what one plain transfer reaches on such a link, in bytes per second
    random_file probe 33554432
    on 1 curl -sf --noproxy '*' --max-time 120 -o /dev/null -w '%{speed_download}\n' "$origin/probe"
    rm "$dir/www/probe"
}

run_pantala() { # RUN: all hosts want the same new file
    local node out=$dir/run-$1
    mkdir -p "$out"
    random_file "file-$1" "$size"
    "$lab/nginx.sh" stats --dir "$web" --reset >/dev/null
    for node in $(seq "$hosts"); do
        json_list nsenter "--net=/run/netns/$net_name-$node" -- "$PANTALA" get "$origin/file-$1" \
            -o "$out/$node" --json --socket "$dir/d$node.sock"
    done | "$lib/together.py" "$limit" >"$out.json"
    sleep 0.3 # nginx writes a request into its log when it is over
    origin_bytes >"$out.origin"
    check_content "$out" "$dir/www/file-$1" "$out.json"
    for node in $(seq "$seed"); do
        on "$node" curl -s --max-time 5 --noproxy '*' http://127.0.0.1:7471/metrics >"$out.metrics-$node" || true
    done
    rm -rf "$out" "$dir/www/file-$1"
}

check_content() { # FOLDER ORIGINAL RESULT
    local node
    [ "$(jq .failed "$3")" = 0 ] || die "$(jq .failed "$3") hosts failed: $(jq -c .errors "$3")"
    for node in $(seq "$hosts"); do cmp -s "$1/$node" "$2" || die "host $node got other bytes"; done
}

run_bittorrent() { # RUN: the same with libtorrent; its seed has the file from the start
    local out=$dir/torrent-$1
    random_file "file-$1" "$size"
    "$root/bench/bittorrent.py" swarm --namespaces "$net_name-" --hosts "$hosts" --timeout "$limit" \
        --folder "$out" --content "$dir/www/file-$1" >"$out.json"
    [ "$(jq .failed "$out.json")" = 0 ] || die "BitTorrent: $(jq -c . "$out.json")"
    rm -rf "$out" "$dir/www/file-$1"
}

all_runs() {
    local run
    goodput=$(link_goodput)
    say "links of $rate carry $(calc "$goodput / 1e6") MB/s of one plain transfer"
    for run in $(seq "$runs"); do
        run_pantala "$rate-$run"
        say "run $run: $(jq -c '.seconds |= sort' "$dir/run-$rate-$run.json")" \
            "origin $(calc "$(cat "$dir/run-$rate-$run.origin") / $size") copies"
        [ "${BITTORRENT:-1}" = 0 ] || {
            run_bittorrent "$rate-$run"
            say "run $run, BitTorrent: $(jq -c '.seconds |= sort' "$dir/torrent-$rate-$run.json")"
        }
    done
}

of_runs() { # PREFIX FILTER: the median over the runs
    local run
    for run in $(seq "$runs"); do jq -r "$2" "$dir/$1-$rate-$run.json"; done | median
}

# ---- the whole ------------------------------------------------------------------------
chmod 711 "$dir"
net=(--nodes "$scheduler" --rate "$rate" --origin-rate "${ORIGIN_RATE:-$rate}" --congestion "${CONGESTION:-cubic}")
[ -z "${DELAY:-}" ] || net+=(--delay "$DELAY")
make_network "${net[@]}"
start_origin
start_cluster
all_runs
busy=$(of_runs run .cpu_busy)
if [ "$(calc "$busy > 0.7")" = 1 ] && [ "$rate" = 100mbit ]; then
    say "the processors were $busy busy, so they were measured, not the links: again with 50mbit"
    rate=50mbit
    "$lab/swarm-net.sh" set --dir "$network" all --rate $rate --down-rate $rate
    "$lab/swarm-net.sh" set --dir "$network" origin --rate $rate --down-rate $rate
    all_runs
    busy=$(of_runs run .cpu_busy)
fi

# Every copy has to leave the origin's link once and enter each host's; together hosts and seed send all of them.
bound=$(calc "$size / $goodput")
together=$(calc "$hosts * $size / (($hosts + 1) * $goodput)")
[ "$(calc "$together > $bound")" = 0 ] || bound=$together
metrics=(
    hosts "$hosts" file_bytes "$size" runs "$runs" link_mbit "${rate%mbit}" goodput_mb_s "$(calc "$goodput / 1e6")"
    bound_s "$bound"
    slowest_over_bound "$(calc "$(of_runs run '.seconds | max') / $bound")"
    p50_over_bound "$(calc "$(of_runs run '.seconds | sort | .[(length - 1) / 2 | floor]') / $bound")"
    origin_copies "$(calc "$(for run in $(seq "$runs"); do cat "$dir/run-$rate-$run.origin" && echo; done | median) / $size")"
    cpu_busy "$busy"
)
[ "${BITTORRENT:-1}" = 0 ] || metrics+=(
    bittorrent_slowest_over_bound "$(calc "$(of_runs torrent '.seconds | max') / $bound")"
    bittorrent_p50_over_bound "$(calc "$(of_runs torrent '.seconds | sort | .[(length - 1) / 2 | floor]') / $bound")"
    bittorrent_cpu_busy "$(of_runs torrent .cpu_busy)"
)
result "${metrics[@]}"
