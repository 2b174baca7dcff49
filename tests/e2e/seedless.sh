#!/usr/bin/env bash
# needs: base net
# A file that no digest names: without a seed each host reads it from the origin and believes nobody else; a seed that comes
# later reads it for all; when that seed is gone each host reads on by itself, and what it signed is still believed, by hosts
# that never met it too, until it is thrown out.
set -euo pipefail

PANTALA=$(realpath "${PANTALA:-target/debug/pantala}")
# shellcheck source=tests/lab/swarm.sh
. "$(dirname "$0")/../lab/swarm.sh"

nodes=(2 3 4)
seed=5

trap swarm_finish EXIT
trap 'exit 130' INT TERM

fetch() { get "$1" "$url/$mode/$what" "$work/$1/$what"; }
same() { # NODE...
    local node
    for node in "$@"; do cmp "$work/$node/$what" "$work/www/$what" || return 1; done
}
sent() { curl -fsS "$url/.sent/$mode/$what"; }
between() { echo "$1, not $2 to $3"; [ "$1" -ge "$2" ] && [ "$1" -le "$3" ]; }
says() { grep -q -- "$1" "$2" || { echo "$2 does not say $1"; return 1; }; }
unleased() { [ "$(metric "$1" pantala_origin_unleased_bytes)" -ge "$2" ]; }
takes_all_from_hosts() { # NODE
    at_most "$(metric "$1" pantala_origin_body_bytes_total)" 0 && at_most $((32 * mib)) "$(metric "$1" pantala_body_bytes peer)"
}
newcomer() { # NODE TEXT: it gets the file from the others, and the origin sends nothing more
    swarm_daemon "$1" daemon
    swarm_ready "${nodes[@]}" "$1"
    verdict "$2: a newcomer gets a file" "$work/$1/log" fetch "$1"
    verdict "$2: its file is right" "$work/$1/two" same "$1"
    verdict "$2: it takes all of it from the others" "$work/$1/log" takes_all_from_hosts "$1"
    verdict "$2: the origin has sent nothing more" "" at_most "$(sent)" "$before"
    nodes+=("$1")
}
host_id() { # NODE: the first name in its certificate
    openssl x509 -in "$work/$1/data/identity/host.crt" -noout -ext subjectAltName | sed -nE 's/.*DNS:([a-z2-7]{52})\..*/\1/p'
}
half_way() { [ "$(sent)" -ge $((16 * mib)) ]; }

swarm_loopback
mkdir "$work/www" "$work/fickle"
head -c $((48 * mib)) /dev/urandom >"$work/www/one"
for name in two three; do head -c $((32 * mib)) /dev/urandom >"$work/www/$name"; done
fickle_port=$((base + 9))
url=http://127.0.0.1:$fickle_port
launch fickle origin python3 "$lab/fickle.py" --root "$work/www" --port "$fickle_port"
wait_for 10 curl -fsS "$url/.sent/right/one"
# shellcheck disable=SC2034  # read by swarm.sh
origins=("$url")
swarm_scheduler 1
for node in "${nodes[@]}"; do swarm_daemon "$node" daemon; done
swarm_ready "${nodes[@]}"

# The origin lies to who comes first: with nobody to check it, that host alone is wrong.
mode=first-wrong what=one
verdict "the first host gets a file from an origin that lies to it" "$work/2/log" fetch 2
verdict "two more hosts get it" "$work/NODE/fetch.log" each fetch 3 4
verdict "they do not believe the first one: their files are right" "$work/NODE/one" same 3 4
verdict "each host has read all of it" "" between "$(sent)" $((3 * 48 * mib)) $((3 * 56 * mib))
verdict "that is counted" "$work/3/log" unleased 3 $((48 * mib))
verdict "get says why, and what to do" "$work/3/fetch.log" says "--digest" "$work/3/fetch.log"

swarm_daemon $seed seed
swarm_ready $seed
mode=right what=two
verdict "with a seed all get a file" "$work/NODE/fetch.log" each fetch "${nodes[@]}" $seed
verdict "with a seed the files are right" "$work/NODE/two" same "${nodes[@]}" $seed
verdict "with a seed the origin sent it about once" "" between "$(sent)" $((32 * mib)) $((34 * mib))
verdict "with a seed get has nothing to say" "" eval '! grep -q -- --digest "$work/3/fetch.log"'

# The seed dies in the middle: nobody waits for ever, nobody takes anything from who is no seed.
what=three
each fetch "${nodes[@]}" &
fetching=$!
verdict "a seed reads a file for all" "$work/$seed/log" wait_for 20 half_way
swarm_kill $seed
verdict "the seed is killed at half: all others finish" "$work/NODE/fetch.log" wait $fetching
verdict "the seed is killed at half: the files are right" "$work/NODE/three" same "${nodes[@]}"

# It does not come back. Neither the next scheduler nor, after a restart of everything, any host has met it.
mode=right what=two
before=$(sent)
verdict "the origin has sent a file once" "" between "$before" $((32 * mib)) $((32 * mib + 8 * mib / 25))
newcomer 6 "the seed is gone"
swarm_kill scheduler
swarm_scheduler 1
newcomer 7 "and another scheduler is there"
for node in "${nodes[@]}" scheduler; do swarm_kill "$node" TERM; done
swarm_scheduler 1
for node in "${nodes[@]}"; do swarm_daemon "$node" daemon; done
swarm_ready "${nodes[@]}"
newcomer 8 "and all were started anew"

revoke_seed() { "$PANTALA" host revoke "$(host_id $seed)" --ca-dir "$work/scheduler/ca" --cluster "$cluster"; }
thrown_out() { test -s "$work/8/data/identity/revocations"; }
verdict "the seed is thrown out" "" revoke_seed
verdict "and the hosts hear of it" "$work/8/log" wait_for 10 thrown_out
swarm_daemon 9 daemon
swarm_ready 9
verdict "the seed is thrown out: a newcomer gets a file" "$work/9/log" fetch 9
verdict "the seed is thrown out: its file is right" "$work/9/two" same 9
verdict "the seed is thrown out: its word counts no more" "" between "$(sent)" $((64 * mib)) $((68 * mib))

swarm_kill scheduler
what=two
nodes=(2 3 4)
for node in "${nodes[@]}"; do rm -f "$work/$node/two"; done
mode=no-ranges
verdict "without scheduler and seed each host gets a file" "$work/NODE/fetch.log" each fetch "${nodes[@]}"
verdict "without scheduler and seed the files are right" "$work/NODE/two" same "${nodes[@]}"
