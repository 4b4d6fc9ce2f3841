# rego_recursion_error

package a

p if every x in [1] { x == 1; p }
