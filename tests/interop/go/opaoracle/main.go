// Command opaoracle asks OPA's own compiler about modules, so that the gate in rego/ can be held against it.
//
//	opaoracle check VERSION          answers each set of modules on standard input: does OPA activate it?
//	                                 VERSION, such as 1.18, is whose capabilities count, unless a set says
//	opaoracle expectations VERSION FOLDER...
//	                                 holds the files of the gate's own tests to what OPA says
//
// VERSION should be that of the OPA it is built with: compilers differ in more than their capabilities. The files in
// versions/ name older ones, for `go build -modfile=opaoracle/versions/1.18.mod ./opaoracle`.
//
// A set is a line of JSON. What `check` adds to it, and nothing else, is the verdict.
package main

import (
	"errors"
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "opaoracle:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "check":
		return check(args[1], os.Stdin, os.Stdout)
	case len(args) > 2 && args[0] == "expectations":
		return expectations(args[1], args[2:])
	default:
		return errors.New("usage: opaoracle check VERSION | expectations VERSION FOLDER...")
	}
}
