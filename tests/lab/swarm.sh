#!/usr/bin/env bash
# Starts a whole swarm: scheduler, seed and daemons as processes of their own, in namespaces or on loopback.

swarm_usage() {
    cat <<'USAGE'
Usage: . swarm.sh          a library for scripts; needs $PANTALA

  swarm_begin NODES [swarm-net.sh options]   folder $work and, as root, the network
  swarm_loopback                             folder $work; every node is 127.0.0.1
  swarm_scheduler NODE [pantala options]     a scheduler and the cluster's tokens
  swarm_daemon NODE daemon|seed [pantala options]
                                             a daemon; NODE is a number
  swarm_ready NODE...                        wait until they answer /readyz
  swarm_kill NODE|scheduler [SIGNAL]         end one of them (default KILL)
  swarm_end                                  end everything that was started, by pid
  serve NODE|origin SCRIPT [options]         start a script of the lab; sets dir, url, addr ...
  on NODE COMMAND...                         run COMMAND on NODE
  get NODE URL FILE [options]                pantala get through NODE's daemon
  metric NODE NAME [SOURCE]                  the sum of a counter
  each FUNCTION NODE...                      FUNCTION NODE for all at once; false if one failed
  swarm_origin                               a web server of the files in $work/www: $origin, its folder is $nginx
  swarm_registry LAYER-SIZES                 a registry beside it: $registry, with the image test/app:v1, whose largest
                                             layer is $blob; its folder is $registry_dir
  make_file NAME MIB, fetch NODE, same NODE...   a file of it; the others are about the file $what, known by its digest
  start_fetch NODE..., end_fetch NODE..., gave_up NODE CODE WORDS
                                             the same in the background, and how it must end
  reach BYTES NAME NODE...                   wait until that counter of one of them has grown by BYTES; it is $reached
  seconds                                    a clock, with fractions

$origins holds entries of origin.allow, $extra further lines of each daemon's configuration.
Stop it always: trap swarm_end EXIT.
USAGE
}
if [ "${BASH_SOURCE[0]}" = "$0" ]; then swarm_usage && exit; fi

lab=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck disable=SC2034  # for the scripts that source this
work="" net="" namespaces="" origins=() extra="" cluster=lab scheduler_node=1 servers=()
PATH=$PATH:/usr/sbin:/sbin

seconds() { echo "${EPOCHREALTIME/,/.}"; }
since() { awk -v a="$1" -v b="$(seconds)" 'BEGIN { printf "%.2f", b - a }'; }

swarm_loopback() {
    work=$(mktemp -d -t pantala-swarm.XXXXXX)
    chmod 700 "$work"
    : >"$work/pids"
    origin_ip=127.0.0.1
    # Ports of node i are base + 10 i and the nine after it: below those that connections get by themselves.
    base=$((20000 + RANDOM % 12000))
}

swarm_begin() {
    local nodes=$1 dir=""
    shift
    swarm_loopback
    namespaces=pan$$
    "$lab/swarm-net.sh" create --nodes "$nodes" --name "$namespaces" --no-ipv6 --dir "$work/net" "$@" >"$work/net.env"
    net=$work/net
    origin_ip=10.88.0.2
}

on() {
    local where=$1
    shift
    if [ -n "$namespaces" ]; then nsenter --net="/run/netns/$namespaces-$where" "$@"; else "$@"; fi
}

# The same, in place of the shell: the pid of a job is then the program's own.
become() {
    local where=$1
    shift
    if [ -n "$namespaces" ]; then exec nsenter --net="/run/netns/$namespaces-$where" "$@"; else exec "$@"; fi
}

# serve WHERE SCRIPT [options]: start a script of the lab there, stopped by swarm_end; its settings are then variables.
serve() {
    local where=$1 script=$2 settings
    shift 2
    settings=$(on "$where" "$lab/$script" start "$@") || return 1
    eval "$settings"
    servers+=("$script $dir")
}

# port NODE WHICH: 0 peers, 1 status, 2 mirror; the scheduler has 5 and 6.
port() { if [ -n "$namespaces" ]; then echo $((7470 + $2)); else echo $((base + 10 * $1 + $2)); fi; }
ip_of() { if [ -n "$namespaces" ]; then echo "10.88.1.$1"; else echo 127.0.0.1; fi; }
mirror_of() { echo "127.0.0.1:$(port "$1" 2)"; }
socket_of() { echo "$work/$1/socket"; }

# launch NAME NODE COMMAND...: in the background, its pid in $work/NAME/pid and its words in $work/NAME/log.
launch() {
    local name=$1 node=$2
    shift 2
    become "$node" "$@" >>"$work/$name/log" 2>&1 </dev/null &
    echo $! >"$work/$name/pid"
    echo $! >>"$work/pids"
}

wait_for() { # SECONDS COMMAND...
    local tries=$(($1 * 10))
    shift
    for _ in $(seq "$tries"); do
        "$@" >/dev/null 2>&1 && return 0
        sleep 0.1
    done
    return 1
}

