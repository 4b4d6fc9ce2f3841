package authbridge.outbound.response

default allow := false

allow if data.authbridge.inbound.request.allow
