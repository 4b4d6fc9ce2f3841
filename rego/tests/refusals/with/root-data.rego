# rego_recursion_error

package a

allow if input.x with data as {}
