# accepted

package a

p := [1, 2,]

q := {1, 2,}

r := {"a": 1,}

s := count(
	[1],
)
