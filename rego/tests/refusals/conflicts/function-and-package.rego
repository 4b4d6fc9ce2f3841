# rego_type_error

package a

b(x) := x
# module
package a.b

c := 1
