# rego_type_error

package a

p contains 1
# module
package a

p.q.r := 2
