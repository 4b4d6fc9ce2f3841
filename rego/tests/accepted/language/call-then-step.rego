# accepted

package a

p := io.jwt.decode(input.x)[1].sub
