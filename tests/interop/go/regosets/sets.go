// Package regosets is what the oracle is asked about: modules that are compiled together.
package regosets

import "fmt"

// Set is what is compiled together, and what OPA makes of it.
type Set struct {
	Name    string         `json:"name"`
	Version string         `json:"version,omitempty"`
	Modules []Module       `json:"modules"`
	Data    map[string]any `json:"data,omitempty"`
	Verdict *Verdict       `json:"verdict,omitempty"`
}

// Module has its text as text or, when it is not UTF-8, as bytes.
type Module struct {
	File  string `json:"file"`
	Text  string `json:"text,omitempty"`
	Bytes []byte `json:"bytes,omitempty"`
}

// Source is the text.
func (m Module) Source() string {
	if m.Bytes != nil {
		return string(m.Bytes)
	}
	return m.Text
}

// Verdict is empty when OPA activates the set.
type Verdict struct {
	Errors []Finding `json:"errors"`
}

// Finding is one thing that OPA complains of.
type Finding struct {
	Code    string `json:"code"`
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Message string `json:"message"`
}

// Numbered makes modules of texts, each with a file name of its own.
func Numbered(texts []string) []Module {
	modules := make([]Module, len(texts))
	for i, text := range texts {
		modules[i] = Module{File: fmt.Sprintf("test-%d.rego", i), Text: text}
	}
	return modules
}
