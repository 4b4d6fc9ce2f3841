# identity: spiffe://example.org/ns/travel/sa/planner
package authbridge_test.agent_to_agent.planner

import data.authbridge.inbound.request as inbound
import data.authbridge.outbound.request as outbound
import data.authbridge.outbound.response as outbound_response

incoming(caller) := {
	"direction": "inbound",
	"method": "POST",
	"path": "/",
	"host": "planner.travel.svc.cluster.local",
	"headers": {},
	"peer": {"spiffe_id": caller},
	"a2a": {"method": "SendMessage"},
}

outgoing(host) := {
	"direction": "outbound",
	"method": "POST",
	"path": "/",
	"host": host,
	"headers": {},
	"a2a": {"method": "SendMessage"},
}

test_allows_the_way_to_booking if {
	outbound.allow with input as outgoing("booking.travel.svc.cluster.local")
	outbound.allow with input as outgoing("booking.travel.svc.cluster.local:8000")
}

test_lets_the_answer_of_booking_in if {
	answer := {"response": {"status_code": 200, "headers": {}}}
	outbound_response.allow with input as object.union(outgoing("booking.travel.svc.cluster.local"), answer)
	not outbound_response.allow with input as object.union(outgoing("front-desk.travel.svc.cluster.local"), answer)
}

test_denies_the_way_to_others if {
	every host in [
		"front-desk.travel.svc.cluster.local",
		"booking.travel.svc.cluster.local.evil.example",
		"booking.hotels.svc.cluster.local",
		"evil.example",
		"evil.example:booking.travel.svc.cluster.local",
		"",
	] {
		not outbound.allow with input as outgoing(host)
	}
	not outbound.allow with input as object.remove(outgoing(""), ["host"])
}

test_says_which_tiers_object if {
	both := "namespace policy: the host is not in the namespace travel; client policy: the planner calls only booking"
	outbound.reason == both with input as outgoing("evil.example")
	only := "client policy: the planner calls only booking"
	outbound.reason == only with input as outgoing("front-desk.travel.svc.cluster.local")
}

test_allows_the_front_desk if {
	inbound.allow with input as incoming("spiffe://example.org/ns/travel/sa/front-desk")
}

test_denies_booking if {
	expected := "client policy: only the front desk calls the planner"
	inbound.allow == false with input as incoming("spiffe://example.org/ns/travel/sa/booking")
	inbound.reason == expected with input as incoming("spiffe://example.org/ns/travel/sa/booking")
}

test_denies_nobody if {
	not inbound.allow with input as object.remove(incoming(""), ["peer"])
	not inbound.allow with input as {}
}
