# accepted

package a

a if input.x == {"tier": "gold"}

b if {
	some wanted in [{"tier": "gold"}]
	wanted == input.x
}

c if {
	wanted := [1, "a"]
	input.x == wanted
}

d if not input.x in [{"tier": "gold"}]

e if input.x[_] in [{"tier": "gold"}]

f if {
	wanted := {"tier": "gold"}
	data.a.wanted == wanted
}

wanted := {"tier": "gold"} if input.y

g if input.x in [[1, 2], "a", null]

h if input.x in [{"tier": "gold"}] with input.y as 1
