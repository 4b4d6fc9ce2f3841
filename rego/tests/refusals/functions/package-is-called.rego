# rego_type_error

package b

f(x) := x
# module
package a

allow if data.b(1)
