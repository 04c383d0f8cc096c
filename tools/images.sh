#!/usr/bin/env bash
# Builds docker/'s images without a Docker engine or a registry: Debian's buildah does it, on a base
# image that mmdebstrap makes and that gets the very name that FROM says. Needs root.
#
#   tools/images.sh [DIRECTORY]     keeps what it makes there (build/images); prints the images
#
# pip's settings (index-url, cert and the like) are handed to the build, and are not in the images.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

directory=$(realpath -m "${1-build/images}")
base=$(awk '$1 == "FROM" { print $2; exit }' docker/Dockerfile)
suite=${base##*:} suite=${suite%-slim}
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' fastmirror/__init__.py)

say() { echo "images: $*" >&2; }
buildah() {
    command buildah --root "$directory/storage" --runroot "$directory/run" --storage-driver vfs "$@"
}
build() {
    buildah bud --quiet --isolation chroot --pull-never --format docker \
        -v /etc/ssl/certs:/etc/ssl/certs:ro -v "$directory/pip.conf:/etc/pip.conf:ro" "$@"
}

[ "$(id -u)" = 0 ] || { say "root is needed: mmdebstrap and buildah make file systems"; exit 1; }
mkdir -p "$directory"
pip=.venv/bin/pip
[ -x $pip ] || pip=pip3
# pip's settings here, as a file that the build sees: where packages come from, and whom to trust.
# Those of the environment (:env:) win, as they do here.
$pip config list 2>/dev/null | sort -r | awk -F= -v quote="'" '
    match($1, /^(global|:env:)\.(cert|index-url|extra-index-url|proxy|timeout|default-timeout)$/) {
        name = $1
        sub(/^.*\./, "", name)
        sub(/^default-/, "", name)
        value = substr($0, length($1) + 2)
        gsub(quote, "", value)
        if (value !~ /file:/) setting[name] = value
    }
    END { print "[global]"; for (name in setting) print name " = " setting[name] }
' >"$directory/pip.conf"
if ! buildah inspect --type image "$base" >/dev/null 2>&1; then
    say "making $base with mmdebstrap (a minute)"
    rm -rf "$directory/base"
    mmdebstrap --quiet --variant=minbase \
        --include=ca-certificates,python3,python3-pip,python3-venv \
        "$suite" "$directory/base" >"$directory/mmdebstrap.log" 2>&1 || {
        tail -n 20 "$directory/mmdebstrap.log" >&2
        exit 1
    }
    container=$(buildah from scratch)
    buildah add --quiet "$container" "$directory/base" / >/dev/null
    buildah commit --quiet --rm "$container" "$base" >/dev/null
    rm -rf "$directory/base"
fi
say "building fastmirror:$version and fastmirror-init:$version (2 minutes)"
build -f docker/Dockerfile -t "localhost/fastmirror:$version" . >/dev/null
build -f docker/Dockerfile.init --build-arg "PROXY=localhost/fastmirror:$version" \
    -t "localhost/fastmirror-init:$version" docker >/dev/null
buildah rmi --prune >/dev/null
buildah images --format '{{.Name}}:{{.Tag}} {{.Size}}'
