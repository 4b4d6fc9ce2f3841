package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/url"
	"os"
	"path/filepath"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffegrpc/grpccredentials"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const newDownstreamCA = "/spire.api.server.svid.v1.SVID/NewDownstreamX509CA"

// downstream has the authority at an address certify a CA as an authority below it does, with the SVID and the bundle in
// a folder, and writes the CA and what is between it and the root as PEM.
func downstream(ctx context.Context, address, folder, out string) error {
	connection, id, err := connect(address, folder)
	if err != nil {
		return err
	}
	defer connection.Close()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	request := &x509.CertificateRequest{URIs: []*url.URL{id.TrustDomain().ID().URL()}}
	csr, err := x509.CreateCertificateRequest(rand.Reader, request, key)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, identityWithin)
	defer cancel()
	// On the wire a request with nothing but its first field looks as a BytesValue does, and what an Empty does not know
	// it keeps: that needs no generated code.
	answer := &emptypb.Empty{}
	if err := connection.Invoke(ctx, newDownstreamCA, wrapperspb.Bytes(csr), answer); err != nil {
		return err
	}
	chain, err := chainOf(answer.ProtoReflect().GetUnknown())
	if err != nil {
		return err
	}
	return os.WriteFile(out, chain, 0o644)
}

// connect connects as whom the SVID in a folder names, to the authority of its trust domain alone.
func connect(address, folder string) (*grpc.ClientConn, spiffeid.ID, error) {
	svid, err := x509svid.Load(filepath.Join(folder, "svid.pem"), filepath.Join(folder, "key.pem"))
	if err != nil {
		return nil, spiffeid.ID{}, err
	}
	bundle, err := x509bundle.Load(svid.ID.TrustDomain(), filepath.Join(folder, "bundle.pem"))
	if err != nil {
		return nil, spiffeid.ID{}, err
	}
	server, err := spiffeid.FromPath(svid.ID.TrustDomain(), "/spire/server")
	if err != nil {
		return nil, spiffeid.ID{}, err
	}
	credentials := grpccredentials.MTLSClientCredentials(svid, bundle, tlsconfig.AuthorizeID(server))
	connection, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(credentials), grpc.WithNoProxy())
	return connection, svid.ID, err
}

// chainOf answers the certificates of an answer, its first field, as PEM.
func chainOf(answer []byte) ([]byte, error) {
	var chain bytes.Buffer
	for len(answer) > 0 {
		number, kind, read := protowire.ConsumeTag(answer)
		if read < 0 {
			return nil, protowire.ParseError(read)
		}
		if kind != protowire.BytesType {
			return nil, errors.New("the answer has a field that is no certificate")
		}
		answer = answer[read:]
		der, read := protowire.ConsumeBytes(answer)
		if read < 0 {
			return nil, protowire.ParseError(read)
		}
		answer = answer[read:]
		if number != 1 {
			continue
		}
		if err := pem.Encode(&chain, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
			return nil, err
		}
	}
	if chain.Len() == 0 {
		return nil, errors.New("the answer holds no certificate")
	}
	return chain.Bytes(), nil
}
