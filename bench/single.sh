#!/usr/bin/env bash
# What the way through Pantala costs one host that is alone: against curl and sync, in pairs.
if [ "${1:-}" = --help ]; then
    cat <<'USAGE'
Usage: bench/single.sh     results in target/bench/single.json; what they mean is in docs/BENCHMARKS.md

Environment: PAIRS=5  SIZE=1GiB  RATE=2gbit  SMALL=20 (files of one byte)
             PANTALA=target/release/pantala  KEEP=0  LOG=info
Needs root, tests/install.sh base nginx net.
USAGE
    exit
fi
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib/common.sh"

pairs=${PAIRS:-5} size=$(bytes "${SIZE:-1GiB}") small=${SMALL:-20}

start_alone() { # NAME: a daemon with an empty store
    write_config "$1"
    start_on 1 "$dir/$1.log" "$PANTALA" daemon --config "$dir/$1.toml"
    daemon=$!
    until_true 30 "the daemon being ready" ready 1
}

end_daemon() {
    kill "$daemon"
    gone "$daemon" 300 || die "the daemon did not end within 30 s"
}

timed() { # FILE COMMAND...: writes "SECONDS CPU_SECONDS" of the command
    local file=$1
    shift
    on 1 "$root/bench/lib/timed.py" "$file" "$@" >/dev/null || die "failed: $*"
}

by_curl() { # PAIR
    rm -f "$dir/by-curl"
    # shellcheck disable=SC2016 # the inner shell expands them
    timed "$dir/curl-$1" sh -c 'curl -sf --noproxy "*" -o "$1" "$2" && sync -f "$1"' - "$dir/by-curl" "$origin/file-$1"
}

by_pantala() { # PAIR: a cold daemon, which is started before and ended after
    local before after
    rm -f "$dir/by-pantala"
    start_alone "cold-$1"
    before=$(cpu_seconds "$daemon")
    timed "$dir/get-$1" "$PANTALA" get "$origin/file-$1" -o "$dir/by-pantala" --json --socket "$dir/cold-$1.sock"
    after=$(cpu_seconds "$daemon")
    calc "$after - $before" >"$dir/daemon-$1"
    end_daemon
    cmp -s "$dir/by-pantala" "$dir/www/file-$1" || die "other bytes than the origin's"
    rm -rf "$dir/cold-$1"
}

pair() { # PAIR: who goes first alternates
    random_file "file-$1" "$size"
    sync -f "$dir"
    if [ $(($1 % 2)) = 1 ]; then by_curl "$1" && sync -f "$dir" && by_pantala "$1"; else by_pantala "$1" && sync -f "$dir" && by_curl "$1"; fi
    local curl get cpu
    read -r curl curl_cpu <"$dir/curl-$1"
    read -r get get_cpu <"$dir/get-$1"
    cpu=$(calc "$(cat "$dir/daemon-$1") + $get_cpu")
    say "pair $1: curl and sync $curl s ($curl_cpu s of CPU), get $get s ($cpu s of CPU)"
    calc "$get / $curl" >>"$dir/ratios"
    calc "$cpu / $curl_cpu" >>"$dir/cpu-ratios"
    echo "$curl" >>"$dir/curls"
    echo "$get" >>"$dir/gets"
    rm -f "$dir/by-curl" "$dir/by-pantala" "$dir/www/file-$1"
}

one_byte() { # milliseconds of a get of one byte, and of curl for the same
    local i
    start_alone warm
    for i in $(seq "$small"); do
        random_file "small-$i" 1
        timed "$dir/small" "$PANTALA" get "$origin/small-$i" -o "$dir/small-out" --overwrite --json --socket "$dir/warm.sock"
        awk '{ print $1 * 1000 }' "$dir/small" >>"$dir/smalls"
        timed "$dir/small" curl -sf --noproxy '*' -o "$dir/small-out" "$origin/small-$i"
        awk '{ print $1 * 1000 }' "$dir/small" >>"$dir/small-curls"
    done
    end_daemon
}

chmod 711 "$dir"
make_network --nodes 1 --rate "${RATE:-2gbit}"
start_origin
before=$(busy_before)
for i in $(seq "$pairs"); do pair "$i"; done
one_byte
result pairs "$pairs" file_bytes "$size" \
    over_curl "$(median <"$dir/ratios")" \
    cpu_over_curl "$(median <"$dir/cpu-ratios")" \
    curl_s "$(median <"$dir/curls")" \
    get_s "$(median <"$dir/gets")" \
    one_byte_ms "$(median <"$dir/smalls")" \
    one_byte_curl_ms "$(median <"$dir/small-curls")" \
    cpu_busy_before "$before"
