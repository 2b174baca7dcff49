#!/usr/bin/env bash
# needs: base net registry nginx image docker containerd proxy
# The forward proxy with real clients: curl, apt-get, pip, npm, git-lfs, dnf, skopeo, ctr and dockerd. What rules name goes through the swarm, so that
# the origin sends it once; all else passes untouched, and nothing is reached that a client may not reach.
set -euo pipefail

PANTALA=$(realpath "${PANTALA:-target/debug/pantala}")
# shellcheck source=tests/lab/swarm.sh
. "$(dirname "$0")/../lab/swarm.sh"

trap swarm_finish EXIT
trap 'exit 130' INT TERM

proxy_of() { echo "http://127.0.0.1:$(port "$1" 3)"; }
# Through the proxy of NODE, always: curl would leave it out for some hosts.
curl_by() { on "$1" curl -sS --noproxy '' -m 60 --proxy "$(proxy_of "$1")" "${@:2}"; }
status_by() { curl_by "$1" -o /dev/null -w '%{http_code}' "${@:2}" || true; }
is() { echo "$1, and not $2"; [ "$1" = "$2" ]; }
refused() { is "$(status_by 2 "$@")" 403; }
no_tunnel() { is "$(on 2 curl -s --noproxy '' -m 20 -o /dev/null -w '%{http_connect}' -p --proxy "$(proxy_of 2)" "$@" || true)" 403; }
sent() { sent_bytes nginx.sh "$nginx"; }
task_said() { grep -qi '^x-dragonfly-task-id: [0-9a-f]' "$1"; }

# comes NODE NAME [options]: the file comes through the swarm, and is right.
comes() {
    curl_by "$1" -f -D "$work/$1/head" -o "$work/$1/file" "$origin/$2" "${@:3}" && cmp "$work/$1/file" "$work/www/$2" && task_said "$work/$1/head"
}
once() { at_most "$(sent)" $(($1 + $1 / 20)); }
same_head() { # what the origin says, and what the proxy says, but for the time and our own lines
    local direct through
    direct=$(on 2 curl -sSI "$origin/$1" | tr -d '\r' | grep -vi '^date:\|^connection:' | sort -f)
    through=$(curl_by 2 -D - -o /dev/null "$origin/$1" | tr -d '\r' | grep -vi '^date:\|^connection:\|^x-dragonfly' | sort -f)
    diff -i <(echo "$direct") <(echo "$through")
}
range_is() { # RANGE STATUS CONTENT-RANGE
    is "$(curl_by 2 -r "$1" -D "$work/2/head" -o "$work/2/part" -w '%{http_code}' "$origin/pool/big")" "$2" &&
        grep -qi "^content-range: $3" "$work/2/head"
}
part_is() { range_is 1000000-1999999 206 "bytes 1000000-1999999/" && cmp "$work/2/part" <(tail -c +1000001 "$work/www/pool/big" | head -c 1000000); }
not_modified() {
    local etag
    etag=$(curl_by 2 -I "$origin/pool/big" | sed -nE 's/^etag: *//Ip' | tr -d '\r')
    is "$(status_by 2 -H "If-None-Match: $etag" "$origin/pool/big")" 304
}
passes() { # with credentials: right, and no task
    curl_by 2 -f -D "$work/2/head" -o "$work/2/file" -H 'Authorization: Basic YTpi' "$origin/pool/big" && cmp "$work/2/file" "$work/www/pool/big" && ! task_said "$work/2/head"
}
print_of() { openssl x509 -noout -fingerprint -sha256 2>/dev/null; }
certificate() { # NODE [s_client options]
    on "$1" openssl s_client -connect "$registry" "${@:2}" </dev/null 2>/dev/null | print_of
}
untouched() { [ -n "$(certificate 2)" ] && is "$(certificate 2 -proxy "127.0.0.1:$(port 2 3)")" "$(certificate 2)"; }
opened() { is "$(on 3 openssl s_client -connect "$registry" -proxy "127.0.0.1:$(port 3 3)" </dev/null 2>/dev/null | openssl x509 -noout -issuer)" 'issuer=CN = Pantala proxy of this machine'; }
blob_through() { # NODE: within TLS that is opened
    curl_by "$1" -f --cacert "$work/$1/ca.crt" -D "$work/$1/head" -o "$work/$1/blob" "https://$registry/v2/test/app/blobs/$blob" && is_whole "$blob" "$work/$1/blob"
}
registry_sent() { sent_bytes registry.sh "$registry_dir"; }

