# identity: spiffe://example.org/ns/unknown/sa/nobody
#
# Nobody wrote a policy for this identity, so every test says itself what the tiers hold.
package authbridge_test.global

import data.authbridge.inbound.request as inbound_request
import data.authbridge.inbound.response as inbound_response
import data.authbridge.outbound.request as outbound_request
import data.authbridge.outbound.response as outbound_response

decision_points := [inbound_request, inbound_response, outbound_request, outbound_response]

allowing := {"allow": true}

denying := {"allow": false, "reason": "not today"}

# Nothing is allowed that no tier allows.

test_denies_without_any_policy if {
	every decision in decision_points {
		decision.allow == false
		decision.reason == "no namespace or client policy applies, so nothing is allowed"
	}
}

test_denies_where_the_tiers_do_not_speak if {
	not outbound_request.allow with data.authbridge.ns.inbound.request as allowing
	not outbound_response.allow with data.authbridge.ns.inbound.request as allowing
	not inbound_request.allow with data.authbridge.ns.outbound.request as allowing
	not inbound_request.allow with data.authbridge.ns.inbound.response as allowing
}

# Each decision point reads both tiers.

test_allows_what_the_namespace_allows if {
	inbound_request.allow with data.authbridge.ns.inbound.request as allowing
	inbound_response.allow with data.authbridge.ns.inbound.response as allowing
	outbound_request.allow with data.authbridge.ns.outbound.request as allowing
	outbound_response.allow with data.authbridge.ns.outbound.response as allowing
}

test_allows_what_the_client_allows if {
	inbound_request.allow with data.authbridge.client.inbound.request as allowing
	inbound_response.allow with data.authbridge.client.inbound.response as allowing
	outbound_request.allow with data.authbridge.client.outbound.request as allowing
	outbound_response.allow with data.authbridge.client.outbound.response as allowing
}

test_needs_both_tiers_where_both_speak if {
	every tiers in [
		{"ns": allowing, "client": denying},
		{"ns": denying, "client": allowing},
		{"ns": denying, "client": denying},
	] {
		not inbound_request.allow with data.authbridge.ns.inbound.request as tiers.ns
			with data.authbridge.client.inbound.request as tiers.client
		not inbound_response.allow with data.authbridge.ns.inbound.response as tiers.ns
			with data.authbridge.client.inbound.response as tiers.client
		not outbound_request.allow with data.authbridge.ns.outbound.request as tiers.ns
			with data.authbridge.client.outbound.request as tiers.client
		not outbound_response.allow with data.authbridge.ns.outbound.response as tiers.ns
			with data.authbridge.client.outbound.response as tiers.client
	}
}

test_allows_what_both_tiers_allow if {
	inbound_request.allow with data.authbridge.ns.inbound.request as allowing
		with data.authbridge.client.inbound.request as allowing
}

# A denial carries the reason of the tier that denied.

test_names_the_tier_that_denied if {
	inbound_request.reason == "namespace policy: not today" with data.authbridge.ns.inbound.request as denying
		with data.authbridge.client.inbound.request as allowing
	outbound_response.reason == "client policy: not today" with data.authbridge.ns.outbound.response as allowing
		with data.authbridge.client.outbound.response as denying
}

test_gives_every_reason if {
	expected := "namespace policy: not today; client policy: not allowed, no reason given"
	inbound_request.reason == expected with data.authbridge.ns.inbound.request as denying
		with data.authbridge.client.inbound.request as {"allow": false}
}

test_takes_the_reason_inside_a_verdict if {
	inbound_request.reason == "namespace policy: closed" with data.authbridge.ns.inbound.request as {"allow": {
		"allow": false,
		"reason": "closed",
	}}
}

test_takes_only_text_for_a_reason if {
	every reason in [["closed"], {"text": "closed"}, 3, true, null] {
		expected := "namespace policy: not allowed, no reason given"
		inbound_request.reason == expected with data.authbridge.ns.inbound.request as {"allow": false, "reason": reason}
		verdict := {"allow": false, "reason": reason}
		inbound_request.reason == expected with data.authbridge.ns.inbound.request as {"allow": verdict}
	}
}

