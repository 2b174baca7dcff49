#!/usr/bin/env bash
# What breaks: the scheduler is killed, disks fill, strangers and mistakes come along. Hosts die in deaths.sh.
# needs: base nginx net
set -euo pipefail

PANTALA=$(realpath "${PANTALA:-target/debug/pantala}")
# shellcheck source=tests/lab/swarm.sh
. "$(dirname "$0")/../lab/swarm.sh"

nodes=(2 3 4 5)

# ---- crashes ----------------------------------------------------------------
scheduler_killed() {
    what=headless
    make_file $what 192
    reset
    start_fetch "${nodes[@]}"
    reach $((16 * mib)) pantala_body_bytes_total "${nodes[@]}" || fail "a quarter of a file within 30 s ($work/NODE/log)"
    swarm_kill scheduler
    verdict "the scheduler is killed: nothing fails" "$work/NODE/log" end_fetch "${nodes[@]}"
    verdict "the scheduler is killed: digests are right" "a digest differs" same "${nodes[@]}"
    verdict "the scheduler is killed: nothing is read again" "too much" \
        at_most "$(sent_bytes nginx.sh "$nginx")" $((194 * mib))
    what=alone
    make_file $what 8
    verdict "without a scheduler a host gets a new file" "$work/3/log" fetch 3
    verdict "without a scheduler the new file is right" "a digest differs" same 3
    swarm_scheduler 1
    what=again
    make_file $what 16
    reset
    verdict "the scheduler is back: all get a file" "$work/NODE/log" each fetch "${nodes[@]}"
    verdict "the scheduler is back: digests are right" "a digest differs" same "${nodes[@]}"
}

# ---- strangers --------------------------------------------------------------
# What a daemon that may not join says: a reason in its log, and it is not ready.
not_let_in() { # TOKEN-FILE WORDS
    local code=0
    rm -rf "$work/6"
    (umask 077 && mkdir -p "$work/6")
    swarm_daemon 6 daemon --join-token-file "$1"
    wait_for 10 grep -Eqi -- "$2" "$work/6/log" || code=1
    if node_ready 6 >/dev/null 2>&1; then echo "it is ready"; code=1; fi
    if [ -e "$work/6/data/identity/host.crt" ]; then echo "it has a certificate"; code=1; fi
    [ $code = 0 ] || tail -n 1 "$work/6/log"
    swarm_kill 6 TERM
    cp "$work/6/log" "$work/refused-$(basename "$1").log"
    return $code
}

strangers() {
    local id
    (umask 077 && mkdir -p "$work/other")
    "$PANTALA" token create --ca-dir "$work/other/ca" --cluster other >"$work/token-foreign" 2>>"$work/other/log" ||
        fail "a token of another cluster ($work/other/log)"
    token --role daemon >"$work/token-revoked" 2>>"$work/scheduler/log"
    id=$(cut -d. -f1 "$work/token-revoked" | tr -d '\n')
    "$PANTALA" token revoke --ca-dir "$work/scheduler/ca" --cluster "$cluster" "$id" >>"$work/scheduler/log" 2>&1 ||
        fail "a token is revoked ($work/scheduler/log)"
    echo "nonsense" >"$work/token-nonsense"
    chmod 600 "$work"/token-*
    verdict "a token of another cluster lets nobody in" "$work/6/log" not_let_in "$work/token-foreign" 'another cluster|other cluster|authority|not .*trust|unknown ?issuer'
    verdict "a revoked token lets nobody in" "$work/6/log" not_let_in "$work/token-revoked" 'revoked|not good|refused|unknown token|no such token'
    verdict "a nonsense token lets nobody in" "$work/6/log" not_let_in "$work/token-nonsense" 'token'
}

# ---- mistakes ---------------------------------------------------------------
mistakes() {
    local socket
    socket=$(socket_of 3)
    (umask 077 && mkdir -p "$work/twin" "$work/twin/data")
    verdict "a taken port: the daemon ends and says so" "see $work/said" ends_with 1 'in use' \
        on 3 timeout 30 "$PANTALA" daemon --config "$work/3/pantala.toml" --data-dir "$work/twin/data" --socket "$work/twin/socket"
    verdict "no such file at the origin: exit code 4" "$work/said" \
        ends_with 4 'error:' on 3 timeout 30 "$PANTALA" get "$origin/nothing" -o "$work/3/none" --socket "$socket"
    wrong_digest "$socket"
    verdict "no URL at all: exit code 2" "$work/said" \
        ends_with 2 'error:' on 3 timeout 30 "$PANTALA" get 'not a url' -o "$work/3/none" --socket "$socket"
    verdict "an unlisted private origin: exit code 5" "$work/said" \
        ends_with 5 'refused by policy' on 3 timeout 30 "$PANTALA" get http://10.88.1.1:9/x -o "$work/3/none" --socket "$socket"
    verdict "no daemon: exit code 6" "$work/said" \
        ends_with 6 'daemon' "$PANTALA" get "$origin/again" -o "$work/3/none" --socket "$work/nowhere"
    verdict "a bad configuration: exit code 3" "$work/said" \
        ends_with 3 'peer.slots' "$PANTALA" daemon --config "$work/3/pantala.toml" --set peer.slots=99
    verdict "none of these wrote a file" "$work/3/none" test ! -e "$work/3/none"
    verdict "a redirect to the metadata service is refused" "$work/said" \
        ends_with 5 '169\.254|redirect|not allowed|refused|private|local' on 3 timeout 30 "$PANTALA" get http://10.88.0.2:8081/x -o "$work/3/none" --socket "$socket"
}

