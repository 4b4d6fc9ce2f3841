# accepted

package a

p := $"a {input.x} {count(input.y)} \{b"
