// Command workload is a workload as others write them: it knows nothing of Secplane, only the official SPIFFE
// library and the Workload API socket in SPIFFE_ENDPOINT_SOCKET.
//
//	workload whoami                        prints its SPIFFE ID, and the SHA-256 of the root that it is to trust
//	workload serve PEER                    serves mutual TLS to PEER alone, until SIGTERM
//	workload call ADDRESS PEER ROTATIONS   calls PEER until both have had that many new SVIDs
//	workload jwt AUDIENCE                  fetches a JWT-SVID, verifies it, and has the Workload API verify it
//	workload downstream ADDRESS FOLDER OUT has the CA certify a CA below it, as whom the SVID in FOLDER names
//	workload lint FILE...                  holds certificates and revocation lists to RFC 5280
package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

// Whatever it is told to do: nothing waits longer for the Workload API than this.
const identityWithin = 10 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "workload:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 1 && args[0] == "whoami":
		return whoami(ctx)
	case len(args) == 2 && args[0] == "serve":
		peer, err := spiffeid.FromString(args[1])
		if err != nil {
			return err
		}
		return serve(ctx, peer)
	case len(args) == 4 && args[0] == "call":
		peer, err := spiffeid.FromString(args[2])
		if err != nil {
			return err
		}
		rotations, err := strconv.Atoi(args[3])
		if err != nil {
			return err
		}
		return call(ctx, args[1], peer, rotations)
	case len(args) == 2 && args[0] == "jwt":
		return fetchJWT(ctx, args[1])
	case len(args) == 4 && args[0] == "downstream":
		return downstream(ctx, args[1], args[2], args[3])
	case len(args) >= 2 && args[0] == "lint":
		return lintFiles(args[1:])
	default:
		return errors.New("usage: workload whoami | serve PEER | call ADDRESS PEER ROTATIONS | jwt AUDIENCE | downstream ADDRESS FOLDER OUT | lint FILE...")
	}
}

// whoami asks once: an X509Source would go on asking until somebody registers the process.
func whoami(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, identityWithin)
	defer cancel()
	identity, err := workloadapi.FetchX509Context(ctx)
	if err != nil {
		return err
	}
	svid := identity.DefaultSVID()
	bundle, err := identity.Bundles.GetX509BundleForTrustDomain(svid.ID.TrustDomain())
	if err != nil {
		return err
	}
	if roots := bundle.X509Authorities(); len(roots) != 1 {
		return fmt.Errorf("the trust bundle has %d roots, not one", len(roots))
	}
	fmt.Printf("%s %x\n", svid.ID, sha256.Sum256(bundle.X509Authorities()[0].Raw))
	return nil
}

// newSource answers once the process has an SVID; from then on the source follows the Workload API.
func newSource(ctx context.Context) (*workloadapi.X509Source, error) {
	ctx, cancel := context.WithTimeout(ctx, identityWithin)
	defer cancel()
	return workloadapi.NewX509Source(ctx)
}
