# rego_recursion_error

package authbridge.inbound

allow if data.authbridge[input.tier].allow
# module
package authbridge.ns

allow := true