# ---- a repository of packages, an index of wheels, files ---------------------
swarm_begin 4
mkdir -p "$work/www/pool" "$work/www/deb/DEBIAN" "$work/www/other" "$work/deb/DEBIAN" "$work/deb/usr/share/lab"
head -c 24M /dev/urandom >"$work/www/pool/big"
head -c 6M /dev/urandom >"$work/www/other/plain"
cp "$work/www/pool/big" "$work/www/pool/second"
head -c 5M /dev/urandom >"$work/deb/usr/share/lab/data"
printf 'Package: lab-data\nVersion: 1.0\nArchitecture: all\nMaintainer: Lab <lab@example.test>\nDescription: data\n' >"$work/deb/DEBIAN/control"
dpkg-deb --root-owner-group -Znone --build "$work/deb" "$work/www/pool/lab-data_1.0_all.deb" >/dev/null
deb_size=$(stat -c %s "$work/www/pool/lab-data_1.0_all.deb")
(cd "$work/www" && {
    printf 'Package: lab-data\nVersion: 1.0\nArchitecture: all\nMaintainer: Lab <lab@example.test>\nDescription: data\n'
    printf 'Filename: pool/lab-data_1.0_all.deb\nSize: %s\nSHA256: %s\n' "$deb_size" "$(sha256sum <pool/lab-data_1.0_all.deb | cut -d ' ' -f 1)"
} >Packages)
rm -rf "$work/www/deb"
mkdir -p "$work/www/simple/labwheel"
python3 - "$work/www/pool/labwheel-1.0-py3-none-any.whl" <<'PY'
import os, sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w") as wheel:
    wheel.writestr("labwheel/data.bin", os.urandom(4 << 20))
    wheel.writestr("labwheel/__init__.py", "")
    info = "labwheel-1.0.dist-info/"
    wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: labwheel\nVersion: 1.0\n")
    wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nGenerator: lab\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(info + "RECORD", "labwheel/data.bin,,\nlabwheel/__init__.py,,\n")
PY
echo '<a href="/pool/labwheel-1.0-py3-none-any.whl">labwheel-1.0-py3-none-any.whl</a>' >"$work/www/simple/labwheel/index.html"
mkdir -p "$work/npm/package" "$work/www/npm"
head -c 4M /dev/urandom >"$work/npm/package/data"
echo '{"name":"labpkg","version":"1.0.0"}' >"$work/npm/package/package.json"
tar -C "$work/npm" -czf "$work/www/pool/labpkg-1.0.0.tgz" package
jq -n --arg url "http://10.88.0.2:8080/pool/labpkg-1.0.0.tgz" --arg sum "sha512-$(openssl dgst -sha512 -binary "$work/www/pool/labpkg-1.0.0.tgz" | base64 -w0)" \
    '{name: "labpkg", "dist-tags": {latest: "1.0.0"}, versions: {"1.0.0": {name: "labpkg", version: "1.0.0", dist: {tarball: $url, integrity: $sum}}}}' \
    >"$work/www/npm/labpkg"
head -c 3M /dev/urandom >"$work/www/pool/lfs"
lfs_oid=$(sha256sum <"$work/www/pool/lfs" | cut -d ' ' -f 1) lfs_size=$((3 * mib))
if command -v rpmbuild >/dev/null && command -v createrepo_c >/dev/null; then
    mkdir -p "$work/rpm" "$work/www/pool/rpm"
    head -c 3M /dev/urandom >"$work/rpm/data"
    printf 'Name: labrpm\nVersion: 1\nRelease: 1\nSummary: data\nLicense: none\nBuildArch: noarch\n%%description\ndata\n%%install\ninstall -D %s %%{buildroot}/usr/share/lab/data\n%%files\n/usr/share/lab/data\n' \
        "$work/rpm/data" >"$work/rpm/spec"
    rpmbuild --quiet -bb --define "_topdir $work/rpm" --define '_binary_payload w0.gzdio' --define "_rpmdir $work/www/pool/rpm" --define '_rpmfilename labrpm-1-1.noarch.rpm' "$work/rpm/spec" >"$work/rpm/log" 2>&1
    createrepo_c -q "$work/www/pool/rpm" >>"$work/rpm/log" 2>&1
