package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

// fetchJWT prints the SPIFFE ID of a token that the library verifies with the keys of the Workload API, and that the
// Workload API verifies itself; for another audience both must refuse it.
func fetchJWT(ctx context.Context, audience string) error {
	ctx, cancel := context.WithTimeout(ctx, identityWithin)
	defer cancel()
	client, err := workloadapi.New(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	svid, err := client.FetchJWTSVID(ctx, jwtsvid.Params{Audience: audience, ExtraAudiences: []string{"another"}})
	if err != nil {
		return err
	}
	bundles, err := client.FetchJWTBundles(ctx)
	if err != nil {
		return err
	}
	token := svid.Marshal()
	verified, err := jwtsvid.ParseAndValidate(token, bundles, []string{audience})
	if err != nil {
		return fmt.Errorf("the library refuses the token: %w", err)
	}
	validated, err := client.ValidateJWTSVID(ctx, token, audience)
	if err != nil {
		return fmt.Errorf("the Workload API refuses the token: %w", err)
	}
	if verified.ID != svid.ID || validated.ID != svid.ID {
		return fmt.Errorf("the token is of %s, but was verified as %s and %s", svid.ID, verified.ID, validated.ID)
	}
	if _, err := jwtsvid.ParseAndValidate(token, bundles, []string{"nobody"}); err == nil {
		return errors.New("the library takes a token that is for somebody else")
	}
	if _, err := client.ValidateJWTSVID(ctx, token, "nobody"); err == nil {
		return errors.New("the Workload API takes a token that is for somebody else")
	}
	fmt.Println(svid.ID)
	return nil
}
