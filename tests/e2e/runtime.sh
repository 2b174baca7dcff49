#!/usr/bin/env bash
# needs: base net registry image containerd podman docker trace
# Container engines are pointed at the mirror by `pantala runtime`, or by the daemon itself, in whole copies of /etc: real
# containerd (ctr and CRI), podman, skopeo and dockerd pull through it, go direct when it is gone, and the copies are as
# before at the end, byte for byte.
set -euo pipefail

REAL=$(realpath "${PANTALA:-target/debug/pantala}")
# shellcheck source=tests/lab/swarm.sh
. "$(dirname "$0")/../lab/swarm.sh"

pids=()
finish() {
    local code=$? pid
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    # dockerd and containerd leave mounts behind.
    awk -v d="$work/" 'index($2, d) == 1 { print $2 }' /proc/self/mounts | sort -r |
        while read -r point; do umount -l "$point" 2>/dev/null || true; done
    if [ $code != 0 ] && [ $failed = 0 ]; then fail "the script ended early, with $code"; fi
    swarm_finish
}
trap finish EXIT
trap 'exit 130' INT TERM

config=etc/containerd/config.toml
hosts=etc/containerd/certs.d

# ---- the host: a copy of /etc for each tree, in which engines and daemon live ----
# A whole host's configuration below $work/NAME.
tree() { # NAME
    mkdir -p "$work/$1/var/lib"
    cp -a /etc "$work/$1/etc"
    rm -rf "$work/$1/etc/containerd" "$work/$1/etc/docker"
    printf '127.0.0.1 localhost\n%s registry.corp registry-1.docker.io\n' "$origin_ip" >"$work/$1/etc/hosts"
}
# COMMAND on the node with that tree's /etc, and without any proxy.
within() { # NAME COMMAND...
    # shellcheck disable=SC2016
    on 1 env -u HTTP_PROXY -u HTTPS_PROXY -u http_proxy -u https_proxy SSL_CERT_FILE="$cafile" \
        unshare -m -- sh -c 'mount --bind "$0" /etc && exec "$@"' "$work/$1/etc" "${@:2}"
}
start_within() { # NAME LOG COMMAND...: in the background, its pid is the last of $pids
    within "$1" "${@:3}" >>"$work/$2" 2>&1 </dev/null &
    pids+=($!)
}
sum_of_tree() { tar --sort=name --numeric-owner --mtime=@0 -C "$work/$1" -c . | sha256sum; }
remember() { for tree in "$@"; do sum_of_tree "$tree" >"$work/$tree.sum"; done; }
as_before() { # NAME
    sum_of_tree "$1" | diff "$work/$1.sum" - || { diff -r /etc "$work/$1/etc" | grep -v '^Only in /etc' | head -n 5; return 1; }
}
runtime() { # COMMAND NAME [options]
    on 1 "$REAL" runtime "$1" --config "$work/1/pantala.toml" --root "$work/$2" "${@:3}"
}
says() { # WORDS COMMAND...
    "${@:2}" >"$work/said" || return 1
    grep -q -- "$1" "$work/said" || { echo "did not say $1: $(head -c 300 "$work/said" | tr '\n' ' ')"; return 1; }
}
# It goes by what the daemon was started with.
doctor() { on 1 "$REAL" doctor --config "$work/1/pantala.toml"; }
serving() { [ -e "$work/$1/$hosts/_default/hosts.toml" ]; }
# The daemon has said so that often.
armed() { [ "$(grep -c 'container engines are pointed at the mirror' "$work/1/log")" = "$1" ]; }