test_gives_no_reason_for_an_allowance if {
	not inbound_request.reason with data.authbridge.ns.inbound.request as {"allow": true, "reason": "unused"}
}

# `allow` is a boolean, or an object whose `allow` is one.

test_accepts_a_verdict_object if {
	inbound_request.allow with data.authbridge.ns.inbound.request as {"allow": {"allow": true}}
}

test_rejects_what_is_only_truthy if {
	every verdict in ["true", "", 1, 0, null, {}, {"allow": "true"}, {"reason": "x"}, {"allow": {"allow": true}}, [true]] {
		not inbound_request.allow with data.authbridge.ns.inbound.request as {"allow": verdict}
	}
}

test_rejects_a_tier_without_a_verdict if {
	every tier in [{}, {"reason": "x"}, {"helper": {"allow": true}}, true, false, null, "allow", []] {
		not inbound_request.allow with data.authbridge.ns.inbound.request as tier
			with data.authbridge.client.inbound.request as allowing
		not inbound_request.allow with data.authbridge.ns.inbound.request as allowing
			with data.authbridge.client.inbound.request as tier
	}
}

# A deny rule stands against every allow and every override.

test_denies_first if {
	every tiers in [
		{"ns": {"allow": true, "override": true, "deny": {"too late"}}, "client": allowing},
		{"ns": {"allow": true, "override": true}, "client": {"allow": true, "deny": {"too late"}}},
	] {
		not inbound_request.allow with data.authbridge.ns.inbound.request as tiers.ns
			with data.authbridge.client.inbound.request as tiers.client
	}
}

test_gives_the_reasons_of_deny_rules if {
	expected := "namespace policy: too late; namespace policy: too loud; client policy: forbidden, no reason given"
	inbound_request.reason == expected with data.authbridge.ns.inbound.request as {"deny": {"too loud", "too late"}}
		with data.authbridge.client.inbound.request as {"allow": true, "deny": true}
	nameless := "namespace policy: forbidden, no reason given"
	inbound_request.reason == nameless with data.authbridge.ns.inbound.request as {"deny": {3}}
}

test_denies_whatever_the_deny_rule_holds if {
	every deny in [true, {"x"}, ["x"], {"why": "x"}, {3}, "x", "", 0, null] {
		not inbound_request.allow with data.authbridge.ns.inbound.request as {"allow": true, "deny": deny}
	}
}

test_passes_by_a_deny_rule_that_does_not_hold if {
	every deny in [false, set(), [], {}] {
		inbound_request.allow with data.authbridge.ns.inbound.request as {"allow": true, "deny": deny}
	}
}

# A namespace may speak for the clients in it.

test_lets_the_namespace_override_the_client if {
	inbound_request.allow with data.authbridge.ns.inbound.request as {"override": true}
		with data.authbridge.client.inbound.request as denying
}

test_rejects_an_override_that_is_not_true if {
	every override in [false, "true", 1, {}, {"override": true}] {
		not inbound_request.allow with data.authbridge.ns.inbound.request as {"override": override}
			with data.authbridge.client.inbound.request as allowing
	}
}

test_lets_no_client_override if {
	not inbound_request.allow with data.authbridge.ns.inbound.request as denying
		with data.authbridge.client.inbound.request as {"allow": true, "override": true}
}

# Where a client policy is required, its absence denies.

test_requires_a_client_policy if {
	expected := "the settings require a client policy and none applies"
	every tier in [allowing, {"override": true}] {
		inbound_request.reason == expected with data.authbridge.ns.inbound.request as tier
			with data.authbridge.settings.require_client_policy as true
		not inbound_request.allow with data.authbridge.ns.inbound.request as tier
			with data.authbridge.settings.require_client_policy as true
	}
}

test_is_satisfied_by_a_client_policy if {
	inbound_request.allow with data.authbridge.ns.inbound.request as allowing
		with data.authbridge.client.inbound.request as allowing
		with data.authbridge.settings.require_client_policy as true
	inbound_request.allow with data.authbridge.client.inbound.request as allowing
		with data.authbridge.settings.require_client_policy as true
}

