# shellcheck shell=bash
# With a lifetime for bundles, an OPA that gets no new one denies everything once its own has ended, says why, and decides
# again when the service is back: the newest OPA and the oldest.
# seconds: 600
# mostly waits

# shellcheck source=../stack.sh
source "${BASH_SOURCE[0]%/*}/../stack.sh"
# shellcheck source=../opa.sh
source "${BASH_SOURCE[0]%/*}/../opa.sh"

BOOKING=spiffe://$TRUST_DOMAIN/ns/travel/sa/booking
# The shortest that the service takes. A bundle has at least half of it left when it is made.
LIFETIME_SECONDS=60
# OPA waits the longer the more tries have failed, up to two minutes.
RETRIED_SECONDS=180
STALE='"the policy bundle is out of date, and no newer one has arrived"'

from_planner=$REPOSITORY/policies/agent-to-agent/inputs/planner-calls-booking.json
echo '{}' >"$WORK/anything.json"

# ends_at OPA: until when the bundle may be used that it decides by, in seconds since 1970.
ends_at() {
    local end
    end=$(ask "$1" /v1/data/system/bundles/authz/manifest/metadata/not_after |
        opa eval --stdin-input --format raw input.result)
    [[ $end =~ ^[0-9]+$ ]] || fail "$1 has a bundle that ends at: $end" >&2
    echo "$end"
}
allows() { decides "$1" inbound/request/allow "$from_planner" true; }
# has_another_end OPA END
has_another_end() { (($(ends_at "$1") > $2)); }
# allows_until OPA END: before its end a bundle decides as ever.
allows_until() { allows "$1" || (($(date +%s) >= $2)); }

start_ca
configure_bundle_service "{directory: $REPOSITORY/policies}" "bundle_lifetime: ${LIFETIME_SECONDS}s"
# The sidecars know the service by its address, which is its own also while it is gone.
sed -i "s/^listen: .*/listen: 127.0.0.1:$(free_port)/" "$WORK/bundle-service.yaml"
register_service
serve_bundles
secctl svid issue --spiffe-id "$BOOKING" --out "$WORK/booking"
start_opa newest "$WORK/booking" authz=bundles/self.tar.gz
start_oldest_opa oldest "$WORK/booking" authz=bundles/self.tar.gz

# While the service is there a new bundle comes before the old one has ended.
for opa in newest oldest; do
    await "$START_SECONDS" "$opa has activated its bundle" is_active "$opa" authz
    await "$START_SECONDS" "$opa decides by it" allows "$opa"
    end=$(ends_at "$opa")
    expect "its end is within the lifetime" test "$end" -le $(($(date +%s) + LIFETIME_SECONDS))
    await "$LIFETIME_SECONDS" "$opa has one that ends later" has_another_end "$opa" "$end"
    expect "$opa decides by that" allows "$opa"
done

stop bundle-service
declare -A ends=()
for opa in newest oldest; do
    ends[$opa]=$(ends_at "$opa")
    expect "$opa decides on without the service" allows_until "$opa" "${ends[$opa]}"
done
for opa in newest oldest; do
    await $((LIFETIME_SECONDS + START_SECONDS)) "$opa denies by an old bundle, and says why" \
        decides "$opa" inbound/request/reason "$from_planner" "$STALE"
    expect "$opa does not before the bundle's end" test "$(date +%s)" -ge "${ends[$opa]}"
    for point in inbound/request inbound/response outbound/request outbound/response; do
        for input in "$from_planner" "$WORK/anything.json"; do
            expect "$opa denies at $point" decides "$opa" "$point/allow" "$input" false
            expect "$opa says why at $point" decides "$opa" "$point/reason" "$input" "$STALE"
        done
    done
done

serve_bundles
for opa in newest oldest; do
    await "$RETRIED_SECONDS" "$opa decides again once the service is back" allows "$opa"
done
