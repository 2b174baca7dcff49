#!/usr/bin/env bash
# How near a swarm comes to the best that its links allow: one new file, every host wants it at once.
if [ "${1:-}" = --help ]; then
    cat <<'USAGE'
Usage: bench/swarm.sh      results in target/bench/swarm.json; what they mean is in docs/BENCHMARKS.md

Environment: RUNS=5  HOSTS=16  SIZE=64MiB  RATE=100mbit  ORIGIN_RATE=RATE  DELAY= (ms)  QUEUE_MS=100  CONGESTION=cubic
             SLOTS=2  BITTORRENT=1 (0: without)  PANTALA=target/release/pantala  KEEP=0  LOG=info
Needs root, tests/install.sh base nginx net peers.
USAGE
    exit
fi
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib/common.sh"
# shellcheck source=bench/lib/cluster.sh
. "$lib/cluster.sh"

runs=${RUNS:-5} hosts=${HOSTS:-16} rate=${RATE:-100mbit} size=$(bytes "${SIZE:-64MiB}")
seed=$((hosts + 1)) members=$((hosts + 2))
limit=${TIMEOUT:-240}
if [ "${BITTORRENT:-1}" = 1 ]; then
    /usr/bin/python3 -c "import libtorrent" 2>/dev/null || die "no libtorrent: tests/install.sh peers, or BITTORRENT=0"
fi

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
    cpu_seconds "${started[@]}" >"$out.cpu"
    traffic >"$out.traffic-before"
    for node in $(seq "$hosts"); do
        json_list nsenter "--net=/run/netns/$net_name-$node" -- "$PANTALA" get "$origin/file-$1" \
            -o "$out/$node" --json --socket "$dir/d$node.sock"
    done | "$lib/together.py" "$limit" >"$out.json"
    cpu_seconds "${started[@]}" >>"$out.cpu"
    traffic >"$out.traffic-after"
    sleep 0.3 # nginx writes a request into its log when it is over
    origin_bytes >"$out.origin"
    check_content "$out" "$dir/www/file-$1" "$out.json"
    for node in $(seq "$seed"); do
        on "$node" curl -s --max-time 5 --noproxy '*' http://127.0.0.1:7471/metrics >"$out.metrics-$node" || true
    done
    rm -rf "$out" "$dir/www/file-$1"
}

traffic() { "$lab/swarm-net.sh" traffic --dir "$network"; }

copies() { # PREFIX COLUMN NODE: what crossed that node's link (2: sent, 3: received; all: the mean of the hosts)
    join <(sort "$1.traffic-before") <(sort "$1.traffic-after") |
        awk -v column="$2" -v node="$3" -v hosts="$hosts" -v size="$size" '
            node == $1 || (node == "all" && $1 ~ /^[0-9]+$/ && $1 <= hosts) { n++; sum += $(column + 2) - $column }
            END { printf "%.3f\n", sum / n / size }'
}

copies_of_runs() { # COLUMN NODE
    local run
    for run in $(seq "$runs"); do copies "$dir/run-$rate-$run" "$1" "$2"; done | median
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
            "origin $(calc "$(cat "$dir/run-$rate-$run.origin") / $size") copies," \
            "daemons took $(taken "$dir/run-$rate-$run.cpu") s of CPU time"
        [ "${BITTORRENT:-1}" = 0 ] || {
            run_bittorrent "$rate-$run"
            say "run $run, BitTorrent: $(jq -c '.seconds |= sort' "$dir/torrent-$rate-$run.json")"
        }
    done
}

taken() { awk 'NR > 1 { print $1 - last } { last = $1 }' "$1"; } # FILE with a time before and after

of_runs() { # PREFIX FILTER: the median over the runs
    local run
    for run in $(seq "$runs"); do jq -r "$2" "$dir/$1-$rate-$run.json"; done | median
}

# ---- the whole ------------------------------------------------------------------------
chmod 711 "$dir"
net=(--nodes "$members" --rate "$rate" --origin-rate "${ORIGIN_RATE:-$rate}" --congestion "${CONGESTION:-cubic}")
[ -z "${DELAY:-}" ] || net+=(--delay "$DELAY")
[ -z "${QUEUE_MS:-}" ] || net+=(--queue-ms "$QUEUE_MS")
make_network "${net[@]}"
start_origin
busy_without=$(busy_before)
start_scheduler "$members" "$hosts"
for i in $(seq "$hosts"); do start_member "$i"; done
start_member "$seed" seed
until_joined $(seq "$seed")
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
    seed_sent_copies "$(copies_of_runs 2 "$seed")" hosts_received_copies "$(copies_of_runs 3 all)"
    cpu_busy "$busy" cpu_busy_before "$busy_without"
    daemons_cpu_s "$(for run in $(seq "$runs"); do taken "$dir/run-$rate-$run.cpu"; done | median)"
)
[ "${BITTORRENT:-1}" = 0 ] || metrics+=(
    bittorrent_slowest_over_bound "$(calc "$(of_runs torrent '.seconds | max') / $bound")"
    bittorrent_p50_over_bound "$(calc "$(of_runs torrent '.seconds | sort | .[(length - 1) / 2 | floor]') / $bound")"
    bittorrent_cpu_busy "$(of_runs torrent .cpu_busy)"
)
result "${metrics[@]}"
