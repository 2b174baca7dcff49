#!/usr/bin/env bash
# needs: base net registry nginx image
# What came from where, why and how long it took: of a file and an image in a swarm, while it runs and after. Private content
# is told of to who manages the host alone. A bundle for a bug report holds neither secrets nor names that users chose.
set -euo pipefail

PANTALA=$(realpath "${PANTALA:-target/debug/pantala}")
# shellcheck source=tests/lab/swarm.sh
. "$(dirname "$0")/../lab/swarm.sh"

trap swarm_finish EXIT
trap 'exit 130' INT TERM

private=10.88.0.3
user=falconer:canary-$RANDOM$RANDOM secret=canary$RANDOM$RANDOM

push() { on origin "$lab/make-image.py" --compress none "$@" >>"$work/push.log" 2>&1; }

start_origins() {
    local link
    link=$(on origin ip -o -4 addr | awk '/ 10\.88\.0\.2\// { print $2 }')
    on origin ip addr add "$private/16" dev "${link%%@*}"
    swarm_origin
    make_file kestrel 24
    swarm_registry 3M,9M
    serve origin registry.sh --listen $private --port 80 --auth "$user"
    push --layer-sizes 2M --push $private/falcon/app:v1 --creds "$user" --name falcon
    origins+=("http://$private")
    mirror_lines="registries = [\"$registry\", \"$private\"]"
    printf '{"auths": {"%s": {"auth": "%s"}}}' $private "$(printf %s "$user" | base64 -w0)" >"$work/docker.json"
    chmod 600 "$work/docker.json"
    extra="docker_config = \"$work/docker.json\"
lent_credentials = [\"$private\"]"
}

explain() { # NODE CONTENT [options]
    on "$1" "$PANTALA" explain "$2" --socket "$(socket_of "$1")" "${@:3}"
}
says() { # WORDS COMMAND...
    "${@:2}" >"$work/said" || return 1
    grep -q -- "$1" "$work/said" || { echo "did not say $1: $(head -c 600 "$work/said" | tr '\n' ' ')"; return 1; }
}
# FILTER COMMAND...: what it prints as JSON is so.
tells() {
    "${@:2}" --json >"$work/said" || return 1
    jq -e "$1" "$work/said" >/dev/null || { echo "$1 does not hold: $(jq -c '{by, waited, unknown}' "$work/said")"; return 1; }
}
both() { get "$1" "$origin/kestrel" "$work/$1/kestrel" --digest "$(sum_of kestrel)"; }
image() { get "$1" "$registry/test/app:v1" "$work/$1/app/"; }
bytes_of='[.by[] | {(.from): .bytes}] | add'
# Between the two hosts each byte left the origin once, and each has all.
shared() {
    local sums=0 node
    for node in 2 3; do
        tells "($bytes_of) as \$b | (\$b.peer // 0) + (\$b.origin // 0) == $((24 * mib))" explain "$node" "$origin/kestrel" || return 1
        sums=$((sums + $(jq "($bytes_of).origin // 0" "$work/said")))
    done
    echo "the origin gave $sums"
    [ $sums = $((24 * mib)) ]
}
as_nobody() { # COMMAND...
    setpriv --reuid 65534 --regid 65534 --clear-groups -- "$@"
}
open_socket() { chmod 711 "$work" "$work/2" && chmod 666 "$(socket_of 2)"; }
bundle() {
    rm -f "$work/bundle.tar.gz"
    # The doctor finds something bad on this host: the bundle is made all the same.
    on 2 "$PANTALA" doctor --config "$work/2/pantala.toml" --bundle "$work/bundle.tar.gz" >"$work/doctor" 2>&1 || true
    rm -rf "$work/bundle" && mkdir "$work/bundle"
    tar -xzf "$work/bundle.tar.gz" -C "$work/bundle" --strip-components 1
}
holds() {
    local part
    for part in doctor.json settings.json status.json machine.json tasks.json explain.json store.json log.txt metrics.txt; do
        [ -s "$work/bundle/$part" ] || { echo "$part is missing or empty"; return 1; }
        grep -q "$part" "$work/doctor" || { echo "$part is not told of"; return 1; }
    done
    [ "$(stat -c %a "$work/bundle.tar.gz")" = 600 ]
}
# Who does not manage the host gets no log and nothing private of it.
of_nobody() {
    mkdir -m 777 "$work/nobody"
    # setpriv itself starts the program: nobody might not reach the folder it is in.
    PANTALA_LOCAL_SOCKET=$(socket_of 2) on 2 setpriv --reuid 65534 --regid 65534 --clear-groups -- \
        "$PANTALA" doctor --config /dev/null --bundle "$work/nobody/b.tar.gz" >"$work/doctor" 2>&1 || true
    tar -xzf "$work/nobody/b.tar.gz" -C "$work/nobody" --strip-components 1 || return 1
    [ ! -s "$work/nobody/log.txt" ] && [ -s "$work/nobody/status.json" ] &&
        [ "$(jq length "$work/nobody/explain.json")" -lt "$(jq length "$work/bundle/explain.json")" ]
}
hides() {
    local word
    for word in "${user#*:}" "$(printf %s "$user" | base64 -w0)" "$secret" kestrel falcon "$(basename "$work")" \
        "$(cat "$work/token-daemon")"; do
        ! grep -rqi -e "$word" "$work/bundle" || { echo "$word is in $(grep -rli -e "$word" "$work/bundle" | head -n 3)"; return 1; }
    done
}

swarm_begin 4
start_origins
swarm_scheduler 1
swarm_daemon 2 seed --log-level debug
swarm_daemon 3 daemon
swarm_ready 2 3

verdict "two hosts get a file" "$work/2/log" each both 2 3
verdict "each is told where its bytes came from, and all left the origin once" "$work/said" shared
verdict "the seed imported it, and says why" "$work/said" says 'importer: yes: the scheduler named this host' explain 2 "$origin/kestrel"
verdict "the other did not" "$work/said" says 'importer: no' explain 3 "$origin/kestrel"
verdict "a signature in a URL changes nothing and is not told" "$work/said" \
    tells ".contents | length == 1" explain 3 "$origin/kestrel?X-Amz-Algorithm=a&X-Amz-Credential=c&X-Amz-Signature=$secret"
verdict "indeed not" "$work/said" eval "! grep -q $secret $work/said"
verdict "an image of three contents" "$work/2/log" each image 2 3
verdict "all of them are told of" "$work/said" \
    tells "(.contents | length == 3) and (.unknown == []) and (($bytes_of) | add > 12000000)" explain 3 "$registry/test/app:v1"
verdict "in a table" "$work/said" says 'OF BOUND *IMPORTER' explain 3 "$registry/test/app:v1"
verdict "one of them by its digest" "$work/said" tells '.contents | length == 1' explain 3 "$registry/test/app@$blob"
task=$(explain 3 "$registry/test/app@$blob" --json | jq -r '.contents[0].task')
verdict "or by its first digits" "$work/said" tells ".contents[0].task == \"$task\"" explain 3 "${task:0:10}"
verdict "a swept store changes nothing: it was let go of" "$work/said" on 3 "$PANTALA" store gc --socket "$(socket_of 3)"
verdict "and is still told of" "$work/said" tells '.contents[0].ended_seconds != null' explain 3 "${task:0:10}"
verdict "what nobody asked for has a next step" "$work/said" ends_with 1 'next:' explain 3 "$origin/other"
verdict "a private image" "$work/2/log" get 2 $private/falcon/app:v1 "$work/2/falcon/"
verdict "who manages the host is told of it" "$work/said" tells '.contents | length > 0' explain 2 $private/falcon/app:v1
open_socket
verdict "others are told of what is public" "$work/said" as_nobody env true
verdict "by the same socket" "$work/said" tells '.contents | length == 1' as_nobody "$PANTALA" explain "$origin/kestrel" --socket "$(socket_of 2)"
private_task=$(explain 2 $private/falcon/app:v1 --json | jq -r '.contents[0].task')
verdict "and not of what is private" "$work/said" ends_with 1 'knows nothing' \
    as_nobody "$PANTALA" explain "$private_task" --socket "$(socket_of 2)"
verdict "the log names what the bundle must not" "$work/2/log" grep -qi -e falcon -e kestrel "$work/2/log"
verdict "a bundle for a bug report" "$work/doctor" bundle
verdict "with what is needed" "$work/doctor" holds
verdict "without secrets and names" "$work/bundle" hides
verdict "another does not take its place" "$work/doctor" ends_with 1 'name a new file' \
    on 3 "$PANTALA" doctor --config "$work/3/pantala.toml" --bundle "$work/bundle.tar.gz"
verdict "who does not manage the host has no log in his" "$work/doctor" of_nobody
