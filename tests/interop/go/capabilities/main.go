// Command capabilities writes what each supported version of OPA can do, as the gate in rego/ reads it. Run it
// from tests/interop/go, and look at what changed:
//
//	go run ./capabilities >../../../rego/src/capabilities/table.txt
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/types"
)

// The newest patch of each minor version, oldest first.
var versions = []string{"1.18.2", "1.19.1", "1.20.2", "1.21.4", "1.22.2"}

const header = `# What OPA can do, by version. Written by tests/interop/go/capabilities from OPA's own capabilities; do not edit.
# version NUMBER
# feature SINCE NAME
# keyword SINCE NAME
# builtin SINCE[-UNTIL] NAME FLAGS SIGNATURE, separated by tabs
`

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "capabilities:", err)
		os.Exit(1)
	}
}

func run() error {
	out := bufio.NewWriter(os.Stdout)
	fmt.Fprint(out, header)
	features, keywords, builtins := ranges{}, ranges{}, ranges{}
	for index, version := range versions {
		capabilities, err := ast.LoadCapabilitiesVersion("v" + version)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "version\t%s\n", version)
		for _, feature := range capabilities.Features {
			features.add(index, feature)
		}
		for _, keyword := range capabilities.FutureKeywords {
			keywords.add(index, keyword)
		}
		for _, builtin := range capabilities.Builtins {
			builtins.add(index, builtin.Name+"\t"+flags(builtin)+"\t"+signature(builtin.Decl))
		}
	}
	for _, kind := range []struct {
		name string
		of   ranges
	}{{"feature", features}, {"keyword", keywords}, {"builtin", builtins}} {
		for _, line := range slices.Sorted(maps.Keys(kind.of)) {
			fmt.Fprintf(out, "%s\t%s\t%s\n", kind.name, kind.of[line], line)
		}
	}
	return out.Flush()
}

// ranges says of each line in which versions it holds, first and last.
type ranges map[string]span

type span struct{ first, last int }

func (r ranges) add(version int, line string) {
	held, known := r[line]
	if !known {
		held.first = version
	} else if held.last != version-1 {
		panic(line + " came, went, and came again: the table cannot say that")
	}
	held.last = version
	r[line] = held
}

func (s span) String() string {
	if s.last == len(versions)-1 {
		return minor(s.first)
	}
	return minor(s.first) + "-" + minor(s.last)
}

func minor(version int) string {
	return versions[version][:strings.LastIndexByte(versions[version], '.')]
}

func flags(builtin *ast.Builtin) string {
	words := []string{}
	if builtin.Infix != "" {
		words = append(words, "infix="+builtin.Infix)
	}
	if builtin.Relation {
		words = append(words, "relation")
	}
	if builtin.IsDeprecated() {
		words = append(words, "deprecated")
	}
	if builtin.Nondeterministic {
		words = append(words, "nondeterministic")
	}
	if len(words) == 0 {
		return "-"
	}
	return strings.Join(words, ",")
}

func signature(function *types.Function) string {
	words := list(function.FuncArgs().Args)
	if variadic := function.FuncArgs().Variadic; variadic != nil {
		words = append(words, word(variadic)+"...")
	}
	text := "(" + strings.Join(words, ", ") + ")"
	if result := function.Result(); result != nil {
		text += " => " + word(result)
	}
	return text
}

func list(of []types.Type) []string {
	words := make([]string, len(of))
	for i, each := range of {
		words[i] = word(each)
	}
	return words
}

// word is a type as the gate writes it: OPA's own way, but without descriptions and with keys in quotation marks.
func word(of types.Type) string {
	switch of := of.(type) {
	case *types.NamedType:
		return word(of.Type)
	case types.Null, types.Boolean, types.Number, types.String:
		return of.String()
	case *types.Array:
		static := make([]types.Type, of.Len())
		for i := range static {
			static[i] = of.Select(i)
		}
		return "array" + angled(list(static)) + squared(of.Dynamic())
	case *types.Set:
		return "set" + squared(of.Of())
	case *types.Object:
		var properties []string
		for _, property := range of.StaticProperties() {
			key, err := json.Marshal(property.Key)
			if err != nil {
				panic(err)
			}
			properties = append(properties, string(key)+": "+word(property.Value))
		}
		text := "object" + angled(properties)
		if dynamic := of.DynamicProperties(); dynamic != nil {
			text += "[" + word(dynamic.Key) + ": " + word(dynamic.Value) + "]"
		}
		return text
	case types.Any:
		return "any" + angled(list(of))
	default:
		panic(fmt.Sprintf("the table has no word for %v", of))
	}
}

func angled(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return "<" + strings.Join(words, ", ") + ">"
}

func squared(of types.Type) string {
	if of == nil {
		return ""
	}
	return "[" + word(of) + "]"
}
