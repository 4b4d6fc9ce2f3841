# shellcheck shell=bash
# A stock OPA with an SVID's files pulls the bundle of that identity over mutual TLS, decides by it, and has the new
# one moments after somebody edited a policy: the newest OPA and the oldest.

# shellcheck source=../stack.sh
source "${BASH_SOURCE[0]%/*}/../stack.sh"
# shellcheck source=../opa.sh
source "${BASH_SOURCE[0]%/*}/../opa.sh"

BOOKING=spiffe://$TRUST_DOMAIN/ns/travel/sa/booking
EXAMPLE=agent-to-agent
PUSHED_SECONDS=20

cp -r -- "$REPOSITORY/policies" "$WORK/policies"
from_planner=$WORK/policies/$EXAMPLE/inputs/planner-calls-booking.json
to_planner=$WORK/policies/$EXAMPLE/inputs/booking-sends-to-planner.json
from_front_desk=$WORK/front-desk-calls-booking.json
sed 's|/sa/planner"|/sa/front-desk"|' "$from_planner" >"$from_front_desk"

# decides_by_the_policies OPA
decides_by_the_policies() {
    local opa=$1 point
    await "$START_SECONDS" "$opa has activated its bundle" is_active "$opa" authz
    expect "$opa: the planner may call booking" decides "$opa" inbound/request/allow "$from_planner" true
    expect "$opa: the front desk may not call booking" decides "$opa" inbound/request/allow "$from_front_desk" false
    expect "$opa: a denial has its reason" decides "$opa" inbound/request/reason "$from_front_desk" \
        '"client policy: only the planner calls booking"'
    expect "$opa: booking may not call the planner" decides "$opa" outbound/request/allow "$to_planner" false
    for point in inbound/request inbound/response outbound/request outbound/response; do
        expect "$opa: $point is decided for any input" decides "$opa" "$point/allow" <(echo '{}') false
    done
}

start_ca
start_bundle_service "$WORK/policies"
secctl svid issue --spiffe-id "$BOOKING" --out "$WORK/booking"
start_opa newest "$WORK/booking" authz=bundles/self.tar.gz
start_oldest_opa oldest "$WORK/booking" authz=bundles/self.tar.gz
for opa in newest oldest; do decides_by_the_policies "$opa"; done
expect "they are two versions" test "$(version_of newest)" != "$(version_of oldest)"
first_revision=$(revision_of newest authz)
expect "both have the same bundle" test "$first_revision" = "$(revision_of oldest authz)"

# Somebody writes that the front desk calls booking, and the planner no longer does.
manifest=$WORK/policies/$EXAMPLE/booking.yaml
sed 's|/sa/planner"|/sa/front-desk"|' "$manifest" >"$WORK/edited.yaml"
if cmp --silent "$manifest" "$WORK/edited.yaml"; then fail "the edit changes nothing in $manifest"; fi
mv -- "$WORK/edited.yaml" "$manifest"
for opa in newest oldest; do
    await "$PUSHED_SECONDS" "$opa: the edit decides" decides "$opa" inbound/request/allow "$from_front_desk" true
    expect "$opa: what the edit took away is gone" decides "$opa" inbound/request/allow "$from_planner" false
    expect "$opa: another bundle has another revision" test "$first_revision" != "$(revision_of "$opa" authz)"
done
