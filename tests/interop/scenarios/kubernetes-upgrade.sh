# shellcheck shell=bash
# The API server is replaced by one of the next minor version, on the same etcd, while the bundle service follows it: the
# service goes on without a restart, publishes what is applied afterwards, and writes statuses.
# seconds: 900

# shellcheck source=../stack.sh
source "${BASH_SOURCE[0]%/*}/../stack.sh"
# shellcheck source=../kubernetes.sh
source "${BASH_SOURCE[0]%/*}/../kubernetes.sh"

# minor: the minor version that serves.
minor() { kubectl get --raw /version | sed -nE 's/^ *"minor": *"([0-9]+)".*/\1/p'; }
healthy() { [[ $(health bundle-service) == ok ]]; }

KUBE_APISERVER=$KUBERNETES_OLDER/kube-apiserver
start_ca
register_service
start_kubernetes
older=$(minor)
install_rights
for group in agent.kagenti.dev agent.rossoctl.dev; do install_definition "$group"; done
kubectl create namespace team-a
start_replica bundle-service
await "$ARRIVE_SECONDS" "the service is ready" health bundle-service
use bundle-service
secctl svid issue --spiffe-id "spiffe://$TRUST_DOMAIN/ns/team-a/sa/agent" --out "$WORK/agent"
policy team-a all namespace true | kubectl apply -f -
await "$ARRIVE_SECONDS" "a policy is published from the older one" settled team-a all Published True
hash=$(kubectl get ap -n team-a all -o 'jsonpath={.status.bundleHash}')
expect "every OPA activates its bundle" served_is_activated "$WORK/agent"

# ---- The next minor version ----

stop api-server
await "$ARRIVE_SECONDS" "the service says that nobody answers" health_says bundle-service "cannot be followed since"
expect "bundles are served on" served_is_activated "$WORK/agent"
KUBE_APISERVER=$KUBERNETES/kube-apiserver
start_api_server
expect "it is the next minor version" test "$(minor)" -eq $((older + 1))
await "$ARRIVE_SECONDS" "all is well again" healthy
expect "the status stands" settled team-a all Published True
expect "what is in force is the same" test "$hash" = "$(kubectl get ap -n team-a all -o 'jsonpath={.status.bundleHash}')"

policy team-a agent client true | kubectl apply -f -
await "$ARRIVE_SECONDS" "a policy is published from the newer one" settled team-a agent Published True
expect "every OPA activates the bundle with it" served_is_activated "$WORK/agent"
policy team-a all namespace 'no_such(1)' | kubectl apply -f -
await "$ARRIVE_SECONDS" "one that is wrong is refused" settled team-a all Accepted False
await "$ARRIVE_SECONDS" "its author is told" has_events team-a all Refused 1
expect "what stood stays" test "$hash" = "$(kubectl get ap -n team-a all -o 'jsonpath={.status.bundleHash}')"
expect "every OPA activates the bundle of the last good version" served_is_activated "$WORK/agent"
expect "the service was never started anew" kill -0 "${PIDS[bundle-service]}"