# ---- engines ----
# containerd's configuration as kubeadm would leave it; its data is the lab's.
containerd_config() { # NAME VERSION
    local plugin=io.containerd.grpc.v1.cri
    mkdir -p "$work/$1/etc/containerd"
    cat >"$work/$1/$config" <<TOML
version = $2
root = "$work/$1.data/root"
state = "$work/$1.data/state"
imports = ["/etc/containerd/conf.d/*.toml"]
[grpc]
address = "$work/$1.data/sock"
[ttrpc]
address = "$work/$1.data/sock.ttrpc"
[plugins."$plugin"]
restrict_oom_score_adj = true
[plugins."$plugin".containerd]
snapshotter = "native"
[plugins."$plugin".registry]
config_path = "/etc/containerd/certs.d"
TOML
}
containerd_start() { # NAME [BIN-DIR]
    mkdir -p "$work/$1.data"
    start_within "$1" "$1.log" env PATH="${2:+$2:}$PATH" containerd --config /etc/containerd/config.toml
    wait_for 30 within "$1" ctr -a "$work/$1.data/sock" version
}
ctr_pulls() { # NAME IMAGE
    within "$1" ctr -a "$work/$1.data/sock" images pull --snapshotter native --hosts-dir /etc/containerd/certs.d "$2"
}
# PullImage of the CRI, as the kubelet asks it: one gRPC frame with ImageSpec { image }.
cri_pulls() { # NAME IMAGE
    local frame=$work/frame
    python3 - "$2" >"$frame" <<'PY'
import struct, sys
image = sys.argv[1].encode()
spec = b"\x0a" + bytes([len(image)]) + image
message = b"\x0a" + bytes([len(spec)]) + spec
sys.stdout.buffer.write(b"\0" + struct.pack(">I", len(message)) + message)
PY
    within "$1" curl -sS --max-time 120 --http2-prior-knowledge --unix-socket "$work/$1.data/sock" -X POST \
        -H 'content-type: application/grpc' -H 'te: trailers' --data-binary "@$frame" -D "$work/trailers" \
        -o "$work/answer" http://localhost/runtime.v1.ImageService/PullImage
    cat "$work/trailers"
    grep -q '^grpc-status: 0' "$work/trailers" && grep -aq 'sha256:' "$work/answer"
}
podman_pulls() { # NAME IMAGE
    within "$1" podman --root "$work/podman/root" --runroot "$work/podman/run" --storage-driver vfs pull -q "$2"
}
skopeo_copies() { # NAME IMAGE
    rm -rf "$work/copied"
    within "$1" skopeo copy --insecure-policy "docker://$2" "dir:$work/copied"
}
docker_start() { # NAME
    mkdir -p "$work/docker"
    start_within "$1" docker.log dockerd --config-file /etc/docker/daemon.json --data-root "$work/docker/data" \
        --exec-root "$work/docker/exec" --pidfile "$work/docker/pid" -H "unix://$work/docker/sock" --bridge=none \
        --iptables=false --ip6tables=false --storage-driver vfs
    wait_for 60 curl -fsS --unix-socket "$work/docker/sock" http://docker/_ping
}
docker_pulls() { # NAME IMAGE
    docker -H "unix://$work/docker/sock" pull -q "$2"
}

# ---- what was pulled through what ----
mib_size=3
push() { on origin "$lab/make-image.py" --layer-sizes ${mib_size}M --compress none --seed "$1" --push "$origin_ip:443/test/$1:v1" --ca-dir "$ca_dir" >>"$work/push.log" 2>&1; }
through() { metric 1 pantala_origin_body_bytes_total; }
# The image comes through the mirror: its bytes are among those that the daemon read.
by_mirror() { # PULL NAME IMAGE
    local before
    before=$(through)
    "$1" "$2" "$3" || return 1
    [ $(($(through) - before)) -ge $((mib_size * mib)) ] || { echo "$3 did not come through the mirror"; return 1; }
}
# And directly: there is no daemon, and the registry sends the bytes.
direct() { # PULL NAME IMAGE
    "$lab/registry.sh" stats --dir "$registry_dir" --reset >/dev/null
    "$1" "$2" "$3" || return 1
    [ "$(sent_bytes registry.sh "$registry_dir")" -ge $((mib_size * mib)) ] || { echo "$3 did not come from the registry"; return 1; }
}
begin_daemon() { # [options]
    swarm_daemon 1 daemon --set "origin.ca_files=$cafile" "$@"
    swarm_ready 1
}

swarm_begin 1
serve origin registry.sh --listen "$origin_ip" --port 443 --tls --tls-name registry.corp --tls-name registry-1.docker.io
registry_dir=$dir ca_dir=$ca
origins=(registry.corp registry-1.docker.io)
mirror_lines='registries = ["registry.corp"]'
# The daemon finds names as engines do.
tree daemon
cat >"$work/pantala" <<SH
#!/bin/sh
exec unshare -m -- sh -c 'mount --bind "$work/daemon/etc" /etc && exec "\$0" "\$@"' "$REAL" "\$@"
SH
chmod +x "$work/pantala"
PANTALA=$work/pantala
swarm_scheduler 1
for name in probe ctr cri podman skopeo hub docker ctr2 cri2 podman2 skopeo2 docker2 managed managed2 managed3 managed4 clouds clouds2; do push $name; done

tree host
containerd_config host 2
mkdir -p "$work/host/etc/containerd/conf.d" "$work/host/etc/docker"
printf '\357\273\277# ours\r\n[debug]\r\nlevel = "info"\r\n' >"$work/host/etc/containerd/conf.d/10-debug.toml"
remember host

