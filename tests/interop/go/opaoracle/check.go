package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/open-policy-agent/opa/v1/ast"

	"secplane.example/interop/workload/regosets"
)

// The newest patch of each minor version.
var patches = map[string]string{
	"1.18": "v1.18.2", "1.19": "v1.19.1", "1.20": "v1.20.2", "1.21": "v1.21.4", "1.22": "v1.22.2",
}

// check answers each line with the same line and a verdict. It flushes when there is nothing more to read at the
// moment, so that who asks may wait for each answer.
func check(version string, in io.Reader, out io.Writer) error {
	oracle := oracle{capabilities: map[string]*ast.Capabilities{}}
	reader := bufio.NewReaderSize(in, 1<<20)
	writer := bufio.NewWriter(out)
	encoder := json.NewEncoder(writer)
	encoder.SetEscapeHTML(false)
	for {
		line, err := reader.ReadBytes('\n')
		if len(line) > 1 {
			var asked regosets.Set
			if err := json.Unmarshal(line, &asked); err != nil {
				return fmt.Errorf("a line is not a set of modules: %w", err)
			}
			if asked.Version == "" {
				asked.Version = version
			}
			answer, err := oracle.verdict(asked)
			if err != nil {
				return err
			}
			asked.Verdict = &answer
			if err := encoder.Encode(asked); err != nil {
				return err
			}
		}
		if reader.Buffered() == 0 {
			if err := writer.Flush(); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return writer.Flush()
		}
		if err != nil {
			return err
		}
	}
}

type oracle struct {
	capabilities map[string]*ast.Capabilities
}

func (o oracle) of(version string) (*ast.Capabilities, error) {
	if known := o.capabilities[version]; known != nil {
		return known, nil
	}
	loaded, err := ast.LoadCapabilitiesVersion(patches[version])
	if err != nil {
		return nil, fmt.Errorf("OPA %q: %w", version, err)
	}
	o.capabilities[version] = loaded
	return loaded, nil
}

// verdict does what OPA does between the download of a bundle and its activation: annotations are read, print
// statements are enabled, schemas are not applied. Some modules make its parser or its compiler panic: an OPA that gets
// them ends.
func (o oracle) verdict(asked regosets.Set) (refused regosets.Verdict, failure error) {
	defer func() {
		if reason := recover(); reason != nil {
			refused = regosets.Verdict{Errors: []regosets.Finding{{Code: "panic", Message: fmt.Sprint(reason)}}}
		}
	}()
	capabilities, err := o.of(asked.Version)
	if err != nil {
		return regosets.Verdict{}, err
	}
	parsed := map[string]*ast.Module{}
	refused = regosets.Verdict{Errors: []regosets.Finding{}}
	for _, module := range asked.Modules {
		source := module.Source()
		if !utf8.ValidString(source) {
			refused.Errors = append(refused.Errors, regosets.Finding{Code: "rego_parse_error", File: module.File,
				Message: "invalid UTF-8"})
			continue
		}
		options := ast.ParserOptions{ProcessAnnotation: true, Capabilities: capabilities, RegoVersion: ast.RegoV1}
		result, err := ast.ParseModuleWithOpts(module.File, source, options)
		if err != nil {
			refused.Errors = append(refused.Errors, findings(err)...)
			continue
		}
		if parsed[module.File] != nil {
			return regosets.Verdict{}, fmt.Errorf("the set %q holds %q twice", asked.Name, module.File)
		}
		parsed[module.File] = result
	}
	if len(refused.Errors) > 0 {
		return refused, nil
	}
	refused.Errors = compile(parsed, capabilities, asked.Data)
	return refused, nil
}

// compile gives what the compiler complains of.
func compile(parsed map[string]*ast.Module, capabilities *ast.Capabilities, data map[string]any) []regosets.Finding {
	compiler := ast.NewCompiler().WithCapabilities(capabilities).WithEnablePrintStatements(true).
		WithPathConflictsCheck(finder(data)).SetErrorLimit(0)
	if compiler.Compile(parsed); compiler.Failed() {
		return findings(compiler.Errors)
	}
	return []regosets.Finding{}
}

func findings(err error) []regosets.Finding {
	errs, ok := err.(ast.Errors)
	if !ok {
		// Not everything that the parser says carries a code.
		return []regosets.Finding{{Code: ast.ParseErr, Message: err.Error()}}
	}
	found := make([]regosets.Finding, len(errs))
	for i, each := range errs {
		found[i] = regosets.Finding{Code: each.Code, Message: each.Message}
		if at := each.Location; at != nil {
			found[i].File, found[i].Line, found[i].Column = at.File, at.Row, at.Col
		}
		if each.Details != nil {
			found[i].Message += "\n" + strings.Join(each.Details.Lines(), "\n")
		}
	}
	return found
}

// finder says whether data stands in the way of a rule at a path, as OPA's store does.
func finder(data map[string]any) func([]string) (bool, error) {
	return func(path []string) (bool, error) {
		var at any = data
		for _, step := range path {
			object, ok := at.(map[string]any)
			if !ok {
				return true, nil
			}
			if at, ok = object[step]; !ok {
				return false, nil
			}
		}
		return len(data) > 0, nil
	}
}
