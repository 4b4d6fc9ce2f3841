# rego_type_error

package a

allow if data["f"][x](1)
