# identity: spiffe://example.org/ns/team-blue/sa/dropbox
package authbridge_test.team_isolation.blue_dropbox

import data.authbridge.inbound.request as inbound
import data.authbridge.outbound.request as outbound

incoming(method, caller) := {
	"direction": "inbound",
	"method": method,
	"path": "/",
	"host": "dropbox.team-blue.svc.cluster.local",
	"headers": {},
	"peer": {"spiffe_id": caller},
}

reviewer := "spiffe://example.org/ns/team-blue/sa/reviewer"

writer := "spiffe://example.org/ns/team-red/sa/writer"

test_allows_the_team if {
	inbound.allow with input as incoming("POST", reviewer)
}

test_denies_the_other_team_although_the_client_policy_would_not if {
	inbound.allow == false with input as incoming("POST", writer)
	inbound.reason == "namespace policy: the caller is not of team blue" with input as incoming("POST", writer)
}

test_keeps_the_narrowing_of_the_client_policy if {
	inbound.reason == "client policy: the dropbox only takes things in" with input as incoming("GET", reviewer)
}

test_denies_nobody if {
	not inbound.allow with input as object.remove(incoming("POST", ""), ["peer"])
}

test_leaves_outbound_to_the_namespace if {
	outbound.allow with input as {"method": "POST", "host": "reviewer.team-blue.svc.cluster.local"}
	not outbound.allow with input as {"method": "POST", "host": "analyst.team-red.svc.cluster.local"}
}
