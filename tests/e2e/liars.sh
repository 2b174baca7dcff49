#!/usr/bin/env bash
# needs: base
# Who gives wrong bytes is found out and named, and everybody ends with the right file: a parent, an importer, an origin.
set -euo pipefail

PANTALA=$(realpath "${PANTALA:-target/debug/pantala}")
# shellcheck source=tests/lab/swarm.sh
. "$(dirname "$0")/../lab/swarm.sh"

GET_SECONDS=60

trap swarm_finish EXIT
trap 'exit 130' INT TERM

digest_of() { sha256sum <"$work/www/$1" | cut -d ' ' -f 1; }
fetch() { get "$1" "$url/$mode/$what" "$work/$1/$what" --digest "sha256:$(digest_of "$what")"; }
same() { # NODE...
    local node
    for node in "$@"; do cmp "$work/$node/$what" "$work/www/$what" || return 1; done
}
host_of() { # NODE: the first letters of its name, as in logs
    openssl x509 -in "$work/$1/data/identity/host.crt" -pubkey -noout | openssl pkey -pubin -outform DER | tail -c 32 |
        base32 -w 0 | tr A-Z a-z | cut -c 1-8
}
sent() { curl -fsS "$url/.sent/$mode/$what"; }
says() { # WORDS NODE...: the log of one of them does
    local words=$1 node
    shift
    for node in "$@"; do grep -Eq -- "$words" "$work/$node/log" && return 0; done
    echo "nobody says $words"
    return 1
}

# spoil NODE: changes a byte in each 64 KiB of the file's content in the node's store.
spoil() {
    local bytes content
    bytes=$(stat -c %s "$work/www/$what")
    content=$(find "$work/$1/data/store" -type f -size "${bytes}c" | head -n 1)
    [ -n "$content" ] || { echo "no content of $bytes bytes in the store"; return 1; }
    python3 - "$content" "$bytes" <<'PYTHON'
import sys
with open(sys.argv[1], "r+b") as file:
    for at in range(0, int(sys.argv[2]), 1 << 16):
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 255]))
PYTHON
}

# ---- a parent ---------------------------------------------------------------
lying_parent() {
    local children=(4 5 6 7 8 9)
    mode=right what=parent
    verdict "two hosts have a file" "$work/NODE/fetch.log" each fetch 2 3
    verdict "the stored bytes of one of them are changed" "$work/2/data" spoil 2
    verdict "six more hosts get the file, one of their parents lying" "$work/NODE/fetch.log" each fetch "${children[@]}"
    verdict "a lying parent: all files are right" "$work/NODE/$what" same "${children[@]}"
    verdict "a lying parent is named by who found it out" "$work/NODE/log" says "a parent sent a wrong piece.*$(host_of 2)|$(host_of 2).*a parent sent a wrong piece" "${children[@]}"
    verdict "nobody else is" "$work/NODE/log" nobody_but 2 'a parent sent a wrong piece' "${children[@]}"
}

# nobody_but NODE WORDS NODE...: lines with these words name that node alone.
nobody_but() {
    local liar words=$2 node
    liar=$(host_of "$1")
    shift 2
    for node in "$@"; do
        if grep -E -- "$words" "$work/$node/log" | grep -v "$liar"; then return 1; fi
    done
}

# ---- an importer ------------------------------------------------------------
lying_importer() { # NAME COPIES NODE...: of it the origin sends so many at most
    local copies=$2
    what=$1 mode=first-wrong
    shift 2
    verdict "$what: all get the file although its importer was given wrong bytes" "$work/NODE/fetch.log" each fetch "$@"
    verdict "$what: all files are right" "$work/NODE/$what" same "$@"
    verdict "$what: the void whole is told" "$work/NODE/log" says 'does not match the digest it was asked by' "$@"
    verdict "$what: the importer is named, or names itself" "$work/NODE/log" \
        says 'an importer vouched for wrong pieces|this host had read from the origin was wrong' "$@"
    # Read wrong once and right once, and by who takes over for as long as it has not found out. Each stream that is given
    # up costs what its connection holds, up to half a copy. Seen were two to three copies.
    # A seed's wrong word outranks the right one of who is none: a host that has it all late may read it alone meanwhile,
    # twice. Seen were up to four and a half. Whom others blamed before reads nothing for that.
    verdict "$what: it is not read for ever" "" at_most "$(sent)" $((copies * 12 * mib))
}

through_mirror() { # NODE
    local blob
    blob=sha256:$(digest_of "$what")
    for _ in 1 2 3; do
        rm -f "$work/$1/blob"
        # A client that checks by itself, as they all do, sees a reset or the right bytes, and asks again after a reset.
        curl -sf -m 60 -o "$work/$1/blob" "http://$(mirror_of "$1")/v2/$registry/$mode/app/blobs/$blob" || continue
        cmp "$work/$1/blob" "$work/www/$what" && return
    done
    return 1
}

mirrored() {
    what=mirrored mode=first-wrong
    verdict "mirrors give the right blob, or break off, although their importer was given wrong bytes" "$work/NODE/log" each through_mirror 3 4 5
}

# ---- an origin --------------------------------------------------------------
wrong_origin() {
    what=origin mode=wrong
    local digest
    digest=$(digest_of $what)
    verdict "an origin that is always wrong is named: exit code 7" "$work/said" \
        ends_with 7 "what $url/wrong/origin gives does not match sha256:$digest" fetch 4
    verdict "an origin that is always wrong is not read for ever" "" at_most "$(sent)" $((3 * 12 * mib))
    verdict "an origin that is always wrong leaves no file" "$work/4/$what" test ! -e "$work/4/$what"
    mode=right
    verdict "the same content from an honest origin is right afterwards" "$work/NODE/fetch.log" each fetch 4 5
    verdict "the same content: the files are right" "$work/NODE/$what" same 4 5
}

swarm_loopback
mkdir "$work/www" "$work/fickle"
for name in parent without-seed with-seed mirrored origin; do head -c 12M /dev/urandom >"$work/www/$name"; done
fickle_port=$((base + 9))
registry=127.0.0.1:$fickle_port url=http://127.0.0.1:$fickle_port
launch fickle origin python3 "$lab/fickle.py" --root "$work/www" --port "$fickle_port"
wait_for 10 curl -fsS "$url/v2/"
# shellcheck disable=SC2034  # read by swarm.sh
origins=("$url") mirror_lines="registries = [\"$registry\"]"
swarm_scheduler 1
for node in 2 3 4 5 6 7 8 9; do swarm_daemon "$node" daemon; done
swarm_ready 2 3 4 5 6 7 8 9
lying_parent
lying_importer without-seed 5 3 4 5 6
mirrored
wrong_origin
swarm_daemon 10 seed
swarm_ready 10
lying_importer with-seed 6 3 4 5 6 10
