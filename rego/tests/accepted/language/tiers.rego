# accepted

package authbridge.inbound.request

default allow := false

allow if {
	data.authbridge.ns.inbound.request.allow == true
	count(data.authbridge.ns.inbound.request.deny) == 0
}
# module
package authbridge.ns.inbound.request

default allow := false

allow if input.method == "GET"

deny contains "x" if input.path == "/x"
