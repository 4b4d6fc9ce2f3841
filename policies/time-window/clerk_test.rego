# identity: spiffe://example.org/ns/payroll/sa/clerk
package authbridge_test.time_window

import data.authbridge.inbound.request as inbound
import data.authbridge.inbound.response as answer

colleague := {"peer": {"spiffe_id": "spiffe://example.org/ns/payroll/sa/scheduler"}}

friday_noon := time.parse_rfc3339_ns("2026-11-20T12:00:00+01:00")

saturday_noon := time.parse_rfc3339_ns("2026-11-21T12:00:00+01:00")

test_allows_colleagues_in_working_hours if {
	inbound.allow with input as colleague with time.now_ns as friday_noon
}

test_denies_colleagues_when_closed if {
	not inbound.allow with input as colleague with time.now_ns as saturday_noon
	inbound.reason == "namespace policy: payroll is closed now" with input as colleague
		with time.now_ns as saturday_noon
}

test_denies_strangers_at_any_time if {
	every caller in ["spiffe://example.org/ns/payroll-2/sa/x", "spiffe://other.org/ns/payroll/sa/x", "", null] {
		not inbound.allow with input as {"peer": {"spiffe_id": caller}} with time.now_ns as friday_noon
	}
	inbound.reason == "namespace policy: the caller is no agent of the namespace payroll" with input as {}
		with time.now_ns as friday_noon
}

test_answers_what_was_let_in if {
	answer.allow with input as colleague with time.now_ns as saturday_noon
}

# A calendar that is wrong opens nothing.
test_denies_by_a_broken_calendar if {
	not inbound.allow with input as colleague
		with time.now_ns as friday_noon
		with data.authbridge.ns.calendar as object.union(data.authbridge.ns.calendar, {"zone": "Nowhere/Nothing"})
	not inbound.allow with input as colleague
		with time.now_ns as friday_noon
		with data.authbridge.ns.calendar as object.remove(data.authbridge.ns.calendar, ["holidays"])
	not inbound.allow with input as colleague
		with time.now_ns as friday_noon
		with data.authbridge.ns.calendar as {}
}
