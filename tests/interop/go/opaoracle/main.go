// Command opaoracle asks OPA's own compiler about modules, so that the gate in rego/ can be held against it.
//
//	opaoracle check VERSION          answers each set of modules on standard input: does OPA activate it?
//	                                 VERSION, such as 1.18, is whose capabilities count, unless a set says
//	opaoracle expectations VERSION FOLDER...
//	                                 holds the files of the gate's own tests to what OPA says
//	opaoracle corpus KIND FOLDER     writes the sets of modules that the sources of OPA in FOLDER hold:
//	                                 conformance, compilation (cases that OPA refuses), or literals
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
	case len(args) == 3 && args[0] == "corpus":
		return corpus(args[1], args[2], os.Stdout)
	default:
		return errors.New("usage: opaoracle check VERSION | expectations VERSION FOLDER... | corpus conformance|compilation|literals FOLDER")
	}
}

// set is what is compiled together, and what OPA makes of it.
type set struct {
	Name    string         `json:"name"`
	Version string         `json:"version,omitempty"`
	Modules []module       `json:"modules"`
	Data    map[string]any `json:"data,omitempty"`
	Verdict *verdict       `json:"verdict,omitempty"`
}

// module has its text as text or, when it is not UTF-8, as bytes.
type module struct {
	File  string `json:"file"`
	Text  string `json:"text,omitempty"`
	Bytes []byte `json:"bytes,omitempty"`
}

func (m module) source() string {
	if m.Bytes != nil {
		return string(m.Bytes)
	}
	return m.Text
}

// verdict is empty when OPA activates the set.
type verdict struct {
	Errors []finding `json:"errors"`
}

type finding struct {
	Code    string `json:"code"`
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Message string `json:"message"`
}
