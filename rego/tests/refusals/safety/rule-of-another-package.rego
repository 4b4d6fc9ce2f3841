# rego_unsafe_var_error

package b

q := 1
# module
package a

allow if q == 1
