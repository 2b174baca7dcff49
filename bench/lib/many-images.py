#!/usr/bin/env python3
"""Writes small images straight into the folder of a docker-registry, and prints the path of each manifest and blob.

    many-images.py DATA NAME COUNT SEED

COUNT is of manifests and blobs together: each image has a manifest, a configuration and two layers of 512 to 4096 bytes.
"""

import hashlib
import json
import os
import random
import sys


def main():
    data, name, count, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    chance = random.Random(seed)
    base = os.path.join(data, "docker/registry/v2")
    own = os.path.join(base, "repositories", name)
    os.makedirs(os.path.join(own, "_uploads"), exist_ok=True)

    def put(content, places):
        digest = hashlib.sha256(content).hexdigest()
        where = os.path.join(base, "blobs/sha256", digest[:2], digest)
        os.makedirs(where, exist_ok=True)
        with open(os.path.join(where, "data"), "wb") as out:
            out.write(content)
        for place in places:
            where = os.path.join(own, place, "sha256", digest)
            os.makedirs(where, exist_ok=True)
            with open(os.path.join(where, "link"), "w", encoding="ascii") as out:
                out.write(f"sha256:{digest}")
        return digest

    def described(kind, content):
        digest = put(content, ["_layers"])
        print(f"/v2/{name}/blobs/sha256:{digest}")
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(content)}

    for _ in range(count // 4):
        layers = [described("layer.v1.tar", chance.randbytes(chance.randint(512, 4096))) for _ in range(2)]
        config = described("config.v1+json", json.dumps({"seed": chance.random()}).encode())
        kind = "application/vnd.oci.image.manifest.v1+json"
        manifest = {"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers}
        # By digest alone: a tag is asked for anew by every mirror.
        digest = put(json.dumps(manifest).encode(), ["_manifests/revisions", "_layers"])
        print(f"/v2/{name}/manifests/sha256:{digest}")


if __name__ == "__main__":
    main()
