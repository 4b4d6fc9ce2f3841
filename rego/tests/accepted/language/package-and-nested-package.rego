# accepted

package a

p := 1
# module
package a.b

q := 1
