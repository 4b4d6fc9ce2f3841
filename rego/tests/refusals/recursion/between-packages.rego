# rego_recursion_error

package a

p if data.b.q
# module
package b

q if data.a.p
