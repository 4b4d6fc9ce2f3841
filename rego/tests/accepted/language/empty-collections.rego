# accepted

package a

p := [[], {}, set()]
