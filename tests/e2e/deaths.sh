#!/usr/bin/env bash
# Hosts that die: importers and parents are killed, stopped or told to end while others need them, and come back.
# needs: base nginx net
set -euo pipefail

PANTALA=$(realpath "${PANTALA:-target/debug/pantala}")
# shellcheck source=tests/lab/swarm.sh
. "$(dirname "$0")/../lab/swarm.sh"

plain=(3 4 5 6)

restart() {
    local role=daemon
    [ "$1" != 2 ] || role=seed
    swarm_daemon "$1" $role
    swarm_ready "$1"
}
but() { # NODE NODE...: the others
    local not=$1 node
    shift
    for node in "$@"; do [ "$node" = "$not" ] || echo "$node"; done
}
once() { at_most "$(sent_bytes nginx.sh "$nginx")" $(($1 * mib * 101 / 100)); }

# ---- importers --------------------------------------------------------------
# What the kernels may hold of one connection to the origin: its server counts that as sent. By default it is far more.
receives=$((4 * mib)) sends=$mib
bound_buffers() {
    local node
    for node in 2 "${plain[@]}"; do on "$node" sysctl -qw net.ipv4.tcp_rmem="4096 131072 $receives"; done
    on origin sysctl -qw net.ipv4.tcp_wmem="4096 16384 $sends"
}

