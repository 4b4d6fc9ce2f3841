# panic 1.18-1.20

package a

all contains {$"a{input.x}": 1}
