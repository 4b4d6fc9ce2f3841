# shellcheck shell=bash
# Workloads on the official Go library get their identity from the Workload API, speak mutual TLS with one another,
# and go on doing so while their SVIDs are replaced. The kernel tells them apart by their executables.

# shellcheck source=../stack.sh
source "${BASH_SOURCE[0]%/*}/../stack.sh"

TTL_SECONDS=8
ROTATIONS=2

id_of() { echo "spiffe://$TRUST_DOMAIN/ns/interop/sa/$1"; }

# employ NAME: a copy of the workload with a name, and so a path, of its own.
employ() { cp -- "$WORKLOAD" "$WORK/$1"; }

start_ca
root=$(secctl ca fingerprint)
for name in caller callee intruder; do
    employ "$name"
    register "$(id_of "$name")" --selector "unix:path:$WORK/$name" --ttl "${TTL_SECONDS}s"
    expect "$name is told who it is and whom to trust" test "$("$WORK/$name" whoami)" = "$(id_of "$name") $root"
done

employ stranger
refused "an identity for a process that nobody registered" 'PermissionDenied desc = no identity issued' \
    "$WORK/stranger" whoami

start callee "$WORK/callee" serve "$(id_of caller)"
await "$START_SECONDS" "the callee listens" grep -q '^listening' "$WORK/callee.out"
address=$(sed -n 's/^listening //p' "$WORK/callee.out")

refused "a server with another SPIFFE ID" 'unexpected ID' "$WORK/caller" call "$address" "$(id_of intruder)" 0
refused "a client with another SPIFFE ID" 'bad certificate' "$WORK/intruder" call "$address" "$(id_of callee)" 0
expect "the callee names whom it refused" grep -q "unexpected ID \"$(id_of intruder)\"" "$WORK/callee.log"

started=$SECONDS
"$WORK/caller" call "$address" "$(id_of callee)" "$ROTATIONS" | tee "$WORK/caller.out"
# An authority that replaces SVIDs without end would rotate too.
expect "$ROTATIONS rotations take a good part of the SVIDs' life" \
    test $((SECONDS - started)) -ge $((ROTATIONS * TTL_SECONDS / 8))
