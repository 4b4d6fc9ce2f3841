# accepted

package a

# one
allow if { # two
	input.x # three
	# four
} # five
