package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

const (
	// From the end of one call to the start of the next.
	pause = 50 * time.Millisecond
	// The SVIDs of this test live for seconds, so every rotation has come long before.
	rotatedWithin = 60 * time.Second
)

// call calls peer over a new connection each time, until both of them have had new SVIDs rotations times.
// Every single call must succeed.
func call(ctx context.Context, address string, peer spiffeid.ID, rotations int) error {
	source, err := newSource(ctx)
	if err != nil {
		return err
	}
	defer source.Close()
	ctx, cancel := context.WithTimeout(ctx, rotatedWithin)
	defer cancel()

	own, peers := serials{whose: "own"}, serials{whose: "peer's"}
	if err := own.addCurrent(source); err != nil {
		return err
	}
	for calls := 1; ; calls++ {
		serial, err := callOnce(ctx, source, address, peer)
		if err != nil {
			return fmt.Errorf("call %d failed: %w", calls, err)
		}
		peers.add(serial)
		if own.rotations() >= rotations && peers.rotations() >= rotations {
			fmt.Printf("%d calls, all answered\n", calls)
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.New("no rotation came in time")
		case <-source.Updated():
			if err := own.addCurrent(source); err != nil {
				return err
			}
		case <-time.After(pause):
		}
	}
}

// callOnce answers the serial number of the certificate that the server showed.
func callOnce(ctx context.Context, source *workloadapi.X509Source, address string, peer spiffeid.ID) (string, error) {
	dialer := tls.Dialer{
		NetDialer: &net.Dialer{Timeout: connectionWithin},
		Config:    tlsconfig.MTLSClientConfig(source, source, tlsconfig.AuthorizeID(peer)),
	}
	raw, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	defer raw.Close()
	if err := raw.SetDeadline(time.Now().Add(connectionWithin)); err != nil {
		return "", err
	}
	greeting, err := bufio.NewReader(raw).ReadString('\n')
	if err != nil {
		return "", err
	}
	svid, err := source.GetX509SVID()
	if err != nil {
		return "", err
	}
	if caller := strings.TrimSpace(greeting); caller != svid.ID.String() {
		return "", fmt.Errorf("the server took us for %q, not for %s", caller, svid.ID)
	}
	connection, ok := raw.(*tls.Conn)
	if !ok {
		return "", errors.New("the connection is not TLS")
	}
	return connection.ConnectionState().PeerCertificates[0].SerialNumber.Text(16), nil
}

// serials are the serial numbers that one side had, in their order.
type serials struct {
	whose string
	seen  []string
}

func (s *serials) addCurrent(source *workloadapi.X509Source) error {
	svid, err := source.GetX509SVID()
	if err != nil {
		return err
	}
	s.add(svid.Certificates[0].SerialNumber.Text(16))
	return nil
}

func (s *serials) add(serial string) {
	if len(s.seen) == 0 || s.seen[len(s.seen)-1] != serial {
		s.seen = append(s.seen, serial)
		fmt.Println(s.whose, "serial", serial)
	}
}

func (s *serials) rotations() int { return len(s.seen) - 1 }
