#!/usr/bin/env bash
# What memory a daemon takes: idle, and while it takes a large file and serves eight hosts at once.
if [ "${1:-}" = --help ]; then
    cat <<'USAGE'
Usage: bench/memory.sh     results in target/bench/memory.json; what they mean is in docs/BENCHMARKS.md

Environment: SIZE=1GiB (4GiB for the record)  CHILDREN=8  RATE= (none)  IDLE=10 (seconds)
             PANTALA=target/release/pantala  KEEP=0  LOG=info
Needs root, tests/install.sh base nginx net, and ten times SIZE of disk.
USAGE
    exit
fi
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib/common.sh"
# shellcheck source=bench/lib/cluster.sh
. "$lib/cluster.sh"

size=$(bytes "${SIZE:-1GiB}") children=${CHILDREN:-8}
measured=$((children + 1)) members=$((children + 2))

sampled() { # NAME COMMAND...: the memory of the measured daemon while the command runs, in DIR/NAME
    local name=$1 sampler
    shift
    "$lib/rss.py" "$daemon" >"$dir/$name" &
    sampler=$!
    started+=("$sampler")
    "$@"
    kill "$sampler"
    gone "$sampler" 50 || die "the sampler did not end"
}

get_on() { # NODE: the command that takes the file there and keeps no second copy, as JSON
    json_list nsenter "--net=/run/netns/$net_name-$1" -- "$PANTALA" get "$origin/file" -o - --json \
        --socket "$dir/d$1.sock"
}

all_take() { for i in $(seq "$measured"); do get_on "$i"; done | "$lib/together.py" "${TIMEOUT:-540}" >"$dir/gets"; }

sent() { "$lab/swarm-net.sh" traffic --dir "$network" | awk -v node="$measured" '$1 == node { print $2 }'; }

chmod 711 "$dir"
net=(--nodes "$members")
[ -z "${RATE:-}" ] || net+=(--rate "$RATE" --origin-rate "$RATE")
make_network "${net[@]}"
start_origin
random_file file "$size"
start_scheduler "$members" "$children"
start_member "$measured" seed
daemon=$!
for i in $(seq "$children"); do start_member "$i"; done
until_joined $(seq "$measured")

sampled idle sleep "${IDLE:-10}"
before=$(sent)
sampled busy all_take
[ "$(jq .failed "$dir/gets")" = 0 ] || die "$(jq .failed "$dir/gets") hosts failed: $(jq -c .errors "$dir/gets")"
sampled after sleep 5
result file_bytes "$size" children "$children" \
    idle_mib "$(jq .peak_mib "$dir/idle")" idle_own_mib "$(jq .anon_mib "$dir/idle")" \
    busy_mib "$(jq .peak_mib "$dir/busy")" busy_own_mib "$(jq .anon_mib "$dir/busy")" \
    after_mib "$(jq .peak_mib "$dir/after")" after_own_mib "$(jq .anon_mib "$dir/after")" \
    served_copies "$(calc "($(sent) - $before) / $size")" \
    seconds "$(jq '.seconds | max' "$dir/gets")" cpu_busy "$(jq .cpu_busy "$dir/gets")"
