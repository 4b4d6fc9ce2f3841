# shellcheck shell=bash
# A stock OPA with the planner's certificate gets the planner's bundle, and asks for booking's in vain.

# shellcheck source=../stack.sh
source "${BASH_SOURCE[0]%/*}/../stack.sh"
# shellcheck source=../opa.sh
source "${BASH_SOURCE[0]%/*}/../opa.sh"

PLANNER=spiffe://$TRUST_DOMAIN/ns/travel/sa/planner
BOOKING=spiffe://$TRUST_DOMAIN/ns/travel/sa/booking
# Words that are in booking's policies and in no one else's.
BOOKINGS_WORDS="only the planner calls booking"

was_refused() { [[ $(status_of opa stolen http_code) == 403 ]]; }
says() { [[ $1 == *"$2"* ]]; }
says_not() { [[ $1 != *"$2"* ]]; }

start_ca
start_bundle_service "$REPOSITORY/policies"
expect "booking's policies have words of their own" grep -qrF -- "$BOOKINGS_WORDS" "$REPOSITORY/policies"
secctl svid issue --spiffe-id "$PLANNER" --out "$WORK/planner"

# The control: the same certificate gets its own bundle, named in the same way.
start_opa opa "$WORK/planner" "own=bundles?spiffe=$PLANNER" "stolen=bundles?spiffe=$BOOKING"
await "$START_SECONDS" "OPA has activated the planner's bundle" is_active opa own
expect "the oldest does, too" served_is_activated "$WORK/planner"
await "$START_SECONDS" "booking's bundle is refused with 403" was_refused

expect "OPA's log says so" grep -q 'server replied with Forbidden' "$WORK/opa.log"
expect "booking's bundle was never active" test -z "$(revision_of opa stolen)"
policies=$(ask opa /v1/policies)
expect "OPA holds the planner's policies" says "$policies" "only the front desk calls the planner"
expect "OPA holds nothing of booking's" says_not "$policies" "$BOOKINGS_WORDS"
