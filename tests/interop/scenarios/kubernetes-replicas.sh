# shellcheck shell=bash
# Two replicas on one API server: one of them writes statuses, the other takes over when it dies, and they never undo
# each other's work.
# seconds: 600

# shellcheck source=../stack.sh
source "${BASH_SOURCE[0]%/*}/../stack.sh"
# shellcheck source=../kubernetes.sh
source "${BASH_SOURCE[0]%/*}/../kubernetes.sh"

LEASE=secplane-bundle-service

start_all_of_kubernetes
policy team-a good namespace true | kubectl apply -f -
policy team-a bad client 'no_such(1)' | kubectl apply -f -

for name in one two; do
    start_replica "$name" "data_dir: $WORK/$name" "admin_socket: $WORK/$name.sock"
done
await "$ARRIVE_SECONDS" "the first is ready" health one
await "$ARRIVE_SECONDS" "the second is ready" health two
kubectl wait --for condition=Accepted --timeout "${ARRIVE_SECONDS}s" --namespace team-a ap/good
kubectl wait --for condition=Accepted=False --timeout "${ARRIVE_SECONDS}s" --namespace team-a ap/bad

holder() { kubectl get lease --namespace "$SYSTEM" "$LEASE" -o 'jsonpath={.spec.holderIdentity}'; }
# writes NAME: whether a replica says that it writes.
writes() { grep -q 'this replica writes statuses now' "$WORK/$1.log"; }

if writes one; then writer=one other=two; else writer=two other=one; fi
expect "one of them writes" writes "$writer"
if writes "$other"; then fail "both write"; fi
await "$ARRIVE_SECONDS" "one Event tells of the refusal" has_events team-a bad Refused 1

# Nobody writes what stands there.
version=$(kubectl get ap -n team-a bad -o 'jsonpath={.metadata.resourceVersion}')
managers=$(kubectl get ap -n team-a bad --show-managed-fields \
    -o 'jsonpath={.metadata.managedFields[?(@.subresource=="status")].manager}')
expect "one manager has the status" test "$managers" = secplane-bundle-service
sleep 5
expect "the status is left alone" test "$version" = \
    "$(kubectl get ap -n team-a bad -o 'jsonpath={.metadata.resourceVersion}')"

# Both serve the same bytes.
secctl svid issue --spiffe-id "spiffe://$TRUST_DOMAIN/ns/team-a/sa/agent" --out "$WORK/agent"
for name in one two; do
    use "$name"
    secctl bundle pull --bundle-service "$BUNDLE_SERVICE" --svid-dir "$WORK/agent" --out "$WORK/$name.tar.gz"
done
expect "both serve the same bundle" cmp "$WORK/one.tar.gz" "$WORK/two.tar.gz"
expect "every OPA activates it" activates "$WORK/one.tar.gz" "$WORK/two.tar.gz"

# What an administrator chose on one of them is told by that one: the status is the writer's.
policy team-a good namespace false | kubectl apply -f -
await "$ARRIVE_SECONDS" "the second version is published" settled team-a good Published True
at_other() { secctl bundle "$@" --bundle-admin-socket "$WORK/$other.sock" --tier namespace/team-a; }
# differs NAME: whether a replica says that it serves something else than the status tells.
differs() { health_says "$1" "served otherwise here than their status says, the first is team-a/good"; }
agrees() { ! differs "$1"; }
at_other rollback --to 1 --reason incident-17
await 120 "an Event tells that the replicas differ" has_events team-a good ReplicasDiffer 1
await "$ARRIVE_SECONDS" "the one that was rolled back says so" differs "$other"
expect "the status is the writer's" status_is team-a good Published True
expect "the writer has nothing to say" agrees "$writer"
kubectl describe ap --namespace team-a good >"$WORK/described"
expect "its author reads who chose it and why" grep -q 'ReplicasDiffer.*incident-17' "$WORK/described"
at_other release --reason over
await 120 "they are at one again" agrees "$other"

# The writer dies; the other one goes on where it was.
before=$(holder)
crash "$writer"
policy team-a bad client true | kubectl apply -f -
await "$ARRIVE_SECONDS" "the other one writes" settled team-a bad Accepted True
expect "it says so" writes "$other"
expect "the lease has changed hands" test "$before" != "$(holder)"
await "$ARRIVE_SECONDS" "the author is told" has_events team-a bad Recovered 1
expect "what was told is not told again" has_events team-a bad Refused 1
use "$other"
expect "every OPA activates what it publishes alone" served_is_activated "$WORK/agent"

# One that ends gives the lease back at once.
start_replica three
await "$ARRIVE_SECONDS" "a third is ready" health three
before=$(holder)
stop "$other"
expect "the lease is given back before it would have run out" test "$before" != "$(holder)"
policy team-a good namespace 'no_such(1)' | kubectl apply -f -
await "$ARRIVE_SECONDS" "the third writes" settled team-a good Accepted False
use three
expect "every OPA activates what the third publishes" served_is_activated "$WORK/agent"
