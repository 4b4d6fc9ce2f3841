# The administrator's policy: whoever is trusted may pass, unless a tier forbids it.
package authbridge.inbound.request

import data.authbridge.lib

default allow := false

allow if {
	input.user in lib.trusted
	not forbidden
}

forbidden if count(data.authbridge.ns.inbound.request.deny) > 0

forbidden if count(data.authbridge.client.inbound.request.deny) > 0
