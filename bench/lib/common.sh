# Shared by the benches: a folder, processes that end with the script, a result file.
# shellcheck shell=bash disable=SC2034,SC2174
set -euo pipefail

bench=$(basename "$0" .sh)
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
lab=$root/tests/lab
lib=$root/bench/lib
cd "$root"
PANTALA=$(realpath -m "${PANTALA:-target/release/pantala}")

die() { echo "bench/$bench.sh: $*" >&2; exit 1; }
say() { echo "bench/$bench.sh: $*" >&2; }
need() { command -v "$1" >/dev/null || die "$1 not found: run tests/install.sh $2"; }

[ "$(id -u)" = 0 ] || die "network namespaces need root"
[ -x "$PANTALA" ] || die "no program at $PANTALA: cargo build --release, or set PANTALA"
need curl nginx
need nginx nginx
need jq base
need tc net

# ---- what ends with the script ------------------------------------------------
dir=$(mktemp -d "${BENCH_TMP:-/tmp}/pantala-bench-$bench.XXXXXX")
started=()
network=""
served=()

finish() {
    local status=$? pid one
    trap - EXIT INT TERM
    for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${started[@]}"; do gone "$pid" 100 || kill -9 "$pid" 2>/dev/null || true; done
    for one in "${served[@]}"; do "$lab/${one%% *}" stop --dir "${one#* }" --keep >/dev/null 2>&1 || true; done
    [ -z "$network" ] || "$lab/swarm-net.sh" destroy --dir "$network" >/dev/null 2>&1 || true
    if [ "${KEEP:-0}" = 0 ]; then rm -rf "$dir"; else say "logs and metrics are in $dir"; fi
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

gone() { # PID TENTHS: waits until the process has ended
    local i
    for ((i = 0; i < $2; i++)); do
        kill -0 "$1" 2>/dev/null || return 0
        sleep 0.1
    done
    return 1
}

until_true() { # SECONDS WHAT COMMAND...
    local seconds=$1 what=$2 i
    shift 2
    for ((i = 0; i < seconds * 10; i++)); do
        if "$@" >/dev/null 2>&1; then return 0; fi
        sleep 0.1
    done
    die "$what did not happen within $seconds s (KEEP=1 keeps the logs)"
}

# ---- network, origin, daemons ---------------------------------------------------
make_network() { # OPTIONS of swarm-net.sh create
    net_name=b$$
    network=$dir/net
    "$lab/swarm-net.sh" create --name "$net_name" --dir "$network" --no-ipv6 "$@" >/dev/null
}

on() { # NODE COMMAND...: in the node's network
    local node=$1
    shift
    nsenter --net="/run/netns/$net_name-$node" -- "$@"
}

serve() { # NODE SCRIPT DIR OPTIONS...: a server of tests/lab, stopped at the end
    served+=("$2 $3")
    on "$1" "$lab/$2" start --dir "$3" "${@:4}" >"$dir/serve.log"
}

start_origin() {
    mkdir -p "$dir/www"
    web=$dir/nginx
    serve origin nginx.sh "$web" --root "$dir/www" --listen 10.88.0.2 --port 8080
    origin=http://10.88.0.2:8080
}

random_file() { # NAME BYTES: a new file at the origin
    head -c "$2" /dev/urandom >"$dir/www/$1"
    chmod 644 "$dir/www/$1"
}

start_on() { # NODE LOG COMMAND...: in the background; its process id is then in $!
    local node=$1 log=$2
    shift 2
    nsenter --net="/run/netns/$net_name-$node" -- "$@" >"$log" 2>&1 </dev/null &
    started+=("$!")
}

write_config() { # NAME LINES...: DIR/NAME.toml, with what all daemons share
    local name=$1
    shift
    mkdir -p -m 700 "$dir/$name"
    cat >"$dir/$name.toml" <<TOML
version = 1
[peer]
listen = "0.0.0.0:7470"
slots = ${SLOTS:-2}
[origin]
allow = ["$origin"]
[mirror]
listen = "${MIRROR:-off}"
[status]
listen = "127.0.0.1:7471"
[local]
socket = "$dir/$name.sock"
[store]
free_floor = "1MiB"
[log]
level = "${LOG:-info}"
[host]
data_dir = "$dir/$name"
TOML
    [ $# = 0 ] || printf '%s\n' "$@" >>"$dir/$name.toml"
}

ready() { # NODE: the daemon there says so itself
    on "$1" curl -sf --max-time 2 --noproxy '*' http://127.0.0.1:7471/readyz
}

json_list() { printf '%s\n' "$@" | jq -Rnc '[inputs]'; } # of words without line breaks

bytes() { numfmt --from=iec-i "${1%B}"; } # 64MiB or 64Mi -> 67108864

# ---- processors -------------------------------------------------------------------
cpu_seconds() { # PID...: user and system time that they have taken
    local pid
    for pid in "$@"; do cat "/proc/$pid/stat" 2>/dev/null || true; done |
        awk -v hz="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); ticks += $12 + $13 } END { printf "%.2f\n", ticks / hz }'
}

busy_before() { # how busy the machine is without us, 0 to 1, over two seconds
    local first last
    first=$(head -n 1 /proc/stat)
    sleep 2
    last=$(head -n 1 /proc/stat)
    printf '%s\n%s\n' "$first" "$last" | awk '{
        total[NR] = 0
        for (i = 2; i <= 9; i++) total[NR] += $i
        idle[NR] = $5 + $6
    } END { printf "%.3f\n", 1 - (idle[2] - idle[1]) / (total[2] - total[1]) }'
}

# ---- numbers --------------------------------------------------------------------
median() { sort -g | awk '{ v[NR] = $1 } END {
    if (!NR) exit 1
    print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

calc() { awk -v OFMT=%.6g -v CONVFMT=%.6g "BEGIN { print ($1) }"; }

result() { # NAME VALUE ...: writes and prints target/bench/BENCH.json
    local out=$root/target/bench/$bench.json
    mkdir -p "$(dirname "$out")"
    jq -n --arg bench "$bench" --argjson cores "$(nproc)" --arg kernel "$(uname -r)" \
        --arg cpu "$(awk -F': ' '/^model name/ { print $2; exit }' /proc/cpuinfo)" '
        [$ARGS.positional | _nwise(2) | { (.[0]): (.[1] | tonumber) }] | add
        | { bench: $bench, machine: { cores: $cores, kernel: $kernel, cpu: $cpu }, metrics: . }' \
        --args "$@" | tee "$out"
}
