# accepted

package a

p := 1
# module
package a

q := p
