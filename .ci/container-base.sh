#!/usr/bin/env bash
# Makes sure that there is an image called docker.io/library/python:3.11-slim, which the Dockerfile begins with: the
# published one, or where no registry answers a stand-in of Debian's packages. What is built on the stand-in proves the
# Dockerfile's steps, not the published image. Run as root on Debian 12.
set -euo pipefail
export BUILDAH_ISOLATION=chroot # needs nothing of the kernel that a CI job may lack

image=docker.io/library/python:3.11-slim
if buildah inspect --type image "$image" &>/dev/null; then
    exit
fi
if timeout 300 buildah pull --quiet --retry 0 "$image" &>/dev/null; then
    exit
fi

root=$(mktemp --directory)
trap 'rm -rf "$root"' EXIT
mmdebstrap --quiet --variant=minbase --include=ca-certificates,python-is-python3,python3-pip,python3-venv bookworm "$root/base.tar"
container=$(buildah from scratch)
buildah add --quiet "$container" "$root/base.tar" / >/dev/null
# How this machine reaches its package index goes for the image's pip too.
buildah copy --quiet "$container" /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt >/dev/null
if [[ -e /etc/pip.conf ]]; then
    buildah copy --quiet "$container" /etc/pip.conf /etc/pip.conf >/dev/null
fi
buildah config --env PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin --cmd python3 "$container"
buildah commit --quiet --rm "$container" "$image" >/dev/null
