# identity: spiffe://example.org/ns/travel/sa/front-desk
#
# The front desk has no client policy: the namespace policy alone decides for it.
package authbridge_test.agent_to_agent.front_desk

import data.authbridge.inbound.request as inbound
import data.authbridge.outbound.request as outbound

test_allows_agents_of_the_namespace if {
	inbound.allow with input as {"peer": {"spiffe_id": "spiffe://example.org/ns/travel/sa/planner"}}
	inbound.allow with input as {"identity": {"subject": "spiffe://example.org/ns/travel/sa/planner"}}
}

test_denies_others if {
	every caller in [
		"spiffe://example.org/ns/travel-2/sa/planner",
		"spiffe://example.com/ns/travel/sa/planner",
		"spiffe://example.org/ns/travel",
		"spiffe://example.org/ns/travel/job/planner",
		"x spiffe://example.org/ns/travel/sa/planner",
		"",
		null,
		7,
	] {
		not inbound.allow with input as {"peer": {"spiffe_id": caller}}
		not inbound.allow with input as {"identity": {"subject": caller}}
	}
	not inbound.allow with input as {}
}

test_says_why if {
	inbound.reason == "namespace policy: the caller is no agent of the namespace travel" with input as {}
}

test_allows_hosts_of_the_namespace if {
	outbound.allow with input as {"host": "planner.travel.svc.cluster.local:8000"}
	not outbound.allow with input as {"host": "planner.hotels.svc.cluster.local"}
	not outbound.allow with input as {"host": "evil.example:1.travel.svc.cluster.local"}
	not outbound.allow with input as {"host": "planner.travel.svc.cluster.local.evil.example"}
	not outbound.allow with input as {}
}
