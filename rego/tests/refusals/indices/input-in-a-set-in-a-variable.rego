# panic 1.18-1.18

package a

allow if {
	wanted := {{"tools"}}
	input.scopes in wanted
}
