// Command opacorpus writes the sets of modules that the sources of OPA hold, as lines of JSON.
//
//	opacorpus conformance FOLDER     of the suite that implementations of Rego are held to
//	opacorpus compilation FOLDER     of the diagnostics of OPA's compiler: it refuses them all
//	opacorpus literals FOLDER        of the strings in its Go tests
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/open-policy-agent/opa/v1/test/cases"
	"github.com/open-policy-agent/opa/v1/test/compilecases"

	"secplane.example/interop/workload/regosets"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "opacorpus:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: opacorpus conformance|compilation|literals FOLDER")
	}
	return corpus(args[0], args[1], os.Stdout)
}

// corpus writes the sets of modules that the sources of OPA in the folder hold. They stay where they are, in Go's
// module cache: nothing of them is copied into this project.
func corpus(kind, folder string, out io.Writer) error {
	writer := bufio.NewWriter(out)
	encoder := json.NewEncoder(writer)
	encoder.SetEscapeHTML(false)
	collect := map[string]func(string, func(regosets.Set) error) error{
		"conformance": conformance,
		"compilation": compilation,
		"literals":    literals,
	}[kind]
	if collect == nil {
		return fmt.Errorf("there is no corpus %q", kind)
	}
	seen := map[string]bool{}
	err := collect(folder, func(each regosets.Set) error {
		key, err := json.Marshal([]any{each.Modules, each.Data, each.Version})
		if err != nil || seen[string(key)] {
			return err
		}
		seen[string(key)] = true
		return encoder.Encode(each)
	})
	if err != nil {
		return err
	}
	return writer.Flush()
}

// conformance is the suite that implementations of Rego are held to: nearly all of it is valid.
func conformance(folder string, yield func(regosets.Set) error) error {
	all, err := cases.Load(filepath.Join(folder, "v1/test/cases/testdata/v1"))
	if err != nil {
		return err
	}
	for _, each := range all.Sorted().Cases {
		if len(each.Modules) == 0 {
			continue
		}
		found := regosets.Set{Name: "conformance: " + each.Note, Modules: regosets.Numbered(each.Modules)}
		// A case may have data where OPA's own runner has rules: that runner does not look for conflicts, and
		// neither does this.
		if err := yield(found); err != nil {
			return err
		}
	}
	return nil
}

// compilation are the diagnostics that OPA's compiler promises: every case is refused.
func compilation(folder string, yield func(regosets.Set) error) error {
	all, err := compilecases.Load(filepath.Join(folder, "v1/test/compilecases/testdata/v1"))
	if err != nil {
		return err
	}
	for _, each := range all.Sorted().Cases {
		// Strict mode is for authors; a bundle is never activated with it.
		if each.Strict {
			continue
		}
		found := regosets.Set{Name: "compilation: " + each.Note, Modules: regosets.Numbered(each.Modules)}
		if err := yield(found); err != nil {
			return err
		}
	}
	return nil
}

// literals are the strings in OPA's Go tests. Whatever a test does with a string, it is fair to ask whether it is a
// module, a rule, or a body; only OPA knows the answer.
func literals(folder string, yield func(regosets.Set) error) error {
	return filepath.WalkDir(filepath.Join(folder, "v1"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		return literalsOf(name, source, yield)
	})
}

func literalsOf(name string, source []byte, yield func(regosets.Set) error) error {
	files := token.NewFileSet()
	tree, err := parser.ParseFile(files, name, source, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	ast.Inspect(tree, func(node ast.Node) bool {
		if err != nil {
			return false
		}
		switch node := node.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.CompositeLit:
			if texts := modulesOf(node); len(texts) > 1 {
				place := files.Position(node.Pos())
				err = yield(regosets.Set{Name: fmt.Sprintf("literal: %s:%d, together", place.Filename, place.Line),
					Modules: regosets.Numbered(texts)})
			}
		case *ast.BasicLit:
			if text, ok := stringOf(node); ok {
				place := files.Position(node.Pos())
				err = asked(fmt.Sprintf("literal: %s:%d", place.Filename, place.Line), text, yield)
			}
		}
		return true
	})
	return err
}

// asked yields a text as a module, as a rule, and as a body.
func asked(name, text string, yield func(regosets.Set) error) error {
	forms := []struct{ as, text string }{{"module", text}}
	if !strings.Contains(text, "package ") {
		forms = []struct{ as, text string }{
			{"rule", "package t\n\n" + text + "\n"},
			{"body", "package t\n\np if {\n" + text + "\n}\n"},
		}
	}
	for _, form := range forms {
		each := regosets.Module{File: "test-0.rego", Text: form.text}
		if !utf8.ValidString(form.text) {
			each = regosets.Module{File: "test-0.rego", Bytes: []byte(form.text)}
		}
		if err := yield(regosets.Set{Name: name + ", as a " + form.as, Modules: []regosets.Module{each}}); err != nil {
			return err
		}
	}
	return nil
}

// modulesOf are the modules that stand side by side in a list or a table.
func modulesOf(literal *ast.CompositeLit) []string {
	var texts []string
	for _, element := range literal.Elts {
		if pair, ok := element.(*ast.KeyValueExpr); ok {
			element = pair.Value
		}
		if text, ok := stringOf(element); ok && strings.Contains(text, "package ") && utf8.ValidString(text) {
			texts = append(texts, text)
		}
	}
	return texts
}

// stringOf is the text of a string, or of strings added together.
func stringOf(node ast.Expr) (string, bool) {
	switch node := node.(type) {
	case *ast.BasicLit:
		if node.Kind != token.STRING {
			return "", false
		}
		text, err := strconv.Unquote(node.Value)
		return text, err == nil
	case *ast.BinaryExpr:
		left, ok := stringOf(node.X)
		right, also := stringOf(node.Y)
		return left + right, node.Op == token.ADD && ok && also
	case *ast.ParenExpr:
		return stringOf(node.X)
	case *ast.CallExpr:
		// A conversion, or a helper that makes a module of a text.
		if len(node.Args) == 1 {
			return stringOf(node.Args[0])
		}
	}
	return "", false
}
