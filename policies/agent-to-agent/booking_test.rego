# identity: spiffe://example.org/ns/travel/sa/booking
package authbridge_test.agent_to_agent.booking

import data.authbridge.inbound.request as inbound
import data.authbridge.inbound.response as inbound_response
import data.authbridge.outbound.request as outbound
import data.authbridge.outbound.response as outbound_response

planner := "spiffe://example.org/ns/travel/sa/planner"

front_desk := "spiffe://example.org/ns/travel/sa/front-desk"

incoming(method) := {
	"direction": "inbound",
	"method": "POST",
	"path": "/",
	"host": "booking.travel.svc.cluster.local",
	"headers": {"content-type": "application/json"},
	"a2a": {"method": method, "role": "user"},
}

from_peer(caller, method) := object.union(incoming(method), {"peer": {"spiffe_id": caller}})

with_token(subject, method) := object.union(incoming(method), {"identity": {"subject": subject}})

card(caller) := {
	"direction": "inbound",
	"method": "GET",
	"path": "/.well-known/agent-card.json",
	"host": "booking.travel.svc.cluster.local",
	"headers": {},
	"peer": {"spiffe_id": caller},
}

test_allows_the_planner if {
	every method in ["SendMessage", "SendStreamingMessage", "GetTask", "CancelTask", "message/send", "tasks/get"] {
		inbound.allow with input as from_peer(planner, method)
	}
}

test_allows_the_planner_by_its_token if {
	inbound.allow with input as with_token(planner, "SendMessage")
}

test_allows_the_planner_to_read_the_card if {
	inbound.allow with input as card(planner)
}

test_denies_other_agents_of_the_namespace if {
	not inbound.allow with input as from_peer(front_desk, "SendMessage")
	not inbound.allow with input as card(front_desk)
	not inbound.allow with input as with_token(front_desk, "SendMessage")
}

test_says_who_may_call if {
	expected := "client policy: only the planner calls booking"
	inbound.reason == expected with input as from_peer(front_desk, "SendMessage")
	both := concat("; ", ["namespace policy: the caller is no agent of the namespace travel", expected])
	inbound.reason == both with input as incoming("SendMessage")
}

test_denies_the_planner_of_another_namespace_or_trust_domain if {
	every caller in [
		"spiffe://example.org/ns/travel-2/sa/planner",
		"spiffe://example.com/ns/travel/sa/planner",
		"spiffe://example.org.evil/ns/travel/sa/planner",
		"spiffe://example.org/ns/travel/sa/planner/x",
		"spiffe://example.org/ns/travel/sa/planner2",
		"example.org/ns/travel/sa/planner",
	] {
		not inbound.allow with input as from_peer(caller, "SendMessage")
	}
}

test_denies_other_methods_of_the_planner if {
	every method in ["CreateTaskPushNotificationConfig", "tasks/pushNotificationConfig/set", "sendmessage", "", null] {
		not inbound.allow with input as from_peer(planner, method)
		inbound.reason with input as from_peer(planner, method)
	}
	not inbound.allow with input as object.remove(from_peer(planner, "SendMessage"), ["a2a"])
	not inbound.allow with input as object.union(card(planner), {"method": "POST"})
	not inbound.allow with input as object.union(card(planner), {"path": "/.well-known/agent-card.json/../admin"})
}

test_denies_nobody if {
	not inbound.allow with input as incoming("SendMessage")
	not inbound.allow with input as {}
	not inbound.allow with input as from_peer(null, "SendMessage")
	not inbound.allow with input as from_peer("", "SendMessage")
	not inbound.allow with input as with_token(null, "SendMessage")
}

test_believes_the_certificate_over_a_token if {
	stolen := object.union(from_peer(front_desk, "SendMessage"), {"identity": {"subject": planner}})
	not inbound.allow with input as stolen
}

test_denies_every_call_of_booking if {
	expected := "client policy: booking answers; it calls nobody"
	every host in ["planner.travel.svc.cluster.local", "planner.travel.svc.cluster.local:8000"] {
		not outbound.allow with input as {"direction": "outbound", "method": "POST", "path": "/", "host": host}
		outbound.reason == expected with input as {"direction": "outbound", "host": host}
	}
}

test_lets_the_answer_go_back_to_the_planner_alone if {
	answer := {"response": {"status_code": 200, "headers": {"content-type": "application/json"}}}
	inbound_response.allow with input as object.union(from_peer(planner, "SendMessage"), answer)
	not inbound_response.allow with input as object.union(from_peer(front_desk, "SendMessage"), answer)
	not outbound_response.allow with input as object.union({"host": "planner.travel.svc.cluster.local"}, answer)
}
