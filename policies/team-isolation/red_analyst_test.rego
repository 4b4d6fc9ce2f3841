# identity: spiffe://example.org/ns/team-red/sa/analyst
package authbridge_test.team_isolation.red_analyst

import data.authbridge.inbound.request as inbound
import data.authbridge.inbound.response as inbound_response
import data.authbridge.outbound.request as outbound

incoming(caller) := {
	"direction": "inbound",
	"method": "POST",
	"path": "/",
	"host": "analyst.team-red.svc.cluster.local",
	"headers": {},
	"peer": {"spiffe_id": caller},
}

outgoing(host) := {"direction": "outbound", "method": "POST", "path": "/", "host": host, "headers": {}}

test_allows_the_team if {
	inbound.allow with input as incoming("spiffe://example.org/ns/team-red/sa/writer")
	outbound.allow with input as outgoing("writer.team-red.svc.cluster.local")
	outbound.allow with input as outgoing("writer.team-red.svc.cluster.local:8443")
}

test_denies_the_other_team if {
	not inbound.allow with input as incoming("spiffe://example.org/ns/team-blue/sa/reviewer")
	not outbound.allow with input as outgoing("reviewer.team-blue.svc.cluster.local")
}

test_says_why if {
	not_called := "namespace policy: the caller is not of team red"
	inbound.reason == not_called with input as incoming("spiffe://example.org/ns/team-blue/sa/reviewer")
	not_calling := "namespace policy: the host is not of team red"
	outbound.reason == not_calling with input as outgoing("reviewer.team-blue.svc.cluster.local")
}

test_denies_look_alikes if {
	every caller in [
		"spiffe://example.org/ns/team-red-2/sa/writer",
		"spiffe://example.org/ns/team-redder/sa/writer",
		"spiffe://example.org/ns/team-blue/sa/team-red",
		"spiffe://example.org/ns/team-blue/ns/team-red/sa/writer",
		"spiffe://example.com/ns/team-red/sa/writer",
		"SPIFFE://example.org/ns/team-red/sa/writer",
		"ns/team-red/sa/writer",
	] {
		not inbound.allow with input as incoming(caller)
	}
	every host in [
		"writer.team-red.svc.cluster.local.evil.example",
		"writer-team-red.svc.cluster.local",
		"evil.example:.team-red.svc.cluster.local",
		"evil.example/writer.team-red.svc.cluster.local",
		"writer.team-red.svc.cluster.local\n",
		"writer.team-red.svc.cluster.local:",
		"writerxteam-redxsvcxclusterxlocal",
		"team-red.svc.cluster.local",
	] {
		not outbound.allow with input as outgoing(host)
	}
}

test_denies_nobody if {
	not inbound.allow with input as object.remove(incoming(""), ["peer"])
	not inbound.allow with input as incoming(null)
	not inbound.allow with input as incoming("")
	not inbound.allow with input as {}
	not outbound.allow with input as {}
}

test_believes_the_certificate_over_a_token if {
	own := {"identity": {"subject": "spiffe://example.org/ns/team-red/sa/writer"}}
	inbound.allow with input as own
	foreign := incoming("spiffe://example.org/ns/team-blue/sa/reviewer")
	not inbound.allow with input as object.union(foreign, own)
}

test_lets_answers_follow if {
	answer := {"response": {"status_code": 200, "headers": {}}}
	own := incoming("spiffe://example.org/ns/team-red/sa/writer")
	foreign := incoming("spiffe://example.org/ns/team-blue/sa/reviewer")
	inbound_response.allow with input as object.union(own, answer)
	not inbound_response.allow with input as object.union(foreign, answer)
}
