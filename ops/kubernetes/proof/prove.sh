#!/usr/bin/env bash
# Proves on a cluster that a fleet starts without a model, takes the first one from S3, and neither a rolling restart nor
# a new model fails a request. Uses kubectl's current context, and a namespace of its own that it removes at the end. The
# nodes need the image als-serve:local; with kind: kind load docker-image als-serve:local
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
space=als-serve-proof

in_space() {
    kubectl --namespace "$space" "$@"
}

publish() {
    in_space create job "$1" --from=cronjob/publish
    in_space wait --for=condition=complete --timeout=600s "job/$1"
}

# The versions that are served, one a line; pods that have just ended are passed over.
versions() {
    in_space get pods --selector app.kubernetes.io/name=als-serve --output name | while read -r pod; do
        in_space exec "$pod" -- python -c 'import json, urllib.request
print(json.load(urllib.request.urlopen("http://127.0.0.1:8080/v1/model"))["model_version"])' 2>/dev/null || true
    done
}

echo "🔎 Using the context $(kubectl config current-context)"
kubectl apply --filename namespace.yaml
trap 'kubectl delete namespace "$space" --wait=false' EXIT
in_space create configmap s3 --from-file=../../compose/s3.json
kubectl apply --kustomize .
in_space rollout status --timeout=300s deployment/store

echo "🔎 Without a model, pods are not ready, and not restarted"
in_space wait --for=jsonpath='{.status.containerStatuses[0].started}'=true --timeout=300s \
    pod --selector app.kubernetes.io/name=als-serve
[[ -z $(in_space get deployment als-serve --output jsonpath='{.status.readyReplicas}') ]]

echo "🔎 The first model makes them ready"
publish first
in_space rollout status --timeout=600s deployment/als-serve
[[ $(in_space get pods --selector app.kubernetes.io/name=als-serve \
    --output jsonpath='{range .items[*]}{.status.containerStatuses[0].restartCount}{end}') =~ ^0+$ ]]

echo "🔎 Under load: a rolling restart of all, and a new model for all"
in_space scale deployment/client --replicas=1
in_space rollout status --timeout=300s deployment/client
in_space rollout restart deployment/als-serve
in_space rollout status --timeout=900s deployment/als-serve
before=$(versions | sort -u)
publish second
for _ in $(seq 60); do
    [[ $(versions | sort -u) != "$before" && $(versions | sort -u | wc -l) == 1 ]] && break
    sleep 2
done
[[ $(versions | sort -u) != "$before" && $(versions | sort -u | wc -l) == 1 ]]

last=$(in_space logs deployment/client --tail=1)
echo "🔎 $last"
[[ $last == *", 0 failed" ]]
echo "✅ The fleet was restarted and took a new model without a failed request"
