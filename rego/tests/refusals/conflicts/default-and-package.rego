# rego_type_error

package a

default b := 1
# module
package a.b

c := 1
