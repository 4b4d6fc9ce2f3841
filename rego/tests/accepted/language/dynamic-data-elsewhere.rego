# accepted

package a

allow if data.b[input.x]