# ---- armed last: without a mirror that works nothing is written ----
mkdir -p "$work/1"
daemon_config 1 daemon >"$work/1/pantala.toml"
verdict "without a daemon nothing is written" "$work/said" ends_with 6 'no daemon answers' runtime apply host
# Any user may take the mirror's port, and say what the mirror says.
cat >"$work/stranger.py" <<'PY'
import os, socket, sys
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
listener = socket.create_server((sys.argv[1], 7472), family=family)
while True:
    taken, _ = listener.accept()
    taken.recv(4096)
    taken.sendall(b"HTTP/1.1 200 OK\r\npantala-mirror: 0\r\ncontent-length: 0\r\n\r\n")
    taken.close()
PY
stranger() { # ADDRESS TABLE: until the kernel says that he listens
    become 1 python3 "$work/stranger.py" "$1" >"$work/stranger.log" 2>&1 &
    stranger=$!
    pids+=("$stranger")
    wait_for 10 on 1 grep -q ':1D30 .* 0A .* 65534 ' "/proc/net/$2"
}
stranger 127.0.0.1 tcp
verdict "who has its port is not the mirror" "$work/said" ends_with 6 'no daemon answers' runtime apply host
begin_daemon --set mirror.listen=127.0.0.1:7475
verdict "nor while the daemon's is another" "$work/said" ends_with 1 'has its mirror at 127.0.0.1:7475, not at' \
    runtime apply host --mirror 127.0.0.1:7472
swarm_kill 1 TERM
kill "$stranger" && wait "$stranger" || true
verdict "and the tree is as it was" "$work/host" as_before host
begin_daemon --set "runtime.root=$work/host"
stranger :: tcp6
verdict "nor who listens beside it" "$work/said" ends_with 1 'user 65534 listens at 127.0.0.1:7472' runtime apply host
kill "$stranger" && wait "$stranger" || true
verdict "an image that is not there proves nothing" "$work/said" \
    ends_with 1 'answers 404 Not Found to /v2/test/none' runtime apply host --probe registry.corp/test/none:v1
verdict "and the tree is as it was" "$work/host" as_before host
verdict "the doctor tells what to do" "$work/said" says 'next: `sudo pantala runtime apply`' doctor
verdict "the plan tells what Docker is to be given" "$work/said" says '"registry-mirrors": \["http://127.0.0.1:7472"\]' runtime plan host
verdict "an image that came through the mirror does" "$work/said" runtime apply host --probe registry.corp/test/probe:v1
cp -a "$work/host" "$work/once"
verdict "twice is once" "$work/said" says '^nothing changed' runtime apply host
verdict "byte for byte" "$work/host" diff -r --no-dereference "$work/once" "$work/host"
verdict "status says so" "$work/said" says 'containerd *configuration version 2 *armed' runtime status host

verdict "the doctor sees it" "$work/said" says 'good *containerd *configuration version 2: pointed at the mirror' doctor

# ---- engines pull through the mirror ----
verdict "containerd starts" "$work/host.log" containerd_start host
verdict "ctr pulls through the mirror" "$work/host.log" by_mirror ctr_pulls host registry.corp/test/ctr:v1
verdict "the CRI pulls through the mirror" "$work/host.log" by_mirror cri_pulls host registry.corp/test/cri:v1
verdict "podman pulls through the mirror" "$work/verdict" by_mirror podman_pulls host registry.corp/test/podman:v1
verdict "podman pulls from the default registry through the mirror" "$work/verdict" by_mirror podman_pulls host docker.io/test/hub:v1
verdict "skopeo copies through the mirror" "$work/verdict" by_mirror skopeo_copies host registry.corp/test/skopeo:v1
# The operator does what the plan says.
runtime plan host --json | jq -r '.engines[] | select(.engine == "docker").next[]' | sed -n 's/^make .* with `\(.*\)`, then.*/\1/p' >"$work/daemon.json"
cp "$work/daemon.json" "$work/host/etc/docker/daemon.json"
verdict "dockerd takes what the plan says" "$work/docker.log" docker_start host
verdict "dockerd pulls through the mirror" "$work/docker.log" by_mirror docker_pulls host test/docker:v1
verdict "status knows the operator's own file" "$work/said" says 'docker *daemon.json *by your own files' runtime status host

