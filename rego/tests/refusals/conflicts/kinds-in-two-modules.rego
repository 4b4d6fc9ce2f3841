# rego_type_error

package a

p := 1
# module
package a

p contains 1
