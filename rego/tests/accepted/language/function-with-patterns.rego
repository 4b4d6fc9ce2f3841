# accepted

package a

f([x, {"a": y}], 1) := x + y
