# shellcheck shell=bash
# Policies from a real API server: its definition (CRD) takes what clusters have, a change is at OPA moments later, the
# author reads file, line and reason with kubectl alone, and an API server that dies, comes back, comes back with an older
# state, or has forgotten the history that the service was in takes nothing away.
# seconds: 1200

# shellcheck source=../stack.sh
source "${BASH_SOURCE[0]%/*}/../stack.sh"
# shellcheck source=../opa.sh
source "${BASH_SOURCE[0]%/*}/../opa.sh"
# shellcheck source=../kubernetes.sh
source "${BASH_SOURCE[0]%/*}/../kubernetes.sh"

RESOURCES=$REPOSITORY/tests/interop/kubernetes/resources
echo '{}' >"$WORK/input.json"

start_ca
register_service
start_kubernetes
install_rights
# What needs nodes to run has the form at least that the API server takes.
kubectl apply --dry-run=server -f "$DEPLOY/bundle-service.yaml"

# ---- Without the definition ----

start_replica bundle-service
await "$ARRIVE_SECONDS" "the service says that the definitions are missing" health_says bundle-service \
    "authorizationpolicies.agent.kagenti.dev is not installed in the cluster"
refused "it is not ready before" "503" health bundle-service

# ---- The definition ----

install_definition agent.kagenti.dev
await "$ARRIVE_SECONDS" "one group is enough" health bundle-service
expect "the other group is missing still" health_says bundle-service \
    "authorizationpolicies.agent.rossoctl.dev is not installed"
kubectl create namespace team-a
kubectl create namespace team-b
kubectl apply --server-side --dry-run=server -f "$RESOURCES/accepted.yaml"
kubectl apply --dry-run=server -f "$RESOURCES/accepted.yaml"
wrong() {
    refused "$1" "$2" kubectl apply --dry-run=server -f <(policy team-a wrong client true | sed "$3")
}
wrong "an unknown scope" 'spec.scope: Unsupported value' 's/scope: .*/scope: everywhere/'
wrong "a path that leaves its folder" 'spec.policies\[0\].path' 's|path: .*|path: ../request.rego|'
wrong "a client ID with capitals" 'spec.clientID' 's/scope: .*/clientID: Agent/'
wrong "a client ID that is too long" 'spec.clientID' "s/scope: .*/clientID: $(printf 'a%.0s' {1..254})/"
kubectl apply --dry-run=server -f <(policy team-a long client true |
    sed "s/scope: .*/clientID: $(printf 'a%.0s' {1..253})/")
# shellcheck disable=SC2016 # sed's last line
wrong "a module without text" 'spec.policies\[0\].content' '/content:/,$d; s|\(.*\)- path: \(.*\)|\1- {path: \2, content: ""}|'
# shellcheck disable=SC2016 # sed's last line
wrong "a resource without modules" 'spec.policies' '/policies:/,$d'

# ---- A good policy ----

secctl svid issue --spiffe-id "spiffe://$TRUST_DOMAIN/ns/team-a/sa/agent" --out "$WORK/agent"
use bundle-service
start_opa opa "$WORK/agent" authz=bundles/self.tar.gz
await "$START_SECONDS" "OPA has activated its bundle" is_active opa authz
expect "without a policy nothing is allowed" decides opa inbound/request/allow "$WORK/input.json" false
expect "every OPA activates the bundle without a policy" served_is_activated "$WORK/agent"

policy team-a all namespace true | kubectl apply -f -
policy team-a agent client true | kubectl apply -f -
await "$ARRIVE_SECONDS" "the policies decide" decides opa inbound/request/allow "$WORK/input.json" true
expect "every OPA activates the bundle with them" served_is_activated "$WORK/agent"
kubectl wait --for condition=Accepted --timeout "${ARRIVE_SECONDS}s" --namespace team-a ap/all ap/agent
kubectl wait --for condition=Published --timeout "${ARRIVE_SECONDS}s" --namespace team-a ap/all ap/agent
expect "an accepted policy has no Event" has_events team-a all Refused 0

