# rego_type_error

package a

allow if {
	semver.compare(1, 2) == 0
}
