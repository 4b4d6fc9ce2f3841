# rego_type_error

package a

default allow := false
# module
package a

default allow := false