# ---- A bad one ----

# has WHAT PATTERN FILE
has() { grep -qE -- "$2" "$3" || fail "$1 is not in: $(cat -- "$3")"; }

good_hash=$(kubectl get ap -n team-a all -o 'jsonpath={.status.bundleHash}')
policy team-a all namespace 'no_such(1)' | kubectl apply -f -
kubectl wait --for condition=Accepted=False --timeout "${ARRIVE_SECONDS}s" --namespace team-a ap/all
await "$ARRIVE_SECONDS" "the author is told once" has_events team-a all Refused 1
expect "the last good version decides" decides opa inbound/request/allow "$WORK/input.json" true
expect "every OPA activates the bundle of the last good version" served_is_activated "$WORK/agent"
expect "what is in force has its hash still" test "$good_hash" = \
    "$(kubectl get ap -n team-a all -o 'jsonpath={.status.bundleHash}')"

kubectl get ap --namespace team-a -o wide >"$WORK/wide"
has "the columns" '^NAME +SCOPE +CLIENTID +ACCEPTED +PUBLISHED +HASH +MESSAGE +INFORCE +WARNING +AGE' "$WORK/wide"
has "the refusal in one line" \
    "^all +namespace +False +False +$good_hash +inbound/request.rego:3:[0-9]+: .*no_such.* \([a-z_]+\)" "$WORK/wide"
has "what is in force instead" '^all .* the last good version stays in the bundle of every identity of the namespace team-a ' \
    "$WORK/wide"
has "the other policy" '^agent +client +True +True +[0-9a-f]{64} +this version passed every check ' "$WORK/wide"
has "where that is in force" '^agent .* this version is in the bundle of the service account agent in the namespace team-a ' \
    "$WORK/wide"

kubectl describe ap --namespace team-a all >"$WORK/described"
has "the refusal" 'Message: +inbound/request.rego:3:[0-9]+: ' "$WORK/described"
has "the line itself" '3 \| allow := no_such\(1\)' "$WORK/described"
has "what is in force instead" 'Reason: +LastGoodVersion' "$WORK/described"
has "for whom" 'bundle of every identity of the namespace team-a' "$WORK/described"
has "the version that it is about" 'Observed Generation: +2' "$WORK/described"
has "the Event" 'Warning +Refused ' "$WORK/described"

policy team-a all namespace true | kubectl apply -f -
kubectl wait --for condition=Accepted --timeout "${ARRIVE_SECONDS}s" --namespace team-a ap/all
await "$ARRIVE_SECONDS" "the author is told that it is in order" has_events team-a all Recovered 1

# A policy that fails the test which travels with it.
tested() {
    kubectl apply -f - <<YAML
apiVersion: agent.kagenti.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {namespace: team-a, name: tested}
spec:
  scope: namespace
  policies:
  - {path: limits.rego, content: "package authbridge.ns.limits\n\nmost := $1\n"}
  - path: limits_test.rego
    content: |
      package authbridge.ns.limits_test

      test_few_calls if data.authbridge.ns.limits.most < 10
YAML
}
tested 3
await "$ARRIVE_SECONDS" "a policy that passes its test is published" settled team-a tested Published True
await "$ARRIVE_SECONDS" "OPA has it" decides opa ns/limits/most "$WORK/input.json" 3
expect "every OPA activates the bundle of what was tested" served_is_activated "$WORK/agent"
tested 30
await "$ARRIVE_SECONDS" "one that fails it is refused" settled team-a tested Accepted False
expect "by its reason" test "$(condition team-a tested Accepted reason)" = Test
kubectl describe ap --namespace team-a tested >"$WORK/described"
has "the test that fails, and where it is" \
    'Message: +limits_test.rego:3: .*limits_test.test_few_calls. fails \(test\)' "$WORK/described"
has "its line" '3 \| test_few_calls if ' "$WORK/described"
has "what is in force instead" 'Reason: +LastGoodVersion' "$WORK/described"
expect "what passed its test decides" decides opa ns/limits/most "$WORK/input.json" 3
expect "every OPA activates the bundle without what fails its test" served_is_activated "$WORK/agent"
kubectl delete ap --namespace team-a tested

