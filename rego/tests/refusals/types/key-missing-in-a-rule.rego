# rego_type_error

package a

p := {"x": 1}

allow if p.y == 1
