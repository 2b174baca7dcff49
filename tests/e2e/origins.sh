#!/usr/bin/env bash
# needs: base
# Origins that misbehave, read through a real daemon: never a wrong file, the right words and the right exit code.
set -euo pipefail

PANTALA=$(realpath "${PANTALA:-target/debug/pantala}")
# shellcheck source=tests/lab/swarm.sh
. "$(dirname "$0")/../lab/swarm.sh"

GET_SECONDS=60

trap swarm_finish EXIT
trap 'exit 130' INT TERM

what=file

# gets MODE: the file comes, and is right.
gets() {
    rm -f "$work/2/file"
    get 2 "$url/$1/$what" "$work/2/file" >"$work/said" 2>&1 || { head -c 300 "$work/said" | tr '\n' ' '; return 1; }
    cmp "$work/2/file" "$work/www/$what"
}

# fails MODE CODE WORDS [options]: it ends with that code, says that, and leaves no file.
fails() {
    local mode=$1 wanted=$2 words=$3 code=0
    shift 3
    rm -f "$work/2/file"
    get 2 "$url/$mode/$what" "$work/2/file" "$@" >"$work/said" 2>&1 || code=$?
    [ $code = "$wanted" ] || { echo "ended with $code, not $wanted: $(head -c 300 "$work/said" | tr '\n' ' ')"; return 1; }
    grep -Eqi -- "$words" "$work/said" || { echo "did not say $words: $(head -c 300 "$work/said" | tr '\n' ' ')"; return 1; }
    [ ! -e "$work/2/file" ] || { echo "left a file"; return 1; }
}

# one_of_both MODE: the file is one version of the two as a whole, or there is an error and no file.
one_of_both() {
    rm -f "$work/2/file"
    if get 2 "$url/$1/$what" "$work/2/file" >"$work/said" 2>&1; then
        cmp -s "$work/2/file" "$work/www/$what" || cmp "$work/2/file" "$work/other"
    else
        [ ! -e "$work/2/file" ] && grep -Eqi 'error:' "$work/said"
    fi
}

# mirror MODE: what a client of the mirror gets, as `STATUS` or `STATUS whole` or `STATUS cut`.
mirror() {
    local status code=0
    rm -f "$work/2/blob"
    status=$(curl -s -m 60 -o "$work/2/blob" -w '%{http_code}' "http://$(mirror_of 2)/v2/$registry/$1/app/blobs/$blob") || code=$?
    if [ "$status" != 200 ]; then
        echo "$status"
    elif [ $code != 0 ]; then
        echo "$status cut"
    elif cmp -s "$work/2/blob" "$work/www/$what"; then
        echo "$status whole"
    else
        echo "$status WRONG"
    fi
}

# mirror_is MODE PATTERN
mirror_is() {
    local got
    got=$(mirror "$1")
    echo "$got, and not $2"
    [[ $got =~ ^($2)$ ]]
}

# fresh NAME: a file that nobody has seen.
fresh() {
    what=$1
    blob=sha256:$(sha256sum <"$work/www/$what" | cut -d ' ' -f 1)
    python3 -c 'import sys; sys.stdout.buffer.write(sys.stdin.buffer.read()[::-1])' <"$work/www/$what" >"$work/other"
}

swarm_loopback
mkdir "$work/www" "$work/fickle"
for name in $(seq -f 'file%g' 24); do head -c 3M /dev/urandom >"$work/www/$name"; done
fickle_port=$((base + 9))
registry=127.0.0.1:$fickle_port url=http://127.0.0.1:$fickle_port
launch fickle origin python3 "$lab/fickle.py" --root "$work/www" --port "$fickle_port"
wait_for 10 curl -fsS "$url/v2/"
# shellcheck disable=SC2034  # read by swarm.sh
origins=("$url") mirror_lines="registries = [\"$registry\"]"
swarm_scheduler 1
swarm_daemon 2 daemon
swarm_ready 2

fresh file1
verdict "an origin that takes no notice of ranges" "$work/2/log" gets no-ranges
verdict "an origin whose first answers break off" "$work/2/log" gets short
verdict "an origin that asks for patience twice" "$work/2/log" gets busy
verdict "an origin that is away for two answers" "$work/2/log" gets away
fresh file2
verdict "content that changes half way is no mixture" "$work/said" one_of_both changes
verdict "a length that is a lie: an error" "$work/said" fails longer 1 'error:'
verdict "an empty answer: an error" "$work/said" fails empty 1 'error:'
verdict "401: exit code 5" "$work/said" fails 401 5 '401|denied|credentials'
verdict "404: exit code 4" "$work/said" fails 404 4 'does not have it|not found|404'
verdict "429: the origin is busy" "$work/said" fails 429 1 'busy|429|too many|patience'
verdict "503: no source" "$work/said" fails 503 1 '503|no source|unavailable'
verdict "a redirect to the metadata service: exit code 5" "$work/said" fails metadata 5 '169\.254|policy|refused'
verdict "wrong bytes for a digest: exit code 7" "$work/said" fails wrong 7 'does not match' --digest "$blob"

fresh file3
verdict "mirror: an origin that takes no notice of ranges" "$work/2/log" mirror_is no-ranges '200 whole'
fresh file4
verdict "mirror: an origin whose first answers break off" "$work/2/log" mirror_is short '200 whole'
fresh file5
verdict "mirror: an origin that asks for patience twice" "$work/2/log" mirror_is busy '200 whole'
fresh file6
verdict "mirror: wrong bytes never make a whole answer" "$work/2/log" mirror_is wrong '200 cut|50[0-9]'
fresh file7
verdict "mirror: wrong bytes once, and a reset or the right ones" "$work/2/log" mirror_is first-wrong '200 cut|200 whole'
verdict "mirror: the right ones when asked again" "$work/2/log" mirror_is first-wrong '200 whole'
fresh file8
verdict "mirror: a length that is a lie never makes a whole answer" "$work/2/log" mirror_is longer '200 cut|50[0-9]'
fresh file9
verdict "mirror: an empty answer never makes a whole one" "$work/2/log" mirror_is empty '200 cut|50[0-9]'
verdict "mirror: content that changes half way is no mixture" "$work/2/log" mirror_is changes '200 cut|50[0-9]|200 whole'
fresh file10
verdict "mirror: 401 is relayed" "$work/2/log" mirror_is 401 401
verdict "mirror: 404 is relayed" "$work/2/log" mirror_is 404 404
verdict "mirror: 429 is relayed" "$work/2/log" mirror_is 429 '429|503'
verdict "mirror: 503 is told" "$work/2/log" mirror_is 503 '50[0-9]'
verdict "mirror: a redirect to the metadata service is refused" "$work/2/log" mirror_is metadata '403|50[0-9]'
fresh file11
verdict "after all this the daemon serves" "$work/2/log" gets right