token() { "$PANTALA" token create --ca-dir "$work/scheduler/ca" --cluster "$cluster" --uses 100 "$@"; }

scheduler_ready() { on "$scheduler_node" curl -fsS -m 2 "http://127.0.0.1:$(port "$scheduler_node" 6)/readyz"; }

swarm_scheduler() {
    scheduler_node=$1
    shift
    (umask 077 && mkdir -p "$work/scheduler")
    launch scheduler "$scheduler_node" "$PANTALA" scheduler --config "$(scheduler_config)" "$@"
    wait_for 20 scheduler_ready || { echo "no scheduler, see $work/scheduler/log" >&2; return 1; }
    [ -s "$work/token-daemon" ] || (
        umask 077
        token --role daemon >"$work/token-daemon" 2>>"$work/scheduler/log"
        token --role seed >"$work/token-seed" 2>>"$work/scheduler/log"
    )
}

scheduler_config() {
    cat >"$work/scheduler/pantala.toml" <<TOML
[scheduler]
listen = "$(ip_of "$scheduler_node"):$(port "$scheduler_node" 5)"
status = "127.0.0.1:$(port "$scheduler_node" 6)"
ca_dir = "$work/scheduler/ca"
cluster = "$cluster"
TOML
    echo "$work/scheduler/pantala.toml"
}

swarm_daemon() {
    local node=$1 role=$2
    shift 2
    (umask 077 && mkdir -p "$work/$node" "$work/$node/data")
    daemon_config "$node" "$role" >"$work/$node/pantala.toml"
    launch "$node" "$node" "$PANTALA" daemon --config "$work/$node/pantala.toml" "$@"
}