fi
swarm_origin
python3 - "$work/lfs.py" <<'PY'
import sys
open(sys.argv[1], "w").write("""
import http.server, json, sys
address, base = sys.argv[1:]
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        give = lambda one: {**one, "authenticated": True, "actions": {"download": {"href": base + "/pool/lfs"}}}
        told = json.dumps({"transfer": "basic", "objects": [give(one) for one in asked["objects"]]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.git-lfs+json")
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)
http.server.ThreadingHTTPServer((address, 8090), Handler).serve_forever()
""")
PY
mkdir -p "$work/lfs-server"
launch lfs-server origin python3 "$work/lfs.py" "$origin_ip" "$origin"
origins+=("http://$origin_ip:8090")
serve origin registry.sh --listen "$origin_ip" --port 5443 --tls
registry=$addr registry_dir=$dir registry_ca=$cafile
origins+=("$registry")
on origin "$lab/make-image.py" --compress none --layer-sizes 8M --push "$registry/test/app:v1" >"$work/push.log" 2>&1
blob=$(on origin curl -sf --cacert "$cafile" -H 'Accept: application/vnd.oci.image.manifest.v1+json' "$url/v2/test/app/manifests/v1" | jq -r '.layers | max_by(.size) | .digest')

serve origin registry.sh --listen "$origin_ip" --port 5444 --tls --auth ann:secret
private=$addr private_dir=$dir private_ca=$cafile
origins+=("$private")
extra="ca_files = [\"$registry_ca\"]
host_ca_files = [\"$private=$private_ca\"]"
on origin "$lab/make-image.py" --compress none --layer-sizes 7M --push "$private/team/app:v1" --creds ann:secret --name private >>"$work/push.log" 2>&1

rules="$origin_ip:8080/pool/** content
$origin_ip:8080/secret/** refuse
$registry registry
$private registry"
rules=$(jq -Rc . <<<"$rules" | paste -sd, )
swarm_scheduler 1
swarm_daemon 1 seed
for node in 2 3 4; do
    set -- --set "proxy.listen=127.0.0.1:$(port $node 3)" --set "proxy.rules=[$rules]"
    [ $node = 2 ] || set -- "$@" --set "proxy.intercept=[\"$registry\",\"$private\"]"
    swarm_daemon $node daemon "$@"
done
swarm_ready 1 2 3 4

# ---- files ------------------------------------------------------------------
reset
verdict "curl gets a file through the swarm" "$work/2/log" comes 2 pool/big
verdict "a second host's bytes come from the first" "$work/3/log" comes 3 pool/big
verdict "the origin sent it once to both" "$work/1/log" once $((24 * mib))
verdict "get finds what the proxy brought" "$work/3/log" get 3 "$origin/pool/big" "$work/3/got"
verdict "and the origin sent no more" "$work/1/log" once $((24 * mib))
verdict "status and headers are the origin's" "$work/2/log" same_head pool/big
verdict "a range is that range" "$work/2/log" part_is
verdict "a range beyond the end is 416" "$work/2/log" range_is 99999999- 416 "bytes \*/$((24 * mib))"
verdict "a condition is the origin's to judge" "$work/2/log" not_modified
verdict "with credentials it passes uncached" "$work/2/log" passes
verdict "a missing file is the origin's 404" "$work/2/log" is "$(status_by 2 "$origin/pool/none")" 404
verdict "what no rule names passes" "$work/2/log" curl_by 2 -f -o "$work/2/plain" "$origin/other/plain"
verdict "a rule refuses" "$work/2/log" refused "$origin/secret/a"
for path in secret/a /secret/a x/../secret/a secret%2Fa x/..%2fsecret/a %73ecret/a 'secret;a=1/b'; do
    verdict "/$path is refused too" "$work/2/log" refused --path-as-is "$origin/$path"
done
verdict "a client of Dragonfly asks for the swarm itself" "$work/2/log" curl_by 2 -f -H 'X-Dragonfly-Use-P2P: true' -D "$work/2/head" -o "$work/2/plain" "$origin/other/plain"
verdict "and is told the task" "$work/2/head" task_said "$work/2/head"

# ---- no open proxy ----------------------------------------------------------
for target in 127.0.0.1:80 "127.0.0.1:$(port 2 1)" '[::1]:80' 169.254.169.254 10.88.1.3:7470 192.168.1.1 0.0.0.0 2130706433 '[::ffff:127.0.0.1]'; do
    verdict "http://$target is refused" "$work/2/log" refused "http://$target/"
    case $target in *:*[0-9]) ;; *) target=$target:443 ;; esac
    verdict "a tunnel to $target is refused" "$work/2/log" no_tunnel "https://$target/"
