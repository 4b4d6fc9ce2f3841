# identity: spiffe://example.org/ns/research/sa/summarizer
package authbridge_test.model_restriction.summarizer

import data.authbridge.outbound.request as outbound

asks(inference) := {
	"direction": "outbound",
	"method": "POST",
	"path": "/v1/chat/completions",
	"host": "llm-gateway.models.svc.cluster.local",
	"headers": {"content-type": "application/json"},
	"inference": inference,
}

small := {"model": "granite-3.3-8b-instruct", "stream": false, "max_tokens": 512}

test_allows_the_small_model if {
	outbound.allow with input as asks(small)
	outbound.allow with input as asks(object.union(small, {"tools": []}))
	outbound.allow with input as asks(object.union(small, {"tools": null}))
}

test_denies_a_model_that_only_the_namespace_approves if {
	expected := "client policy: the summarizer uses only the small model"
	large := object.union(small, {"model": "llama-3.3-70b-instruct"})
	outbound.allow == false with input as asks(large)
	outbound.reason == expected with input as asks(large)
}

test_denies_a_model_that_nobody_approves if {
	namespace := "namespace policy: the model is not approved for the namespace research"
	client := "client policy: the summarizer uses only the small model"
	expected := concat("; ", [namespace, client])
	outbound.reason == expected with input as asks(object.union(small, {"model": "gpt-9"}))
}

test_denies_tools if {
	expected := "client policy: the summarizer gives models no tools"
	every tools in [["search"], [{"name": "search"}], "search", 1, {"search": {}}] {
		outbound.allow == false with input as asks(object.union(small, {"tools": tools}))
		outbound.reason == expected with input as asks(object.union(small, {"tools": tools}))
	}
}

test_keeps_the_limits_of_the_namespace if {
	not outbound.allow with input as asks(object.union(small, {"max_tokens": 4097}))
	not outbound.allow with input as object.union(asks(small), {"host": "api.models.example"})
	not outbound.allow with input as {}
}
