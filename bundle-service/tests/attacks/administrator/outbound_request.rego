package authbridge.outbound.request

default allow := false

allow if data.authbridge.inbound.request.allow