done
verdict "a tunnel to a mail server's port is refused" "$work/2/log" no_tunnel "https://example.com:25/"
elsewhere() { ! on 3 curl -s -m 5 -o /dev/null "http://$(ip_of 2):$(port 2 3)/"; }
verdict "from another host nobody answers" "$work/2/log" elsewhere

# ---- packages ---------------------------------------------------------------
apt_by() { # NODE
    local dir=$work/$1/apt
    mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
    echo "deb [trusted=yes] $origin ./" >"$dir/sources.list"
    set -- "$1" -o Acquire::http::Proxy="$(proxy_of "$1")" -o Acquire::Languages=none -o APT::Sandbox::User=root \
        -o Dir::Etc::SourceList="$dir/sources.list" -o Dir::Etc::SourceParts=- -o Dir::State::Lists="$dir/lists" \
        -o Dir::Cache="$dir/cache" -o Dir::State::status=/var/lib/dpkg/status
    (cd "$dir" && on "$1" apt-get -qq "${@:2}" update && on "$1" apt-get -qq "${@:2}" download lab-data) &&
        cmp "$dir/lab-data_1.0_all.deb" "$work/www/pool/lab-data_1.0_all.deb"
}
reset
verdict "apt-get gets a package" "$work/2/log" apt_by 2
verdict "on a second host too" "$work/3/log" apt_by 3
verdict "the origin sent it once" "$work/1/log" once $((deb_size + mib / 4))
if python3 -m pip --version >/dev/null 2>&1; then
    pip_by() { # NODE
        on "$1" env -u HTTP_PROXY python3 -m pip --disable-pip-version-check -q download --no-deps --no-cache-dir --proxy "$(proxy_of "$1")" \
            --trusted-host "$origin_ip" --index-url "$origin/simple/" -d "$work/$1/wheels" labwheel
    }
    reset
    verdict "pip gets a wheel" "$work/2/log" pip_by 2
    verdict "on a second host too" "$work/3/log" pip_by 3
    verdict "the origin sent it once" "$work/1/log" once $((4 * mib + mib / 4))
fi

if command -v npm >/dev/null; then
    npm_by() { # NODE
        rm -rf "$work/$1/npm" && mkdir -p "$work/$1/npm"
        (cd "$work/$1/npm" && on "$1" env -u HTTP_PROXY -u HTTPS_PROXY -u http_proxy -u https_proxy npm_config_userconfig=/dev/null npm_config_noproxy= \
            npm_config_cache="$work/$1/npm/cache" npm_config_proxy="$(proxy_of "$1")" npm_config_registry="$origin/npm/" \
            npm pack --silent labpkg && cmp labpkg-1.0.0.tgz "$work/www/pool/labpkg-1.0.0.tgz")
    }
    reset
    verdict "npm gets a package" "$work/2/log" npm_by 2
    verdict "on a second host too" "$work/3/log" npm_by 3
    verdict "the origin sent it once" "$work/1/log" once $((4 * mib + mib / 4))
