package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

const connectionWithin = 5 * time.Second

// serve tells every client that is peer who it is, one connection after another.
func serve(ctx context.Context, peer spiffeid.ID) error {
	source, err := newSource(ctx)
	if err != nil {
		return err
	}
	defer source.Close()

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { listener.Close() })
	fmt.Println("listening", listener.Addr())

	config := tlsconfig.MTLSServerConfig(source, source, tlsconfig.AuthorizeID(peer))
	for {
		connection, err := listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if err := greet(ctx, tls.Server(connection, config)); err != nil {
			fmt.Fprintln(os.Stderr, "refused:", err)
		}
	}
}

func greet(ctx context.Context, connection *tls.Conn) error {
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(connectionWithin)); err != nil {
		return err
	}
	if err := connection.HandshakeContext(ctx); err != nil {
		return err
	}
	client, err := x509svid.IDFromCert(connection.ConnectionState().PeerCertificates[0])
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(connection, client)
	return err
}
