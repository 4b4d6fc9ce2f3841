# shellcheck shell=bash
# The admission webhook at a real API server: `kubectl apply` of a bad policy fails with its line, the API server trusts
# the webhook by roots that are kept current as they rotate, and what passes by the webhook is stopped by the compiler.
# seconds: 600

# shellcheck source=../stack.sh
source "${BASH_SOURCE[0]%/*}/../stack.sh"
# shellcheck source=../kubernetes.sh
source "${BASH_SOURCE[0]%/*}/../kubernetes.sh"

CONFIGURATION=secplane-authorization-policies

# start_with_webhook NAME FAILURE_POLICY: on the port that the API server is told.
start_with_webhook() {
    start_replica "$1" "webhook: {listen: '127.0.0.1:$WEBHOOK_PORT', configuration: $CONFIGURATION, failure_policy: $2}"
}

start_all_of_kubernetes
# issue ACCOUNT FOLDER: an identity whose bundles OPA activates.
issue() { secctl svid issue --spiffe-id "spiffe://$TRUST_DOMAIN/ns/team-a/sa/$1" --out "$WORK/$2"; }
issue agent agent
WEBHOOK_PORT=$(free_port)
start_with_webhook bundle-service Fail
await "$ARRIVE_SECONDS" "the service is ready" health bundle-service
# As it is shipped, but for the address: there is no cluster network here.
sed "s|^    service: .*|    url: https://localhost:$WEBHOOK_PORT/validate|" "$DEPLOY/webhook.yaml" | kubectl apply -f -

# roots: those that the API server trusts.
roots() {
    kubectl get validatingwebhookconfiguration "$CONFIGURATION" -o 'jsonpath={.webhooks[0].clientConfig.caBundle}' |
        base64 -d
}
number_of_roots() { roots | grep -c 'BEGIN CERTIFICATE' || true; }
has_roots() { [[ $(number_of_roots) == "$1" ]]; }
failure_policy_is() {
    [[ $(kubectl get validatingwebhookconfiguration "$CONFIGURATION" -o 'jsonpath={.webhooks[0].failurePolicy}') == "$1" ]]
}
apply_good() { policy team-a good namespace true | kubectl apply --dry-run=server -f -; }

await "$ARRIVE_SECONDS" "the service writes its roots" has_roots 1
expect "and the policy for failures" failure_policy_is Fail
# The API server takes up a configuration after a moment.
await "$ARRIVE_SECONDS" "a good policy passes" apply_good

# bad NAME SCOPE ALLOW PATTERN: refused, and nothing is stored.
bad() {
    policy team-a "$1" "$2" "$3" >"$WORK/bad.yaml"
    refused "$1" "$4" kubectl apply -f "$WORK/bad.yaml"
    refused "$1, asked for without effect" "$4" kubectl apply --dry-run=server -f "$WORK/bad.yaml"
    refused "$1 is not there" NotFound kubectl get ap --namespace team-a "$1"
}
denied='admission webhook "authorizationpolicies.secplane.dev" denied the request'
bad syntax namespace '(' "$denied: inbound/request.rego:[34]:[0-9]+: .* \([a-z_]+\)"
bad types client 'no_such(1)' "$denied: inbound/request.rego:3:[0-9]+: .*no_such.* \([a-z_]+\)"
bad global global true "$denied: .*secplane-system.*\(scope\)"
policy team-a beyond namespace true | sed 's/authbridge.ns/authbridge/' >"$WORK/bad.yaml"
refused "a policy that reaches beyond its tier" "$denied: .*\(confinement\)" kubectl apply -f "$WORK/bad.yaml"

# Against what stands already: a second default of one rule is no fault of its own.
default() { policy team-a "$1" namespace true | sed 's/allow := true/default allow := false/' | kubectl apply -f -; }
default first
await "$ARRIVE_SECONDS" "the first stands" settled team-a first Published True
use bundle-service
expect "every OPA activates the bundle with it" served_is_activated "$WORK/agent"
refused "a second default" "$denied: " default second
kubectl delete ap --namespace team-a first