# Two streams read ahead 32 MiB together; what a reader is blocked on, one piece, comes beside that.
importer_killed() {
    local readers=(3 4) killed others piece=$((4 * mib))
    what=importer
    make_file $what 1024
    reset
    start_fetch "${readers[@]}"
    if ! reach $((512 * mib)) pantala_origin_body_bytes_total 2 "${readers[@]}"; then
        fail "half of a file from the origin in time ($work/NODE/log)"
        return
    fi
    killed=$reached
    swarm_kill "$killed"
    mapfile -t others < <(but "$killed" "${readers[@]}")
    verdict "the importer is killed at half: all others finish" "$work/NODE/log" end_fetch "${others[@]}"
    verdict "the importer is killed at half: digests are right" "a digest differs" same "${others[@]}"
    verdict "the importer is killed at half: the origin sends again what it had read ahead" "$nginx/access.log" \
        at_most "$(sent_bytes nginx.sh "$nginx")" $(((1024 + 32) * mib + piece + 2 * (receives + sends)))
    [ "${#others[@]}" = "${#readers[@]}" ] || wait "${fetches[$killed]}" || true
    restart "$killed"
    rm -- "$work"/*/$what
}

# ---- parents ----------------------------------------------------------------
sent_by() { "$lab/swarm-net.sh" traffic --dir "$net" | awk -v node="$1" '$1 == node { print $2 }'; }

# parent_found BYTES NODE...: wait until one of them that does not import has sent so much; it is in $parent.
parent_found() {
    local bytes=$1 node
    local -A before=() read=()
    shift
    for node in "$@"; do
        before[$node]=$(sent_by "$node")
        read[$node]=$(metric "$node" pantala_origin_body_bytes_total)
    done
    for _ in $(seq 1200); do
        for node in "$@"; do
            if [ $(($(sent_by "$node") - ${before[$node]})) -ge "$bytes" ] &&
                [ "$(metric "$node" pantala_origin_body_bytes_total)" = "${read[$node]}" ]; then
                parent=$node && return 0
            fi
        done
        sleep 0.05
    done
    return 1
}

# parent_gone SIGNAL: a host that sends to others gets it, and is in $parent.
parent_gone() {
    local signal=$1 others
    what=parent-$signal
    make_file "$what" 256
    reset
    start_fetch "${plain[@]}"
    if ! parent_found $((24 * mib)) "${plain[@]}"; then
        fail "a host sends 24 MiB to others in time ($work/NODE/log)"
        return 1
    fi
    kill "-$signal" "$(cat "$work/$parent/pid")"
    mapfile -t others < <(but "$parent" "${plain[@]}")
    verdict "$signal of a parent: all others finish" "$work/NODE/log" end_fetch "${others[@]}"
    verdict "$signal of a parent: digests are right" "a digest differs" same "${others[@]}"
    verdict "$signal of a parent: the origin sends the file once" "$nginx/access.log" once 256
}

parent_killed() {
    parent_gone KILL || return 0
    wait "$(cat "$work/$parent/pid")" 2>/dev/null || true
    end_fetch "$parent" >/dev/null 2>&1 || true
    restart "$parent"
}

parent_stopped() {
    parent_gone STOP || return 0
    kill -CONT "$(cat "$work/$parent/pid")"
    verdict "a parent that was stopped goes on and finishes" "$work/$parent/log" end_fetch "$parent"
    verdict "a parent that was stopped has the right file" "a digest differs" same "$parent"
}

# Long enough for every link of it to end, and for everybody else to have the whole.
consumer_stopped() {
    local others before asleep=20
    what=consumer-stopped
    make_file $what 256
    reset
    start_fetch "${plain[@]}"
    if ! parent_found $((8 * mib)) "${plain[@]}"; then
        fail "a host sends 8 MiB to others in time ($work/NODE/log)"
        return
    fi
    before=$(metric "$parent" pantala_origin_unleased_bytes_total)
    kill -STOP "$(cat "$work/$parent/pid")"
    sleep $asleep
    mapfile -t others < <(but "$parent" "${plain[@]}")
    verdict "a consumer sleeps for $asleep s: all others finish" "$work/NODE/log" end_fetch "${others[@]}"
    kill -CONT "$(cat "$work/$parent/pid")"
    verdict "a consumer that slept for $asleep s goes on and finishes" "$work/$parent/log" end_fetch "$parent"
    verdict "a consumer that slept has the right file" "a digest differs" same "$parent"
    verdict "a consumer that slept reads nothing of the origin for itself" "$work/$parent/log" \
        test "$(metric "$parent" pantala_origin_unleased_bytes_total)" = "$before"
    # The importer has what the sleeper alone was shown, and shows it to others before the scheduler sees a standstill.
    verdict "a consumer that slept: the origin sends the file once" "$nginx/access.log" once 256
}

# A host that has the file is told to end while it sends to those that lack it.
parent_leaves() {
    local children=(3 4 5) node code=0 pid
    what=leaving
    make_file $what 256
    reset
    for node in "${children[@]}"; do wc -l <"$work/$node/log" >"$work/$node/lines"; done
    verdict "a host has a file" "$work/6/log" fetch 6
    start_fetch "${children[@]}"
    parent_found $((16 * mib)) 6 || fail "it sends 16 MiB to others in time ($work/6/log)"
    pid=$(cat "$work/6/pid")
    kill -TERM "$pid"
    wait "$pid" || code=$?
    verdict "TERM of a parent: it ends with 0" "$work/6/log" test $code = 0
    verdict "TERM of a parent: it ends in time" "$work/6/log" never_says 6 0 'cut off|not closed'
    verdict "TERM of a parent: its children finish" "$work/NODE/log" end_fetch "${children[@]}"
    verdict "TERM of a parent: digests are right" "a digest differs" same "${children[@]}"
    verdict "TERM of a parent: the origin sends the file once" "$nginx/access.log" once 256
    for node in "${children[@]}"; do
        verdict "TERM of a parent: host $node sees no error" "$work/$node/log" never_says "$node" "$(cat "$work/$node/lines")" ' ERROR '
    done
    restart 6
}
never_says() { # NODE LINES WORDS: not after these lines of its log
    tail -n "+$(($2 + 1))" "$work/$1/log" | { ! grep -E -- "$3"; }
}

# ---- what a host had ---------------------------------------------------------
source_of() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["sources"][sys.argv[2]])' "$work/5/report" "$1"; }
again() { fetch 5 --json >"$work/5/report"; }

# A third of it takes two seconds at this rate, and marks are committed each second.
daemon_killed() {
    what=resumed
    make_file $what 192
    start_fetch 5
    reach $((64 * mib)) pantala_body_bytes_total 5 || fail "a third of a file in time ($work/5/log)"
    swarm_kill 5
    end_fetch 5 >/dev/null 2>&1 || true
    restart 5
    verdict "a daemon is killed while it writes: it finishes after a restart" "$work/5/log" again
    verdict "a daemon is killed while it writes: the file is right" "a digest differs" same 5
    verdict "a daemon is killed while it writes: what it had is used" "$work/5/report" test "$(source_of local)" -gt 0
    verdict "a daemon is killed while it writes: the rest comes" "$work/5/report" \
        test $(($(source_of peer) + $(source_of origin))) = $((192 * mib - $(source_of local)))
    local came
    came=$(($(metric 5 pantala_body_bytes_total peer) + $(metric 5 pantala_body_bytes_total origin)))
    verdict "a daemon is killed while it writes: no more than the rest comes" "$work/5/report" \
        at_most "$came" $((192 * mib - $(source_of local)))
}

trap swarm_finish EXIT
trap 'exit 130' INT TERM
# The origin could send four times what an importer can pass on: all that is read ahead is lost with it.
swarm_begin 6 --rate 250mbit --down-rate 1gbit --origin-rate 1gbit
bound_buffers
swarm_origin
swarm_scheduler 1
swarm_daemon 2 seed
for node in "${plain[@]}"; do swarm_daemon "$node" daemon --set host.stop_timeout=20s; done
swarm_ready 2 "${plain[@]}"
parts=(importer_killed parent_killed parent_stopped consumer_stopped parent_leaves daemon_killed)
[ $# = 0 ] || parts=("$@")
for part in "${parts[@]}"; do "$part"; done