# Two hosts that read the same are enough: the seed, and whoever asked. Each may read twice, as either may be told first that
# the other's word is void; and a reading that is ended has something on its way.
wrong_digest() { # SOCKET
    local digest
    digest=sha256:$(printf '0%.0s' {1..64})
    reset
    verdict "a wrong digest: exit code 7" "$work/said" ends_with 7 "what $origin/again gives does not match $digest" \
        on 3 timeout 90 "$PANTALA" get "$origin/again" -o "$work/3/none" --socket "$1" --digest "$digest"
    verdict "a wrong digest: two hosts read the origin, each at most twice" "$nginx/access.log" \
        at_most "$(sent_bytes nginx.sh "$nginx")" $(((4 * 16 + 8) * mib))
}

start_redirector() {
    cat >"$work/redirect.py" <<'PYTHON'
import http.server
class Redirect(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(302)
        self.send_header("Location", "http://169.254.169.254/latest/meta-data/")
        self.send_header("Content-Length", "0")
        self.end_headers()
    do_HEAD = do_GET
http.server.ThreadingHTTPServer(("10.88.0.2", 8081), Redirect).serve_forever()
PYTHON
    mkdir -p "$work/redirect"
    launch redirect origin python3 "$work/redirect.py"
}

# ---- disk -------------------------------------------------------------------
full_disk() {
    what=full
    make_file $what 64
    (umask 077 && mkdir -p "$work/7/data")
    mount -t tmpfs -o size=16m,mode=700 tmpfs "$work/7/data"
    swarm_daemon 7 daemon
    swarm_ready 7 || { fail "a daemon with 16 MiB of disk starts ($work/7/log)"; return; }
    verdict "a disk of 16 MiB and a file of 64: the reason is told" "$work/said" ends_with 1 'no room' fetch 7
    verdict "a disk of 16 MiB and a file of 64: no part of a file is left" "$work/7" nothing_of_it 7
    as_blob
    verdict "a disk of 16 MiB and a blob of 64: the mirror gives it all the same" "$work/7/log" mirrored 7
    mount -o remount,size=96m "$work/7/data"
    disk_fills_up
    verdict "a full disk: the daemon lives" "$work/7/log" node_ready 7
}

# Room was set aside, and somebody else takes it while pieces are written.
disk_fills_up() {
    what=filling
    make_file $what 64
    start_fetch 7
    if ! reach $((8 * mib)) pantala_body_bytes_total 7; then
        fail "an eighth of a file in time ($work/7/log)"
        return
    fi
    dd if=/dev/zero of="$work/7/data/fill" bs=1M 2>/dev/null || true
    verdict "the disk fills up in a download: it ends and says why" "$work/7/fetch" gave_up 7 1 'no room|store failed'
    verdict "the disk fills up in a download: no part of a file is left" "$work/7" nothing_of_it 7
    as_blob
    verdict "the disk is full: the mirror gives a blob all the same" "$work/7/log" mirrored 7
    rm -f "$work/7/data/fill"
    verdict "the disk has room again: the file comes" "$work/7/log" fetch 7
    verdict "the disk has room again: the file is right" "a digest differs" same 7
    what=other
    make_file $what 8
    verdict "the disk has room again: another file comes" "$work/7/log" fetch 7
    verdict "the disk has room again: the other file is right" "a digest differs" same 7
}

nothing_of_it() { # NODE: no file beside the daemon's own is named after $what
    find "$work/$1" -maxdepth 1 -name "*$what*" | { ! grep .; }
}

# The web server as a registry: $what as a blob of it, by its digest.
as_blob() {
    local blobs=$work/www/v2/lab/disk/blobs
    mkdir -p "$blobs"
    digest=sha256:$(sha256sum <"$work/www/$what" | cut -d' ' -f1)
    ln -f "$work/www/$what" "$blobs/$digest"
}
mirrored() { # NODE
    on "$1" curl -fsS -m 60 "http://$(mirror_of "$1")/v2/lab/disk/blobs/$digest?ns=${origin#http://}" | sha256sum |
        grep -q "${digest#sha256:}"
}

trap swarm_finish EXIT
trap 'exit 130' INT TERM
swarm_begin 7 --rate 500mbit --origin-rate 250mbit
swarm_origin
start_redirector
origins+=(http://10.88.0.2:8081)
swarm_scheduler 1
swarm_daemon 2 seed
for node in 3 4 5; do swarm_daemon "$node" daemon; done
swarm_ready "${nodes[@]}"
scheduler_killed
strangers
mistakes
full_disk
