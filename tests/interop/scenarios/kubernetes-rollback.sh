# shellcheck shell=bash
# An administrator rolls a namespace back, and its authors read with kubectl alone what is in force instead of what they
# wrote, who chose it and why, until it is released.
# seconds: 600

# shellcheck source=../stack.sh
source "${BASH_SOURCE[0]%/*}/../stack.sh"
# shellcheck source=../kubernetes.sh
source "${BASH_SOURCE[0]%/*}/../kubernetes.sh"

export SECCTL_BUNDLE_ADMIN_SOCKET=$WORK/bundles.sock
TIER=namespace/team-a

# has WHAT PATTERN FILE
has() { grep -qE -- "$2" "$3" || fail "$1 is not in: $(cat -- "$3")"; }
hash_of() { kubectl get ap --namespace team-a "$1" -o 'jsonpath={.status.bundleHash}'; }
# is_published NAME REASON
is_published() { is_judged team-a "$1" && [[ $(condition team-a "$1" Published reason) == "$2" ]]; }

start_all_of_kubernetes
start_replica bundle-service "data_dir: $WORK/bundles" "admin_socket: $SECCTL_BUNDLE_ADMIN_SOCKET"
await "$ARRIVE_SECONDS" "the service is ready" health bundle-service
use bundle-service
secctl svid issue --spiffe-id "spiffe://$TRUST_DOMAIN/ns/team-a/sa/agent" --out "$WORK/agent"

policy team-a first namespace true | kubectl apply -f -
await "$ARRIVE_SECONDS" "the first version is published" is_published first Published
first_hash=$(hash_of first)
expect "every OPA activates the bundle of the first version" served_is_activated "$WORK/agent"
policy team-a first namespace false | kubectl apply -f -
await "$ARRIVE_SECONDS" "the second version is published" is_published first Published
policy team-a later namespace true | sed 's/inbound.request/later/' | kubectl apply -f -
await "$ARRIVE_SECONDS" "another policy is published beside it" is_published later Published
expect "it is another tier than at first" test "$first_hash" != "$(hash_of first)"
expect "every OPA activates the bundle with both" served_is_activated "$WORK/agent"

kubectl describe ap --namespace team-a first >"$WORK/described"
has "that it is accepted" 'Message: +this version passed every check' "$WORK/described"
has "where it is in force" 'Message: +this version is in the bundle of every identity of the namespace team-a' "$WORK/described"

# ---- Back to what was in force first ----

secctl bundle rollback --tier "$TIER" --to 1 --reason incident-17
await "$ARRIVE_SECONDS" "the author of the first is told" is_published first RolledBack
await "$ARRIVE_SECONDS" "the author of what was not there then is told" is_published later LeftOut
expect "what is in force has its hash" test "$first_hash" = "$(hash_of first)"
expect "what is left out has none" test -z "$(hash_of later)"
expect "every OPA activates the bundle that is rolled back" served_is_activated "$WORK/agent"
expect "nothing is wrong with it" status_is team-a first Accepted True

kubectl get ap --namespace team-a -o wide >"$WORK/wide"
has "the version in force, who chose it and why" \
    "^first +namespace +True +False +$first_hash +this version passed every check +version [0-9a-f]{12} is in the bundle of every identity of the namespace team-a instead of this one, rolled back by .*incident-17; " \
    "$WORK/wide"
has "the warning beside it" '^first .* version [0-9a-f]{12} was chosen instead of the newest, .*incident-17 \(pinned\); release it with ' "$WORK/wide"
has "what is left out" '^later +namespace +True +False .*this version passed every check +nothing of it is in any bundle, left out by .*incident-17; ' \
    "$WORK/wide"

kubectl describe ap --namespace team-a first >"$WORK/described"
has "that it is rolled back" 'Reason: +RolledBack' "$WORK/described"
has "how that ends" 'secctl bundle release' "$WORK/described"
has "the warning" 'Reason: +Pinned' "$WORK/described"
kubectl describe ap --namespace team-a later >"$WORK/described"
has "that it is left out" 'Reason: +LeftOut' "$WORK/described"

# ---- Released ----

secctl bundle release --tier "$TIER" --reason over
await "$ARRIVE_SECONDS" "the newest version counts" is_published first Published
await "$ARRIVE_SECONDS" "what was left out is back" is_published later Published
expect "every OPA activates the bundle that is released" served_is_activated "$WORK/agent"
expect "there is nothing to warn of" test -z "$(condition team-a first Warning status)"
