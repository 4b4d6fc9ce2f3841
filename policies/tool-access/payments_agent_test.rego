# identity: spiffe://example.org/ns/finance/sa/payments-agent
#
# The payments agent has no client policy: the namespace policy alone decides for it.
package authbridge_test.tool_access.payments_agent

import data.authbridge.inbound.request as inbound
import data.authbridge.outbound.request as outbound

test_allows_the_ledger_and_its_own_namespace if {
	outbound.allow with input as {"host": "ledger.tools.svc.cluster.local"}
	outbound.allow with input as {"host": "report-agent.finance.svc.cluster.local:8000"}
}

test_denies_other_hosts if {
	expected := "namespace policy: the host is neither in the namespace finance nor the ledger"
	outbound.reason == expected with input as {"host": "vault.tools.svc.cluster.local"}
	not outbound.allow with input as {"host": "vault.tools.svc.cluster.local"}
	not outbound.allow with input as {"host": "bank.example"}
	not outbound.allow with input as {}
}

test_denies_callers_from_outside if {
	not inbound.allow with input as {"peer": {"spiffe_id": "spiffe://example.org/ns/team-red/sa/writer"}}
	not inbound.allow with input as {}
}
