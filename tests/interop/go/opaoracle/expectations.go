package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"secplane.example/interop/workload/regosets"
)

// accepted stands in the first line of a file that OPA activates; of any other, the code of the first thing that OPA
// refuses. Behind it stands, as in 1.18-1.20, which versions do so, unless all do.
const accepted = "accepted"

// separator is the line between the modules of a file.
const separator = "# module\n"

// expectations holds the files of the gate's own tests to what OPA says.
func expectations(version string, folders []string) error {
	oracle := oracle{capabilities: map[string]*ast.Capabilities{}}
	confirmed, wrong := 0, 0
	for _, folder := range folders {
		err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			first, _, _ := strings.Cut(string(text), "\n")
			expected, versions, some := strings.Cut(strings.TrimPrefix(first, "# "), " ")
			// Minor versions have two digits.
			if oldest, newest, _ := strings.Cut(versions, "-"); some && (version < oldest || version > newest) {
				return nil
			}
			answer, err := oracle.verdict(regosets.Set{Name: path, Version: version,
				Modules: regosets.Numbered(strings.Split(string(text), separator))})
			if err != nil {
				return err
			}
			found := accepted
			if len(answer.Errors) > 0 {
				found = answer.Errors[0].Code
			}
			if found == expected {
				confirmed++
				return nil
			}
			wrong++
			fmt.Printf("%s: expected %s, OPA says %s %v\n", path, expected, found, answer.Errors)
			return nil
		})
		if err != nil {
			return err
		}
	}
	fmt.Printf("%d confirmed, %d wrong\n", confirmed, wrong)
	if wrong > 0 || confirmed == 0 {
		return fmt.Errorf("what the files expect is not what OPA does")
	}
	return nil
}
