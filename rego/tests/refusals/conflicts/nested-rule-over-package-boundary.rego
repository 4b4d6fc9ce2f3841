# rego_type_error

package a

p.q := 1
# module
package a.p

q contains 2
