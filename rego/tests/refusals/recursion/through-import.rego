# rego_recursion_error

package a

import data.a.q as r

p if r

q if p
