# identity: spiffe://example.org/ns/tools/sa/ledger
package authbridge_test.tool_access.ledger

import data.authbridge.inbound.request as inbound
import data.authbridge.inbound.response as inbound_response
import data.authbridge.outbound.request as outbound
import data.authbridge.outbound.response as outbound_response

payments := "spiffe://example.org/ns/finance/sa/payments-agent"

reports := "spiffe://example.org/ns/finance/sa/report-agent"

stranger := "spiffe://example.org/ns/finance/sa/intern-agent"

message(caller, mcp) := {
	"direction": "inbound",
	"method": "POST",
	"path": "/mcp",
	"host": "ledger.tools.svc.cluster.local",
	"headers": {"content-type": "application/json"},
	"peer": {"spiffe_id": caller},
	"mcp": mcp,
}

use(caller, tool) := message(caller, {"method": "tools/call", "params": {"name": tool}})

answer(status, headers) := object.union(
	use(payments, "read_balance"),
	{"response": {"status_code": status, "headers": headers}},
)

test_allows_the_named_workloads if {
	inbound.allow with input as use(payments, "transfer_funds")
	inbound.allow with input as use(payments, "read_balance")
	inbound.allow with input as use(reports, "read_balance")
}

test_allows_a_validated_token if {
	by_token := object.union(
		object.remove(use("", "transfer_funds"), ["peer"]),
		{"identity": {"subject": payments, "scopes": ["ledger"]}},
	)
	inbound.allow with input as by_token
}

test_denies_a_tool_to_others if {
	not inbound.allow with input as use(reports, "transfer_funds")
	expected := "client policy: the caller may not use the tool transfer_funds"
	inbound.reason == expected with input as use(reports, "transfer_funds")
}

test_denies_strangers if {
	expected := "client policy: the caller uses no tool of the ledger"
	every caller in [
		stranger,
		"spiffe://example.com/ns/finance/sa/payments-agent",
		"spiffe://example.org/ns/finance-2/sa/payments-agent",
		"spiffe://example.org/ns/finance/sa/payments-agent/",
		"",
		null,
	] {
		every tool in ["read_balance", "transfer_funds"] {
			inbound.allow == false with input as use(caller, tool)
			inbound.reason == expected with input as use(caller, tool)
		}
		not inbound.allow with input as message(caller, {"method": "tools/list"})
	}
}

test_denies_nobody if {
	not inbound.allow with input as object.remove(use("", "read_balance"), ["peer"])
	not inbound.allow with input as {}
	inbound.reason == "client policy: the caller uses no tool of the ledger" with input as {}
}

test_denies_unknown_tools if {
	every tool in ["delete_ledger", "READ_BALANCE", "read_balance ", "", null, 1, ["read_balance"], {"read_balance": 1}] {
		not inbound.allow with input as use(payments, tool)
	}
	expected := "client policy: the ledger has no such tool or method"
	inbound.reason == expected with input as use(payments, "delete_ledger")
}

test_denies_a_call_that_names_no_tool if {
	not inbound.allow with input as message(payments, {"method": "tools/call"})
	not inbound.allow with input as message(payments, {"method": "tools/call", "params": {}})
	not inbound.allow with input as message(payments, {"params": {"name": "read_balance"}})
}

test_allows_users_a_session if {
	every method in ["initialize", "notifications/initialized", "ping", "tools/list"] {
		inbound.allow with input as message(payments, {"method": method})
		inbound.allow with input as message(reports, {"method": method})
		not inbound.allow with input as message(stranger, {"method": method})
	}
}

test_denies_other_methods if {
	every method in ["resources/read", "prompts/get", "logging/setLevel", "tools/Call", ""] {
		not inbound.allow with input as message(payments, {"method": method, "params": {"uri": "file:///etc/passwd"}})
	}
}

test_denies_what_is_not_mcp if {
	not inbound.allow with input as object.remove(use(payments, "read_balance"), ["mcp"])
}

test_believes_the_certificate_over_a_token if {
	stolen := object.union(use(reports, "transfer_funds"), {"identity": {"subject": payments}})
	not inbound.allow with input as stolen
}

test_allows_mcp_responses if {
	inbound_response.allow with input as answer(200, {"content-type": "application/json"})
	inbound_response.allow with input as answer(200, {"content-type": "Application/JSON; charset=utf-8"})
	inbound_response.allow with input as answer(200, {"content-type": "text/event-stream"})
	inbound_response.allow with input as answer(202, {})
}

test_denies_other_responses if {
	every type in ["text/html", "application/octet-stream", "application/jsonx", "x; application/json", ""] {
		not inbound_response.allow with input as answer(200, {"content-type": type})
	}
	not inbound_response.allow with input as answer(200, {})
	not inbound_response.allow with input as use(payments, "read_balance")
	expected := "client policy: the response is neither JSON nor an event stream"
	inbound_response.reason == expected with input as answer(500, {"content-type": "text/html"})
}

test_denies_every_call_of_the_ledger if {
	expected := "client policy: the ledger answers; it calls nobody"
	outbound.reason == expected with input as {"host": "bank.example"}
	outbound.allow == false with input as {"host": "bank.example"}
	outbound_response.allow == false with input as {"host": "bank.example", "response": {"status_code": 200}}
}
