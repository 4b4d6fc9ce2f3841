# rego_type_error

package a

b.c := 1
# module
package a.b.c

d := 1