# A policy that never stood, and reaches beyond its tier.
policy team-b agent client true | sed 's/authbridge.client/authbridge/' | kubectl apply -f -
await "$ARRIVE_SECONDS" "it is refused" settled team-b agent Accepted False
expect "by its reason" test "$(condition team-b agent Accepted reason)" = Confinement
expect "it denies" test "$(condition team-b agent Published reason)" = Denied
secctl svid issue --spiffe-id "spiffe://$TRUST_DOMAIN/ns/team-b/sa/agent" --out "$WORK/denied"
expect "every OPA activates the bundle that denies" served_is_activated "$WORK/denied"
policy team-b everyone global true | kubectl apply -f -
await "$ARRIVE_SECONDS" "a global policy elsewhere is refused" settled team-b everyone Accepted False
expect "by its reason" test "$(condition team-b everyone Accepted reason)" = Scope

# Nothing is written when nothing changes; labels are no change of a policy.
kubectl label ap --namespace team-a agent touched=yes
version=$(kubectl get ap -n team-a agent -o 'jsonpath={.metadata.resourceVersion}')
generation_of_status=$(condition team-a agent Accepted observedGeneration)
sleep 5
expect "no write follows a write" test "$version" = \
    "$(kubectl get ap -n team-a agent -o 'jsonpath={.metadata.resourceVersion}')"
expect "its status stands" test "$generation_of_status" = 1

# What somebody else writes into the status is put right.
kubectl patch ap --namespace team-a agent --subresource status --type merge \
    -p '{"status": {"bundleHash": "of somebody else"}}'
right_again() { [[ $(kubectl get ap -n team-a agent -o 'jsonpath={.status.bundleHash}') =~ ^[0-9a-f]{64}$ ]]; }
await 240 "the status is put right" right_again

# ---- The same name in the other group ----

# As clusters have its definition: without what ours adds, and with the scope required.
kubectl apply --server-side -f <(sed -e '/x-kubernetes-list-/d' -e '/^                - type$/d' -e '/nullable: true/d' \
    -e 's/^            - policies$/&\n            - scope/' "$DEPLOY/crds/agent.rossoctl.dev.yaml")
kubectl wait --for condition=Established --timeout "${ARRIVE_SECONDS}s" crd/authorizationpolicies.agent.rossoctl.dev
policy team-a agent client false agent.rossoctl.dev | kubectl apply -f -
passed_over() {
    [[ $(kubectl get authorizationpolicies.agent.rossoctl.dev -n team-a agent \
        -o 'jsonpath={.status.conditions[?(@.type=="Accepted")].reason}') == Duplicate ]]
}
await "$ARRIVE_SECONDS" "the second group's policy is passed over" passed_over
expect "the first group's decides" decides opa inbound/request/allow "$WORK/input.json" true
kubectl delete authorizationpolicies.agent.kagenti.dev --namespace team-a agent
await "$ARRIVE_SECONDS" "the second group's takes its place" decides opa inbound/request/allow "$WORK/input.json" false
expect "every OPA activates the bundle of the second group" served_is_activated "$WORK/agent"
policy team-a agent client true agent.rossoctl.dev | kubectl apply -f -
await "$ARRIVE_SECONDS" "and is followed" decides opa inbound/request/allow "$WORK/input.json" true


# Ours takes the place of that definition, and takes the same resources in either group. The compiler does, too.
mkdir -- "$WORK/peer"
cp -- "$RESOURCES/peer.yaml" "$WORK/peer"
secctl policy check "$WORK/peer"
install_definition agent.rossoctl.dev
for group in agent.kagenti.dev agent.rossoctl.dev; do
    for file in accepted peer; do
        sed "s/agent\.[a-z]*\.dev/$group/" "$RESOURCES/$file.yaml" >"$WORK/$file.yaml"
        kubectl apply --dry-run=server -f "$WORK/$file.yaml"
        kubectl apply --server-side --dry-run=server -f "$WORK/$file.yaml"
    done
