# identity: spiffe://example.org/ns/travel/sa/booking
package authbridge_test.envoy

import data.envoy.authz

planner := "spiffe://example.org/ns/travel/sa/planner"

check(direction, principal, body) := {
	"attributes": {
		"source": {"principal": principal},
		"request": {"http": {
			"method": "POST",
			"path": "/?x=1",
			"host": "booking.travel.svc.cluster.local",
			"headers": {"authorization": "Bearer secret", "content-type": "application/json"},
		}},
		"contextExtensions": {"direction": direction},
	},
	"parsed_body": body,
	"truncated_body": false,
}

message := {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {}}

test_allows_what_the_policies_allow if {
	authz.allow == {"allowed": true} with input as check("inbound", planner, message)
}

test_denies_with_the_reason_of_the_policies if {
	denied := authz.allow with input as check("inbound", "spiffe://example.org/ns/travel/sa/front-desk", message)
	denied.allowed == false
	denied.http_status == 403
	denied.body == "client policy: only the planner calls booking"
}

test_denies_without_a_verified_peer if {
	every principal in ["", "CN=planner", "example.org/ns/travel/sa/planner"] {
		answer := authz.allow with input as check("inbound", principal, message)
		answer.allowed == false
	}
}

test_denies_every_call_of_booking if {
	answer := authz.allow with input as check("outbound", planner, message)
	answer.allowed == false
	answer.body == "client policy: booking answers; it calls nobody"
}

test_denies_what_it_does_not_understand if {
	every request in [{}, {"attributes": {}}, check("sideways", planner, message), check(null, planner, message)] {
		answer := authz.allow with input as request
		answer.allowed == false
	}
	truncated := object.union(check("inbound", planner, message), {"truncated_body": true})
	answer := authz.allow with input as truncated
	answer.allowed == false
}

test_hides_secrets if {
	request := authz.request with input as check("inbound", planner, message)
	request.headers == {"content-type": "application/json"}
	request.path == "/"
}

test_tells_mcp_and_inference_apart if {
	call := {"method": "tools/call", "params": {"name": "transfer", "arguments": {"amount": 1}}}
	mcp := authz.request with input as check("inbound", planner, call)
	mcp.mcp == {"method": "tools/call", "params": {"name": "transfer"}}
	asked := {"model": "m", "max_tokens": 1, "messages": ["secret"]}
	inference := authz.request with input as check("inbound", planner, asked)
	inference.inference == {"model": "m", "max_tokens": 1}
}
