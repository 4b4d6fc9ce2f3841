# accepted

package a

p := `a
"b\`
