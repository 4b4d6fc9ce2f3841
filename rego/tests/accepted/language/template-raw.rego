# accepted

package a

p := $`a {input.x}
{1 + 1}`
