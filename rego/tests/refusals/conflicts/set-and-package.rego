# rego_type_error

package a

b contains 1
# module
package a.b

c := 1
