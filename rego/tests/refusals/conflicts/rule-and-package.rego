# rego_type_error

package a

b := 1
# module
package a.b

c := 1
