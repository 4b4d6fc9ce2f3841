# identity: spiffe://example.org/ns/vault/sa/keeper
package authbridge_test.break_glass

import data.authbridge.inbound.request as inbound

oncall := "spiffe://example.org/ns/operations/sa/oncall-primary"

emergency := [{
	"operators": [oncall],
	"begin": "2026-11-20T12:00:00Z",
	"end": "2026-11-20T14:00:00Z",
	"ticket": "OPS-17",
}]

during := time.parse_rfc3339_ns("2026-11-20T13:00:00Z")

test_lets_the_operator_in_during_an_emergency if {
	inbound.allow with input as {"peer": {"spiffe_id": oncall}}
		with data.authbridge.ns.emergencies as emergency
		with time.now_ns as during
}

test_denies_the_operator_without_one if {
	not inbound.allow with input as {"peer": {"spiffe_id": oncall}} with time.now_ns as during
}

test_takes_no_token_in_an_emergency if {
	not inbound.allow with input as {"identity": {"subject": oncall}}
		with data.authbridge.ns.emergencies as emergency
		with time.now_ns as during
}

test_denies_colleagues_of_the_keeper if {
	colleague := {"peer": {"spiffe_id": "spiffe://example.org/ns/vault/sa/clerk"}}
	not inbound.allow with input as colleague with data.authbridge.ns.emergencies as emergency with time.now_ns as during
	inbound.reason == "client policy: the keeper is called by nobody" with input as colleague
}