test_requires_no_client_policy_by_default if {
	inbound_request.allow with data.authbridge.ns.inbound.request as allowing
		with data.authbridge.settings.require_client_policy as false
}

# A tier without a response policy answers with its request policy.

test_lets_a_response_follow_its_request if {
	inbound_response.allow with data.authbridge.ns.inbound.request as allowing
	outbound_response.allow with data.authbridge.client.outbound.request as allowing
	not inbound_response.allow with data.authbridge.ns.inbound.request as denying
	not outbound_response.allow with data.authbridge.client.outbound.request as denying
}

test_prefers_the_response_policy if {
	not inbound_response.allow with data.authbridge.ns.inbound.request as allowing
		with data.authbridge.ns.inbound.response as denying
	inbound_response.allow with data.authbridge.ns.inbound.request as denying
		with data.authbridge.ns.inbound.response as allowing
	not outbound_response.allow with data.authbridge.client.outbound.request as allowing
		with data.authbridge.client.outbound.response as denying
	outbound_response.allow with data.authbridge.client.outbound.request as denying
		with data.authbridge.client.outbound.response as allowing
}

test_mixes_nothing_of_the_two_policies_of_a_tier if {
	not inbound_response.allow with data.authbridge.ns.inbound.request as allowing
		with data.authbridge.ns.inbound.response as {"reason": "no verdict"}
	not outbound_response.allow with data.authbridge.client.outbound.request as allowing
		with data.authbridge.client.outbound.response as {"reason": "no verdict"}
}

test_lets_each_tier_follow_for_itself if {
	inbound_response.reason == "client policy: not today" with data.authbridge.ns.inbound.response as allowing
		with data.authbridge.client.inbound.request as denying
	outbound_response.reason == "namespace policy: not today" with data.authbridge.ns.outbound.request as denying
		with data.authbridge.client.outbound.response as allowing
}

test_lets_a_request_follow_no_response if {
	not inbound_request.allow with data.authbridge.ns.inbound.response as allowing
	not outbound_request.allow with data.authbridge.ns.outbound.response as allowing
}

# A bundle that says until when it may be used is not used after that.

bundles(not_after) := {"authz": {"manifest": {"roots": ["authbridge"], "metadata": {"not_after": not_after}}}}

decides_by_a_bundle_until(not_after) if {
	inbound_request.allow with data.authbridge.settings.require_fresh_bundle as true
		with data.system.bundles as bundles(not_after)
		with time.now_ns as 1000000000 * 1000000000
		with data.authbridge.ns.inbound.request as allowing
}

test_decides_by_a_bundle_that_is_fresh if {
	decides_by_a_bundle_until(1000000001)
}

test_denies_by_a_bundle_that_is_out_of_date if {
	not decides_by_a_bundle_until(1000000000)
	not decides_by_a_bundle_until(999999999)
	not decides_by_a_bundle_until("for ever")
	not decides_by_a_bundle_until(null)
}

test_says_that_the_bundle_is_out_of_date if {
	expected := "the policy bundle is out of date, and no newer one has arrived"
	inbound_request.reason == expected with data.authbridge.settings.require_fresh_bundle as true
		with data.system.bundles as bundles(999999999)
		with time.now_ns as 1000000000 * 1000000000
		with data.authbridge.ns.inbound.request as object.union(allowing, {"override": true})
}

test_takes_no_other_bundle_for_its_own if {
	other := {"other": {"manifest": {"roots": ["other"], "metadata": {"not_after": 1000000001}}}}
	not inbound_request.allow with data.authbridge.settings.require_fresh_bundle as true
		with data.system.bundles as other
		with time.now_ns as 1000000000 * 1000000000
		with data.authbridge.ns.inbound.request as allowing
}

test_asks_for_no_end_unless_the_settings_do if {
	inbound_request.allow with data.system.bundles as {}
		with data.authbridge.ns.inbound.request as allowing
}
