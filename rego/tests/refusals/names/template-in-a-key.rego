# panic 1.18-1.20

package a

allow := {$"a{input.x}": 1}