fi
if command -v git-lfs >/dev/null; then
    lfs_by() ( # NODE
        local repo=$work/$1/lfs
        rm -rf "$repo" && git init -q "$repo" && cd "$repo"
        git config user.email lab@example.test && git config user.name lab && git lfs install --local >/dev/null
        git config lfs.url "http://$origin_ip:8090/repo" && git config http.proxy "$(proxy_of "$1")"
        git config "lfs.http://$origin_ip:8090/repo.locksverify" false
        printf 'version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %s\n' "$lfs_oid" "$lfs_size" >data.bin
        echo 'data.bin filter=lfs diff=lfs merge=lfs -text' >.gitattributes
        GIT_LFS_SKIP_SMUDGE=1 git add . && git commit -qm data
        on "$1" env -u HTTP_PROXY -u HTTPS_PROXY -u http_proxy -u https_proxy -u NO_PROXY -u no_proxy git lfs pull
        [ "$(sha256sum <data.bin | cut -d ' ' -f 1)" = "$lfs_oid" ]
    )
    reset
    verdict "git-lfs gets a file" "$work/2/log" lfs_by 2
    verdict "on a second host too" "$work/3/log" lfs_by 3
    verdict "the origin sent it once" "$work/1/log" once $((3 * mib + mib / 4))
fi
if command -v dnf >/dev/null && command -v createrepo_c >/dev/null; then
    dnf_by() { # NODE
        local dir=$work/$1/dnf
        rm -rf "$dir" && mkdir -p "$dir"
        on "$1" dnf -q -y --setopt=reposdir=/nowhere --setopt="cachedir=$dir/cache" --setopt="proxy=$(proxy_of "$1")" --setopt=zchunk=False \
            --repofrompath "lab,$origin/pool/rpm" --repo lab --nogpgcheck --releasever 1 --installroot "$dir/root" install --downloadonly --downloaddir "$dir" labrpm &&
            cmp "$dir"/labrpm-*.rpm "$work"/www/pool/rpm/labrpm-*.rpm
    }
    reset
    verdict "dnf gets a package" "$work/2/log" dnf_by 2
    verdict "on a second host too" "$work/3/log" dnf_by 3
    verdict "the origin sent it once" "$work/1/log" once $((3 * mib + mib / 4))
fi

# ---- TLS --------------------------------------------------------------------
verdict "a host that is not listed shows its own certificate" "$work/2/log" untouched
verdict "a listed one shows ours" "$work/3/log" opened
for node in 3 4; do "$PANTALA" proxy ca --set "host.data_dir=$work/$node/data" >"$work/$node/ca.crt" 2>"$work/$node/trust"; done
other_ca() { ! cmp -s "$work/3/ca.crt" "$work/4/ca.crt"; }
verdict "each host has an authority of its own" "$work/3/log" other_ca
no_key() { ! grep -rl 'PRIVATE KEY' "$work"/[34]/ca.crt "$work"/[34]/trust "$work"/[34]/log; }
verdict "its key is nowhere but in its file" "$work/3/log" no_key
verdict "the key is its owner's alone" "$work/3/data" is "$(stat -c %a "$work/3/data/interception/authority.json")" 600
"$lab/registry.sh" stats --dir "$registry_dir" --reset >/dev/null
verdict "a blob within TLS that is opened comes through the swarm" "$work/3/log" blob_through 3
verdict "and to a second host" "$work/4/log" blob_through 4
verdict "the registry sent it once" "$work/1/log" at_most "$(registry_sent)" $((8 * mib + mib / 2))

