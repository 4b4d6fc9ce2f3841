package main

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"

	zx509 "github.com/zmap/zcrypto/x509"
	"github.com/zmap/zlint/v3"
	"github.com/zmap/zlint/v3/lint"
)

// lintFiles checks every certificate of PEM files against RFC 5280 and what the community agrees on, as zlint knows
// them, and every revocation list likewise.
func lintFiles(paths []string) error {
	registry, err := lint.GlobalRegistry().Filter(lint.FilterOptions{
		IncludeSources: lint.SourceList{lint.RFC5280, lint.RFC5480, lint.RFC5891, lint.RFC6962, lint.RFC8813, lint.Community},
	})
	if err != nil {
		return err
	}
	bad, seen := 0, 0
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
			found, err := lintBlock(block, registry)
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			seen++
			for _, complaint := range found {
				bad++
				fmt.Printf("%s: %s\n", path, complaint)
			}
		}
	}
	switch {
	case seen == 0:
		return errors.New("there was nothing to lint")
	case bad > 0:
		return fmt.Errorf("%d complaints about %d certificates and lists", bad, seen)
	}
	fmt.Printf("%d certificates and lists, no complaint\n", seen)
	return nil
}

func lintBlock(block *pem.Block, registry lint.Registry) ([]string, error) {
	var results *zlint.ResultSet
	switch block.Type {
	case "CERTIFICATE":
		certificate, err := zx509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		// Go's own reader is stricter than zlint's in places.
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return nil, err
		}
		results = zlint.LintCertificateEx(certificate, registry)
	case "X509 CRL":
		list, err := zx509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, err
		}
		results = zlint.LintRevocationListEx(list, registry)
	default:
		return nil, fmt.Errorf("a PEM block of type %s", block.Type)
	}
	var found []string
	for name, result := range results.Results {
		if result.Status == lint.Notice || result.Status == lint.Warn || result.Status == lint.Error || result.Status == lint.Fatal {
			found = append(found, fmt.Sprintf("%s: %s %s", result.Status, name, result.Details))
		}
	}
	return found, nil
}
