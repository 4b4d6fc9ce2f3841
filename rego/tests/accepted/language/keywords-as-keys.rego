# accepted

package a

p := {"if": 1}.if
