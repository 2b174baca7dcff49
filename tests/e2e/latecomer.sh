#!/usr/bin/env bash
# needs: base nginx net
# A host that asks for a file after another host of the cluster has all of it gets it from that host, also in a cluster
# without a seed, where the importer alone vouches for the pieces, and although the scheduler was not there when it was named.
set -euo pipefail

PANTALA=$(realpath "${PANTALA:-target/debug/pantala}")
# shellcheck source=tests/lab/swarm.sh
. "$(dirname "$0")/../lab/swarm.sh"

trap swarm_finish EXIT
leaves_the_origin_alone() { at_most "$(metric "$1" pantala_origin_body_bytes_total)" $((1 << 20)); }

swarm_begin 5
swarm_origin
make_file file 40
what=file
swarm_scheduler 1
swarm_daemon 2 daemon
swarm_daemon 3 daemon
swarm_ready 2 3
verdict "the first host gets a file" "$work/2/log" fetch 2
verdict "a later host gets it" "$work/3/log" fetch 3
verdict "the later host leaves the origin alone" "$work/3/log" leaves_the_origin_alone 3

swarm_kill scheduler
swarm_scheduler 1
swarm_daemon 4 daemon
swarm_ready 2 3 4
verdict "after a restart of the scheduler another host gets it" "$work/4/log" fetch 4
verdict "it leaves the origin alone" "$work/4/log" leaves_the_origin_alone 4

# Nobody has it in memory, and the next scheduler knows nobody who was named.
for name in scheduler 2 3 4; do swarm_kill $name TERM; done
swarm_scheduler 1
for node in 2 3 4 5; do swarm_daemon $node daemon; done
swarm_ready 2 3 4 5
verdict "after a restart of everything another host gets it" "$work/5/log" fetch 5
verdict "it too leaves the origin alone" "$work/5/log" leaves_the_origin_alone 5