# ---- images -----------------------------------------------------------------
skopeo_by() { # NODE CA
    rm -rf "$work/$1/image" "$work/$1/certs"
    mkdir -p "$work/$1/certs" && cp "$2" "$work/$1/certs/ca.crt"
    on "$1" env HTTPS_PROXY="$(proxy_of "$1")" skopeo copy --insecure-policy --src-cert-dir "$work/$1/certs" "docker://$registry/test/app:v1" "dir:$work/$1/image"
}
verdict "skopeo pulls by a tunnel that is not opened" "$work/2/log" skopeo_by 2 "$registry_ca"
"$lab/registry.sh" stats --dir "$registry_dir" --reset >/dev/null
verdict "and by one that is" "$work/3/log" skopeo_by 3 "$work/3/ca.crt"
verdict "its layers came from the swarm" "$work/3/log" at_most "$(registry_sent)" $((2 * mib))
skopeo_private() { # NODE [options]
    rm -rf "$work/$1/private" "$work/$1/certs"
    mkdir -p "$work/$1/certs" && cp "$work/$1/ca.crt" "$work/$1/certs/ca.crt"
    on "$1" env HTTPS_PROXY="$(proxy_of "$1")" skopeo copy --insecure-policy --src-cert-dir "$work/$1/certs" "${@:2}" "docker://$private/team/app:v1" "dir:$work/$1/private"
}
denied() { ! skopeo_private "$@" && ! grep -q . "$work/$1/private/manifest.json" 2>/dev/null; }
private_sent() { sent_bytes registry.sh "$private_dir"; }
"$lab/registry.sh" stats --dir "$private_dir" --reset >/dev/null
verdict "a private image comes with its credentials" "$work/3/log" skopeo_private 3 --src-creds ann:secret
verdict "and to a second host" "$work/4/log" skopeo_private 4 --src-creds ann:secret
verdict "its registry sent the layers once" "$work/1/log" at_most "$(private_sent)" $((8 * mib))
verdict "without credentials nobody gets it" "$work/4/log" denied 4
verdict "nor with wrong ones" "$work/4/log" denied 4 --src-creds ann:wrong
ctr_by() { # NODE
    mkdir -p "$work/$1/containerd"
    serve "$1" containerd.sh --dir "$work/$1/containerd" --no-cri --http-proxy "$(proxy_of "$1")" --no-proxy 127.0.0.1 &&
        on "$1" timeout 60 env HTTPS_PROXY="$(proxy_of "$1")" SSL_CERT_FILE="$work/$1/ca.crt" \
            ctr -a "$work/$1/containerd/containerd.sock" images pull --snapshotter native "$registry/test/app:v1"
}
"$lab/registry.sh" stats --dir "$registry_dir" --reset >/dev/null
verdict "ctr pulls an image" "$work/3/containerd/log" ctr_by 3
verdict "its layers came from the swarm" "$work/3/log" at_most "$(registry_sent)" $((2 * mib))
docker_on() { on "$1" docker -H "unix://$work/$1/docker.sock" "${@:2}"; }
mkdir -p "$work/4/docker"
echo '{}' >"$work/4/docker.json"
launch_docker() {
    mkdir -p "$work/dockerd"
    launch dockerd 4 env HTTPS_PROXY="$(proxy_of 4)" HTTP_PROXY="$(proxy_of 4)" SSL_CERT_FILE="$work/4/ca.crt" dockerd \
        --config-file "$work/4/docker.json" --data-root "$work/4/docker/data" --exec-root "$work/4/docker/exec" \
        --pidfile "$work/4/docker/pid" -H "unix://$work/4/docker.sock" --bridge=none --iptables=false --ip6tables=false
    wait_for 40 docker_on 4 info
}
verdict "dockerd starts behind the proxy" "$work/dockerd/log" launch_docker
"$lab/registry.sh" stats --dir "$registry_dir" --reset >/dev/null
verdict "dockerd pulls an image" "$work/dockerd/log" docker_on 4 pull -q "$registry/test/app:v1"
verdict "its layers came from the swarm" "$work/4/log" at_most "$(registry_sent)" $((2 * mib))
said_registry() { [ "$(on 4 curl -s "http://127.0.0.1:$(port 4 1)/metrics" | sed -nE 's/^pantala_proxy_requests_total\{rule="registry"\} //p')" -gt 3 ]; }
verdict "the proxy counts what its rules said" "$work/4/log" said_registry
swarm_kill dockerd TERM
umount "$work/4/docker/exec/netns/default" 2>/dev/null || true
