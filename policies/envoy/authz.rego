# What Envoy's external authorization asks, answered by the decision points of this bundle. The bundle service adds
# this module to every bundle, with the root `envoy`, when `envoy_adapter` is set.
package envoy.authz

import data.authbridge.inbound.request as inbound
import data.authbridge.outbound.request as outbound

# The answer to a check (`plugins.envoy_ext_authz_grpc.path: envoy/authz/allow`).
default allow := {"allowed": false, "http_status": 403, "body": "the request was not understood"}

allow := {"allowed": true} if {
	allows(decision)
} else := {
	"allowed": false,
	"http_status": 403,
	"headers": {"content-type": "text/plain; charset=utf-8"},
	"body": reason(decision),
} if {
	decision
}

decision := answer if {
	direction == "inbound"
	answer := inbound with input as request
} else := answer if {
	direction == "outbound"
	answer := outbound with input as request
}

# `allow` is a boolean or an object that has one. Only `true` allows.
allows(point) if point.allow == true

allows(point) if point.allow.allow == true

reason(point) := point.reason if {
	is_string(point.reason)
} else := point.allow.reason if {
	is_string(point.allow.reason)
} else := "not allowed, no reason given"

# The listener says which way a request goes, in the filter's `context_extensions`.
direction := object.get(input.attributes, "contextExtensions", {}).direction

http := input.attributes.request.http

# The request, as the policies of this bundle know requests.
request := object.union_n([plain, peer, parsed])

plain := {
	"direction": direction,
	"method": http.method,
	"path": split(http.path, "?")[0],
	"host": http.host,
	"headers": {name: value |
		some name, value in object.get(http, "headers", {})
		not secret[name]
	},
}

# What a policy need not see, and a decision log should not hold.
secret[name] if some name in ["authorization", "cookie", "proxy-authorization", "x-api-key"]

# The workload at the other end, when Envoy has verified its certificate.
default peer := {}

peer := {"peer": {"spiffe_id": input.attributes.source.principal}} if {
	startswith(input.attributes.source.principal, "spiffe://")
}

default parsed := {}

parsed := {"mcp": call} if {
	is_mcp
} else := {"a2a": {"method": body.method}} if {
	is_string(body.method)
} else := {"inference": object.filter(body, ["model", "stream", "max_tokens", "tools"])} if {
	is_string(body.model)
}

# A body of which Envoy sent only a part says nothing.
body := input.parsed_body if {
	not input.truncated_body
	is_object(input.parsed_body)
}

is_mcp if http.headers["mcp-protocol-version"]

is_mcp if http.headers["mcp-session-id"]

is_mcp if {
	some prefix in ["initialize", "notifications/", "tools/", "resources/", "prompts/"]
	startswith(body.method, prefix)
}

call := {
	"method": body.method,
	"params": object.filter(object.get(body, "params", {}), ["name", "uri"]),
}
