# panic 1.18-1.18

package a

allow if {
	wanted := {"tier": "gold"}
	wanted in input.labels
}