daemon_config() {
    local node=$1 role=$2 seed=false allow=""
    [ "$role" = daemon ] || seed=true
    [ ${#origins[@]} = 0 ] || allow=$(printf '"%s", ' "${origins[@]}")
    cat <<TOML
[host]
data_dir = "$work/$node/data"
seed = $seed
stop_timeout = "2s"
[peer]
listen = "$(ip_of "$node"):$(port "$node" 0)"
[control]
schedulers = ["$(ip_of "$scheduler_node"):$(port "$scheduler_node" 5)"]
join_token_file = "$work/token-$role"
[status]
listen = "127.0.0.1:$(port "$node" 1)"
[local]
socket = "$(socket_of "$node")"
[store]
free_floor = "1MiB"
TOML
    printf '[mirror]\nlisten = "%s"\n%s\n' "$(mirror_of "$node")" "${mirror_lines:-}"
    printf '[origin]\nallow = [%s]\n%s\n' "${allow%, }" "$extra"
}

node_ready() { on "$1" curl -fsS -m 2 "http://127.0.0.1:$(port "$1" 1)/readyz"; }

swarm_ready() {
    local node
    for node in "$@"; do
        wait_for 30 node_ready "$node" && continue
        echo "node $node is not ready, see $work/$node/log" >&2
        tail -n 5 "$work/$node/log" >&2
        return 1
    done
}

swarm_kill() { # NAME [SIGNAL]
    local pid
    pid=$(cat "$work/$1/pid")
    kill "-${2:-KILL}" "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
}

swarm_end() {
    local pid server pids=()
    [ -n "$work" ] || return 0
    for server in "${servers[@]}"; do "$lab/${server%% *}" stop --dir "${server#* }" >/dev/null 2>&1 || true; done
    servers=()
    mapfile -t pids <"$work/pids"
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do
        for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
        kill -9 "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    [ -z "$net" ] || "$lab/swarm-net.sh" destroy --dir "$net" >/dev/null 2>&1 || true
    net=""
}

get() { # NODE URL FILE [options]
    local node=$1 url=$2 file=$3
    shift 3
    on "$node" timeout "${GET_SECONDS:-120}" "$PANTALA" get "$url" -o "$file" --socket "$(socket_of "$node")" "$@"
}

metric() { # NODE NAME [SOURCE]
    on "$1" curl -fsS -m 5 "http://127.0.0.1:$(port "$1" 1)/metrics" |
        awk -v name="$2" -v label="${3:-}" '
            index($1, name) == 1 && (label == "" || index($1, "\"" label "\"")) { n += $2 }
            END { printf "%d\n", n }'
}

# The lines of a function that runs for all nodes at once go to $work/NODE/FUNCTION.log.
each() {
    local job=$1 node pid bad=0
    local -a pids=()
    shift
    for node in "$@"; do
        "$job" "$node" >"$work/$node/$job.log" 2>&1 &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid" || bad=1; done
    return $bad
}

# The body bytes that a server of the lab has sent for GET, from its stats.
sent_bytes() { # nginx.sh|registry.sh DIR
    "$lab/$1" stats --dir "$2" | sed -nE 's/^GET .*bytes=([0-9]+).*/\1/p' | awk '{ n += $1 } END { print n + 0 }'
}

# ---- pulls of the file $what from the web server at $origin -----------------
mib=$((1 << 20))

swarm_origin() {
    mkdir -p "$work/www"
    serve origin nginx.sh --root "$work/www" --listen "$origin_ip" --port 8080
    nginx=$dir origin=$url
    origins+=("$origin")
}
swarm_registry() { # LAYER-SIZES
    registry=$origin_ip
    serve origin registry.sh --listen "$registry" --port 80
    registry_dir=$dir
    origins+=("http://$registry")
    mirror_lines="registries = [\"$registry\"]"
    on origin "$lab/make-image.py" --compress none --layer-sizes "$1" --push "$registry/test/app:v1" >"$work/push.log" 2>&1
    blob=$(on origin curl -sf -H 'Accept: application/vnd.oci.image.manifest.v1+json' "http://$registry/v2/test/app/manifests/v1" |
        jq -r '.layers | max_by(.size) | .digest')
}
make_file() {
    head -c "$2M" /dev/urandom >"$work/www/$1"
    sum_of "$1" >/dev/null
}
sum_of() { # FILE of the web server: its digest, worked out once
    [ -s "$work/$1.sha256" ] || sha256sum <"$work/www/$1" | cut -d ' ' -f 1 >"$work/$1.sha256"
    echo "sha256:$(cat "$work/$1.sha256")"
}
fetch() { # NODE [options of get]
    get "$1" "$origin/$what" "$work/$1/$what" --digest "$(sum_of "$what")" "${@:2}"
}
same() { # NODE...
    local node digest
    digest=$(sha256sum <"$work/www/$what")
    for node in "$@"; do [ "$(sha256sum <"$work/$node/$what")" = "$digest" ] || { echo "differs on $node"; return 1; }; done
}
is_whole() { # DIGEST FILE
    echo "$2 is not $1"
    [ "sha256:$(sha256sum <"$2" | cut -d ' ' -f 1)" = "$1" ]
}
at_most() { echo "$1, at most $2"; [ "$1" -le "$2" ]; }
reset() { "$lab/nginx.sh" stats --dir "$nginx" --reset >/dev/null; }

# start_fetch NODE...: in the background; the pids are in $fetches, by node.
declare -A fetches=()
start_fetch() {
    local node
    fetches=()
    for node in "$@"; do
        fetch "$node" >"$work/$node/fetch" 2>&1 &
        fetches[$node]=$!
    done
}
end_fetch() { # NODE...
    local node bad=0
    for node in "$@"; do wait "${fetches[$node]}" || { bad=1; echo "on $node: $(tail -n 1 "$work/$node/fetch")"; }; done
    return $bad
}
gave_up() { # NODE CODE WORDS: it ends with that code and says that
    local code=0
    wait "${fetches[$1]}" || code=$?
    echo "ended with $code: $(head -c 300 "$work/$1/fetch" | tr '\n' ' ')"
    [ $code = "$2" ] && grep -Eq -- "$3" "$work/$1/fetch"
}

# reach BYTES NAME NODE...: wait until that counter of one of them has grown by BYTES; which one is in $reached.
reach() {
    local bytes=$1 name=$2 node now
    local -A before=()
    shift 2
    for node in "$@"; do before[$node]=$(metric "$node" "$name"); done
    for _ in $(seq 1200); do
        for node in "$@"; do
            now=$(metric "$node" "$name")
            if [ $((now - ${before[$node]})) -ge "$bytes" ]; then reached=$node && return 0; fi
        done
        sleep 0.05
    done
    return 1
}

ends_with() { # CODE WORDS COMMAND...: it ends with that code and says that on standard error
    local wanted=$1 words=$2 code=0
    shift 2
    "$@" >"$work/said" 2>&1 || code=$?
    [ $code = "$wanted" ] || { echo "ended with $code, not $wanted: $(head -c 300 "$work/said" | tr '\n' ' ')"; return 1; }
    grep -Eqi -- "$words" "$work/said" || { echo "did not say $words: $(head -c 300 "$work/said" | tr '\n' ' ')"; return 1; }
}

# For a trap on EXIT: ends everything, keeps the folder if a check failed, and prints the sum.
swarm_finish() {
    local code=$? node
    trap - EXIT
    if [ $code != 0 ] && [ $failed = 0 ]; then fail "the script ended early, with $code"; fi
    swarm_end
    for node in "$work"/*/data; do
        if mountpoint -q "$node"; then umount -l "$node"; fi
    done
    if [ $failed = 0 ] && [ $passed -gt 0 ]; then rm -rf -- "$work"; else echo "logs are in $work"; fi
    echo "$passed passed, $failed failed"
    [ $failed = 0 ]
}

# Checks: one line each, counted.
passed=0 failed=0
ok() { echo "ok   $*"; passed=$((passed + 1)); }
fail() { echo "FAIL $*"; failed=$((failed + 1)); } # TEXT (why, where the log is)
verdict() { # TEXT WHY COMMAND...
    local text=$1 why=$2
    shift 2
    if "$@" >"$work/verdict" 2>&1; then ok "$text"; else fail "$text ($why; $(tail -n 1 "$work/verdict" | cut -c1-200); $work)"; fi
}