# ---- the daemon dies: everybody goes direct ----
swarm_kill 1 KILL
verdict "ctr goes direct" "$work/host.log" direct ctr_pulls host registry.corp/test/ctr2:v1
verdict "the CRI goes direct" "$work/host.log" direct cri_pulls host registry.corp/test/cri2:v1
verdict "podman goes direct" "$work/verdict" direct podman_pulls host registry.corp/test/podman2:v1
verdict "skopeo goes direct" "$work/verdict" direct skopeo_copies host registry.corp/test/skopeo2:v1
verdict "dockerd goes direct" "$work/docker.log" direct docker_pulls host test/docker2:v1

# ---- and back ----
# dockerd made itself a key.
rm "$work/host/etc/docker/daemon.json" "$work/host/etc/docker/key.json"
printf '# mine\n' >>"$work/host/$hosts/_default/hosts.toml"
verdict "what was edited is kept" "$work/said" ends_with 1 'was changed since it was written' runtime undo host
sed -i '$d' "$work/host/$hosts/_default/hosts.toml"
verdict "undone without a daemon" "$work/said" runtime undo host
verdict "the tree is as it was" "$work/host" as_before host

# ---- several folders, as EKS has them, and a registry that is known by its own certificate ----
tree clouds
containerd_config clouds 2
sed -i 's|^config_path = .*|config_path = "/etc/containerd/certs.d:/etc/docker/certs.d"|' "$work/clouds/$config"
mkdir -p "$work/clouds/etc/docker/certs.d/registry.corp"
cp "$cafile" "$work/clouds/etc/docker/certs.d/registry.corp/ca.crt"
remember clouds
begin_daemon
verdict "certificates are told" "$work/said" says 'registry.corp has ca.crt, which containerd takes only' runtime apply clouds
cafile=/dev/null verdict "containerd starts, and knows nobody's authority" "$work/clouds.log" containerd_start clouds
verdict "other registries come through the mirror" "$work/clouds.log" by_mirror cri_pulls clouds registry-1.docker.io/test/clouds:v1
verdict "that one by its certificate" "$work/clouds.log" direct cri_pulls clouds registry.corp/test/clouds2:v1
swarm_kill 1 KILL
verdict "undone" "$work/said" runtime undo clouds
verdict "the tree is as it was" "$work/clouds" as_before clouds

# ---- the daemon does it itself ----
tree managed
containerd_config managed 2
remember managed
manage=(--set runtime.manage=true --set "runtime.root=$work/managed" --set runtime.probe=registry.corp/test/probe:v1)
begin_daemon "${manage[@]}"
verdict "a daemon points engines at its mirror" "$work/1/log" wait_for 30 armed 1
verdict "containerd starts" "$work/managed.log" containerd_start managed
verdict "it pulls through the mirror" "$work/managed.log" by_mirror cri_pulls managed registry.corp/test/managed:v1
swarm_kill 1 TERM
verdict "leaving in order takes it back" "$work/1/log" as_before managed
begin_daemon "${manage[@]}"
verdict "it does so again" "$work/1/log" wait_for 30 armed 2
swarm_kill 1 KILL
verdict "a daemon that is killed leaves its files" "$work/1/log" serving managed
verdict "and containerd goes direct" "$work/managed.log" direct cri_pulls managed registry.corp/test/managed2:v1
begin_daemon "${manage[@]}"
verdict "the next one finds its files" "$work/1/log" wait_for 30 grep -q 'container engines are pointed at the mirror.*changed=0' "$work/1/log"
verdict "and they are used" "$work/managed.log" by_mirror cri_pulls managed registry.corp/test/managed3:v1
swarm_kill 1 TERM
verdict "all is as it was" "$work/1/log" as_before managed
begin_daemon "${manage[@]}" --set runtime.digests_only=true
verdict "tags are left to the registry" "$work/1/log" \
    wait_for 30 grep -q '^ *capabilities = \["pull"\]$' "$work/managed/$hosts/_default/hosts.toml"
verdict "what they name comes through the mirror" "$work/managed.log" by_mirror cri_pulls managed registry.corp/test/managed4:v1
swarm_kill 1 TERM
manage[5]=runtime.probe=registry.corp/test/none:v1
begin_daemon "${manage[@]}"
verdict "an image that does not come is told" "$work/1/log" wait_for 30 grep -q 'not pointed at the mirror yet.*404' "$work/1/log"
verdict "and nothing is written" "$work/1/log" as_before managed
swarm_kill 1 TERM

