package authbridge.inbound.response

default allow := false

allow if data.authbridge.inbound.request.allow
