# identity: spiffe://example.org/ns/research/sa/explorer
#
# The explorer has no client policy: the namespace policy alone decides for it.
package authbridge_test.model_restriction.explorer

import data.authbridge.inbound.request as inbound
import data.authbridge.outbound.request as outbound
import data.authbridge.outbound.response as outbound_response

asks(inference) := {
	"direction": "outbound",
	"method": "POST",
	"path": "/v1/chat/completions",
	"host": "llm-gateway.models.svc.cluster.local",
	"headers": {"content-type": "application/json"},
	"inference": inference,
}

large := {"model": "llama-3.3-70b-instruct", "stream": true, "max_tokens": 4096, "tools": ["search"]}

test_allows_approved_models if {
	outbound.allow with input as asks(large)
	outbound.allow with input as asks({"model": "granite-3.3-8b-instruct", "max_tokens": 1})
	outbound.allow with input as object.union(asks(large), {"host": "llm-gateway.models.svc.cluster.local:8443"})
}

test_denies_other_models if {
	expected := "namespace policy: the model is not approved for the namespace research"
	every model in [
		"gpt-9",
		"llama-3.3-70b",
		"LLAMA-3.3-70B-INSTRUCT",
		"llama-3.3-70b-instruct ",
		"llama-3.3-70b-instruct,gpt-9",
		"",
		null,
		["llama-3.3-70b-instruct"],
	] {
		outbound.allow == false with input as asks(object.union(large, {"model": model}))
		outbound.reason == expected with input as asks(object.union(large, {"model": model}))
	}
	outbound.reason == expected with input as asks(object.remove(large, ["model"]))
}

test_denies_long_answers if {
	expected := "namespace policy: max_tokens must be given and at most 4096"
	every tokens in [4097, 1000000000, "1", null, [1]] {
		outbound.allow == false with input as asks(object.union(large, {"max_tokens": tokens}))
		outbound.reason == expected with input as asks(object.union(large, {"max_tokens": tokens}))
	}
	outbound.reason == expected with input as asks(object.remove(large, ["max_tokens"]))
}

test_denies_what_is_not_inference if {
	expected := "namespace policy: the request was not recognised as inference"
	outbound.allow == false with input as object.remove(asks(large), ["inference"])
	outbound.reason == expected with input as object.remove(asks(large), ["inference"])
}

test_denies_other_hosts if {
	expected := "namespace policy: the host is not the model gateway"
	every host in ["api.models.example", "llm-gateway.models.svc.cluster.local.evil.example", "", null] {
		outbound.allow == false with input as object.union(asks(large), {"host": host})
		outbound.reason == expected with input as object.union(asks(large), {"host": host})
	}
	outbound.reason == expected with input as {}
}

test_lets_the_answer_in if {
	answer := {"response": {"status_code": 200, "headers": {"content-type": "text/event-stream"}}}
	outbound_response.allow with input as object.union(asks(large), answer)
	not outbound_response.allow with input as object.union(asks({"model": "gpt-9", "max_tokens": 1}), answer)
}

test_is_called_by_its_namespace if {
	inbound.allow with input as {"peer": {"spiffe_id": "spiffe://example.org/ns/research/sa/summarizer"}}
	inbound.allow with input as {"identity": {"subject": "spiffe://example.org/ns/research/sa/summarizer"}}
	not inbound.allow with input as {"peer": {"spiffe_id": "spiffe://example.org/ns/finance/sa/report-agent"}}
	not inbound.allow with input as {"peer": {"spiffe_id": null}}
	not inbound.allow with input as {}
}
