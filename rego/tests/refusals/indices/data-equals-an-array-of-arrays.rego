# panic 1.18-1.18

package a

allow if {
	wanted := [[1]]
	equal(data.other.grid, wanted)
}
