#!/usr/bin/env bash
# User data of an EC2 instance on Amazon Linux 2023: installs docker, the image, the model and the service.
# It is safe to run again: it renews the configuration and restarts the service.
#
# This is a template for Terraform's templatefile, which puts values in place of image, s3_uri, environment and unit;
# the shell's own dollar signs before a brace are doubled.
set -euo pipefail

readonly IMAGE='${image}'
readonly S3_URI='${s3_uri}'
readonly DATA=/var/lib/als-serve
readonly MODEL=$DATA/models/als_model.npz
readonly OWNER=10001 # the user in the image

main() {
    install_docker
    write_configuration
    echo "Pulling the image $IMAGE"
    retried docker pull --quiet "$IMAGE"
    fetch_model
    systemctl daemon-reload
    systemctl enable als-serve.service
    systemctl restart als-serve.service
    echo "Started als-serve: its log is in 'journalctl --unit als-serve', its state at http://127.0.0.1:8080/v1/model"
}

install_docker() {
    if ! command -v docker >/dev/null; then
        echo "Installing docker"
        retried dnf install --assumeyes --quiet docker
    fi
    systemctl enable --now docker.service
    if [[ $IMAGE == *.dkr.ecr.*.amazonaws.com/* ]]; then
        log_in_by_role
    fi
}

# Each pull gets a password through the instance's role, so none is stored.
log_in_by_role() {
    if ! command -v docker-credential-ecr-login >/dev/null; then
        retried dnf install --assumeyes --quiet amazon-ecr-credential-helper
    fi
    install -d -m 0700 /root/.docker
    printf '{"credHelpers": {"%s": "ecr-login"}}\n' "$${IMAGE%%/*}" >/root/.docker/config.json
    export HOME=/root # cloud-init sets none
}

write_configuration() {
    echo "Writing /etc/als-serve and the systemd unit"
    install -d -m 0755 /etc/als-serve
    install -d -m 0750 -o "$OWNER" -g "$OWNER" "$DATA" "$DATA/models" "$DATA/state"
    printf 'IMAGE=%s\n' "$IMAGE" >/etc/als-serve/image.env
    printf 'ALS_MODEL_PATH=%s\nALS_S3_URI=%s\n' "$MODEL" "$S3_URI" >/etc/als-serve/als-serve.env
    cat >>/etc/als-serve/als-serve.env <<'END'
${environment}
END
    cat >/etc/systemd/system/als-serve.service <<'END'
${unit}
END
}

# The service fetches the model by itself and keeps trying. Fetching it here as well shows in this log whether the role,
# the key and the route to S3 work.
fetch_model() {
    echo "Pulling the model from $S3_URI"
    docker run --rm --env-file /etc/als-serve/als-serve.env --volume "$DATA:$DATA" \
        --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges \
        "$IMAGE" pull "$S3_URI" --to "$MODEL" || echo "No model for now: the service will ask S3 again"
}

# A role or route created by the same apply may take a minute to work.
retried() {
    local attempt
    for attempt in 1 2 3 4 5; do
        "$@" && return
        echo "Attempt $attempt failed: $*"
        sleep "$((attempt * 5))"
    done
    return 1
}

stamped() {
    while IFS= read -r line; do
        TZ=UTC printf '%(%Y-%m-%dT%H:%M:%SZ)T %s\n' -1 "$line"
    done
}

main 2>&1 | stamped