done
kubectl patch authorizationpolicies.agent.rossoctl.dev --namespace team-a agent --subresource status --type merge \
    --dry-run=server -p '{"status": {"bundleHash": "6d0c1f", "lastBuilt": "2026-01-02T03:04:05Z", "conditions": [
        {"type": "Ready", "status": "Unknown", "reason": "Built", "message": "", "observedGeneration": 1,
         "lastTransitionTime": "2026-01-02T03:04:05Z"}]}}'
policy team-a agent client false agent.rossoctl.dev | kubectl apply -f -
await "$ARRIVE_SECONDS" "policies are followed by the new definition" \
    decides opa inbound/request/allow "$WORK/input.json" false
policy team-a agent client true agent.rossoctl.dev | kubectl apply -f -
await "$ARRIVE_SECONDS" "as they were before" decides opa inbound/request/allow "$WORK/input.json" true
expect "every OPA activates the bundle by the new definition" served_is_activated "$WORK/agent"

# ---- The API server dies ----

crash api-server
await "$ARRIVE_SECONDS" "the service says so, and is ready" health_says bundle-service "cannot be followed since"
health bundle-service
curl --silent --fail --cacert "$WORK/agent/bundle.pem" --cert "$WORK/agent/svid.pem" --key "$WORK/agent/key.pem" \
    "https://$BUNDLE_SERVICE/bundles/self.tar.gz" --output "$WORK/while-down.tar.gz"
expect "bundles are served on" test -s "$WORK/while-down.tar.gz"
expect "every OPA activates what is served then" activates "$WORK/while-down.tar.gz"
start_api_server
policy team-a agent client false agent.rossoctl.dev | kubectl apply -f -
await "$ARRIVE_SECONDS" "what changed since arrives" decides opa inbound/request/allow "$WORK/input.json" false
healthy() { [[ $(health bundle-service) == ok ]]; }
await "$ARRIVE_SECONDS" "all is well again" healthy

# ---- The API server comes back with an older state ----

# A backup is what etcd holds when it is at rest.
stop api-server
stop etcd
cp -r -- "$WORK/etcd" "$WORK/backup"
start_etcd
start_api_server
for i in 1 2 3 4 5; do policy team-a "extra-$i" client true | kubectl apply -f -; done
policy team-a agent client true agent.rossoctl.dev | kubectl apply -f -
await "$ARRIVE_SECONDS" "the later state decides" decides opa inbound/request/allow "$WORK/input.json" true
crash api-server
crash etcd
rm -rf -- "$WORK/etcd"
mv -- "$WORK/backup" "$WORK/etcd"
start_etcd
start_api_server
await "$ARRIVE_SECONDS" "the restored state decides" decides opa inbound/request/allow "$WORK/input.json" false
expect "every OPA activates the bundle of the restored state" served_is_activated "$WORK/agent"
policy team-a agent client true agent.rossoctl.dev | kubectl apply -f -
await "$ARRIVE_SECONDS" "and is followed" decides opa inbound/request/allow "$WORK/input.json" true

# ---- The history is compacted while the service is cut off ----

# It stands still, so that it sees neither the server go nor the change, and goes on from a place that is gone.
kill -STOP "${PIDS[bundle-service]}"
policy team-a agent client false agent.rossoctl.dev | kubectl apply -f -
crash api-server
start_api_server
compact_etcd
kill -CONT "${PIDS[bundle-service]}"
# OPA got no answer either, and asks again ever more rarely.
await 240 "what changed meanwhile arrives" decides opa inbound/request/allow "$WORK/input.json" false
expect "every OPA activates the bundle by it" served_is_activated "$WORK/agent"
policy team-a agent client true agent.rossoctl.dev | kubectl apply -f -
await "$ARRIVE_SECONDS" "what changes afterwards is followed" \
    decides opa inbound/request/allow "$WORK/input.json" true