# ---- killed at each of its steps ----
# Every mend of: undo, apply; every kind of step, from the first one on.
broken_off() { # COMMAND SYSTEM-CALLS N
    on 1 strace -f -qq -o "$work/strace" -e "inject=$2:signal=KILL:when=$3" \
        "$REAL" runtime "$1" --root "$work/steps" --config "$work/1/pantala.toml" ${unchecked[$1]:-} >/dev/null 2>&1
}
declare -A unchecked=([apply]=--unchecked)
mended() { # COMMAND MEND
    local calls n code kills=0
    for calls in mkdir rename,renameat,renameat2 unlink,unlinkat rmdir fsync; do
        for n in $(seq 40); do
            [ "$1" = apply ] || runtime apply steps --unchecked >/dev/null
            code=0
            broken_off "$1" $calls "$n" || code=$?
            [ $code = 137 ] || break
            kills=$((kills + 1))
            if [ "$2" = apply ]; then
                runtime apply steps --unchecked >/dev/null
                diff -r --no-dereference "$work/whole" "$work/steps" || { echo "not whole: $1 killed at $calls $n"; return 1; }
            fi
            runtime undo steps >/dev/null
            as_before steps >/dev/null || { echo "not as before: $1 killed at $calls $n"; return 1; }
        done
        runtime undo steps >/dev/null
    done
    echo "killed $kills times"
    [ $kills -ge 10 ]
}
mkdir -p "$work/steps/etc/containers" "$work/steps/var/lib"
containerd_config steps 2
remember steps
runtime apply steps --unchecked >/dev/null && cp -a "$work/steps" "$work/whole" && runtime undo steps >/dev/null
verdict "apply killed anywhere is undone" "$work/verdict" mended apply undo
verdict "and finished by doing it again" "$work/verdict" mended apply apply
verdict "undo killed anywhere is finished" "$work/verdict" mended undo undo
verdict "or done anew" "$work/verdict" mended undo apply

# ---- the record is lost ----
verdict "armed once more" "$work/said" runtime apply steps --unchecked
rm -rf "$work/steps/var/lib/pantala-runtime"
verdict "what is ours by its mark stays" "$work/said" ends_with 1 'has our mark and is not in our record' runtime undo steps
verdict "and is told" "$work/said" ends_with 1 'has our mark and is not in our record' runtime status steps
verdict "until it is forced" "$work/said" runtime undo steps --force
none_of_ours() { ! grep -rl 'Written by `pantala' "$work/steps/etc"; }
verdict "nothing of ours is left" "$work/verdict" none_of_ours

# ---- a folder that cannot be written to ----
tree sealed
containerd_config sealed 2
mkdir -p "$work/sealed/$hosts"
remember sealed
mount --bind "$work/sealed/$hosts" "$work/sealed/$hosts" && mount -o remount,ro,bind "$work/sealed/$hosts"
verdict "a read-only folder is told" "$work/said" ends_with 1 'Read-only file system' runtime apply sealed --unchecked
verdict "what was begun is undone" "$work/said" runtime undo sealed
umount "$work/sealed/$hosts"
verdict "and the tree is as it was" "$work/sealed" as_before sealed

# ---- a newer containerd ----
newer() { # SUITE
    local bin=$work/newer-$1/usr/bin name=newer-$1-tree
    "$lab/newer.sh" "$1" "$work/newer-$1" containerd >"$work/newer-$1.log" 2>&1 && "$bin/containerd" --version ||
        { echo "skip a newer containerd: it is not to be had from $1 (see $work/newer-$1.log)"; return 0; }
    for image in ctr cri direct; do push "$1-$image"; done
    tree "$name"
    containerd_config "$name" 2
    remember "$name"
    begin_daemon
    verdict "$1: apply" "$work/said" runtime apply "$name"
    verdict "$1: containerd starts" "$work/$name.log" containerd_start "$name" "$bin"
    verdict "$1: ctr pulls through the mirror" "$work/$name.log" by_mirror ctr_pulls "$name" "registry.corp/test/$1-ctr:v1"
    verdict "$1: the CRI pulls through the mirror" "$work/$name.log" by_mirror cri_pulls "$name" "registry.corp/test/$1-cri:v1"
    swarm_kill 1 KILL
    verdict "$1: the CRI goes direct" "$work/$name.log" direct cri_pulls "$name" "registry.corp/test/$1-direct:v1"
    verdict "$1: undo" "$work/said" runtime undo "$name"
    verdict "$1: the tree is as it was" "$work/$name" as_before "$name"
}
# sid, with containerd 2, works by hand: its index is too old too often.
for suite in ${NEWER:-trixie}; do newer "$suite"; done
