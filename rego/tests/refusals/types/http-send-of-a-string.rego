# rego_type_error

package a

allow if {
	http.send("https://x").status_code == 200
}
