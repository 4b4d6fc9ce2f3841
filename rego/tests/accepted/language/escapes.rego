# accepted

package a

p := "\u00e9\n\t\"\\\/\b\f\r"
