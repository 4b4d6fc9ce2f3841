# identity: spiffe://example.org/ns/finance/sa/report-agent
package authbridge_test.tool_access.report_agent

import data.authbridge.inbound.request as inbound
import data.authbridge.outbound.request as outbound
import data.authbridge.outbound.response as outbound_response

sends(host, mcp) := {
	"direction": "outbound",
	"method": "POST",
	"path": "/mcp",
	"host": host,
	"headers": {"content-type": "application/json"},
	"mcp": mcp,
}

ledger := "ledger.tools.svc.cluster.local:8080"

use(tool) := {"method": "tools/call", "params": {"name": tool}}

test_allows_reading if {
	outbound.allow with input as sends(ledger, use("read_balance"))
	outbound.allow with input as sends(ledger, {"method": "tools/list"})
}

test_denies_paying if {
	expected := "client policy: the report agent only reads balances"
	outbound.allow == false with input as sends(ledger, use("transfer_funds"))
	outbound.reason == expected with input as sends(ledger, use("transfer_funds"))
}

test_denies_what_is_not_mcp if {
	not outbound.allow with input as object.remove(sends(ledger, {}), ["mcp"])
	not outbound.allow with input as sends(ledger, {})
}

test_denies_other_methods if {
	not outbound.allow with input as sends(ledger, {"method": "prompts/get", "params": {"name": "read_balance"}})
	not outbound.allow with input as sends(ledger, {"method": "resources/read", "params": {"uri": "file:///"}})
}

test_denies_other_hosts if {
	every host in [
		"ledger.tools-2.svc.cluster.local",
		"xledger.tools.svc.cluster.local",
		"ledger.tools.svc.cluster.local.evil.example",
		"evil.example",
	] {
		not outbound.allow with input as sends(host, use("read_balance"))
	}
}

test_lets_the_answer_in if {
	answer := {"response": {"status_code": 200, "headers": {}}}
	outbound_response.allow with input as object.union(sends(ledger, use("read_balance")), answer)
	not outbound_response.allow with input as object.union(sends(ledger, use("transfer_funds")), answer)
}

test_is_called_by_its_namespace if {
	inbound.allow with input as {"peer": {"spiffe_id": "spiffe://example.org/ns/finance/sa/payments-agent"}}
	not inbound.allow with input as {"peer": {"spiffe_id": "spiffe://example.org/ns/tools/sa/ledger"}}
	not inbound.allow with input as {}
}