# The names that a client policy gives may disagree: that is a warning, and no refusal.
policy team-a agent client true | sed 's/scope: client/scope: client\n  clientID: other/' >"$WORK/two-names.yaml"
kubectl apply -f "$WORK/two-names.yaml" 2>"$WORK/warned"
expect "kubectl shows the warning" grep -q 'Warning: .*client_disagrees' "$WORK/warned"

# The root rotates, and the certificate with it, while the webhook answers.

# present FILE: the chain that the webhook presents now.
present() {
    openssl s_client -connect "127.0.0.1:$WEBHOOK_PORT" -servername localhost -showcerts </dev/null 2>/dev/null |
        sed -n '/BEGIN CERTIFICATE/,/END CERTIFICATE/p' >"$1"
}
serial() { openssl x509 -in "$1" -noout -serial; }
presents_another() {
    local before after
    before=$(serial "$WORK/before.pem")
    present "$WORK/after.pem" && after=$(serial "$WORK/after.pem") && [[ $after != "$before" ]]
}
# verifies CHAIN: as the API server would by the roots that it has now.
verifies() {
    roots >"$WORK/roots.pem"
    openssl verify -x509_strict -purpose sslserver -verify_hostname localhost -no-CApath -no-CAstore \
        -CAfile "$WORK/roots.pem" -untrusted "$1" -- "$1"
}

present "$WORK/before.pem"
expect "what the webhook presents is trusted" verifies "$WORK/before.pem"
secctl ca prepare
await "$ARRIVE_SECONDS" "the API server has both roots" has_roots 2
# Who polls the bundle has been seen to have it; the authority would wait longer.
secctl ca activate --force
# The authority's own issuing CA follows in a moment, and is refused to be tainted before.
await "$ARRIVE_SECONDS" "the old root is tainted" secctl ca taint
await "$ARRIVE_SECONDS" "the webhook presents another certificate" presents_another
expect "which is trusted" verifies "$WORK/after.pem"
bad between-roots client 'no_such(1)' "$denied: inbound/request.rego:3:"
await "$ARRIVE_SECONDS" "a good policy passes between two roots" apply_good
# What the old root signed is valid for an hour still; nobody here has it any more.
secctl ca revoke --force
await "$ARRIVE_SECONDS" "the API server has the new root alone" has_roots 1
refused "the certificate from before" 'unable to get (local )?issuer certificate|certificate signature failure' \
    verifies "$WORK/before.pem"
expect "the one after is trusted" verifies "$WORK/after.pem"
bad after-rotation client 'no_such(1)' "$denied: inbound/request.rego:3:"
policy team-a after-rotation namespace true | kubectl apply -f -
await "$ARRIVE_SECONDS" "a good policy is stored and published" settled team-a after-rotation Published True
issue agent agent-after-rotation
expect "every OPA activates the bundle with it" served_is_activated "$WORK/agent-after-rotation"

# The service is away.
stop bundle-service
refused "while it is away, nothing passes" 'failed calling webhook' kubectl apply -f <(policy team-a away client true)
start_with_webhook again Ignore
await "$ARRIVE_SECONDS" "the policy for failures is as configured" failure_policy_is Ignore
stop again
await "$ARRIVE_SECONDS" "a bad policy passes while the service is away" \
    kubectl apply -f <(policy team-a away client 'no_such(1)')
start_with_webhook back Ignore
await "$ARRIVE_SECONDS" "the compiler stops it all the same" settled team-a away Accepted False
issue away away
use back
expect "every OPA activates the bundle that denies for it" served_is_activated "$WORK/away"
kubectl label ap --namespace team-a away seen=yes
refused "it cannot be made worse" "$denied: " kubectl apply -f <(policy team-a away client 'no_such(2)')
policy team-a away client true | kubectl apply -f -
await "$ARRIVE_SECONDS" "it can be corrected" settled team-a away Published True
expect "every OPA activates the bundle with what is corrected" served_is_activated "$WORK/away"
