//! gRPC clients of an authority, and the calls that most tests make.

use std::{net::SocketAddr, path::Path};

use rustls::ClientConfig;
use secplane_identity::{PrivateKey, connect::GrpcConnector};
use secplane_proto::{
    secplane::ca::v1::{
        CertificateRecord, GetCertificateRequest, IssueClientCertificateRequest,
        IssueServerCertificateRequest, ListCertificatesRequest, ListRevocationListsRequest,
        RenewCertificateRequest, RevocationList, RevokeCertificateRequest, RevokeRequest,
        WatchRevocationListsRequest, WatchRevocationListsResponse, agent_cards_client::AgentCardsClient,
        audit_client::AuditClient, authority_client::AuthorityClient,
        certificates_client::CertificatesClient, revocations_client::RevocationsClient, revoke_request,
        trust_bundle_client::TrustBundleClient,
    },
    spire::api::{
        server::{
            agent::v1::agent_client::AgentClient,
            bundle::v1::bundle_client::BundleClient,
            entry::v1::{
                BatchCreateEntryRequest, BatchDeleteEntryRequest, GetEntryRequest, entry_client::EntryClient,
            },
            localauthority::v1::local_authority_client::LocalAuthorityClient,
            svid::v1::{MintX509svidRequest, svid_client::SvidClient},
            trustdomain::v1::trust_domain_client::TrustDomainClient,
        },
        types,
    },
};
use tonic::{
    Status, Streaming,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use crate::{authority::TRUST_DOMAIN, holder::Holder, requests};

/// Clients of every service over one connection, which is made when it is first needed.
#[derive(Clone)]
pub struct Clients(Channel);

impl Clients {
    /// Connects to a Unix socket.
    ///
    /// # Panics
    /// When the path is not UTF-8.
    #[must_use]
    pub fn over_unix_socket(path: &Path) -> Self {
        let uri = format!("unix:{}", path.to_str().unwrap());
        Self(Endpoint::from_shared(uri).unwrap().connect_lazy())
    }

    /// Connects to an address with TLS. The server must prove that it is `localhost`.
    #[must_use]
    pub fn over_tls(address: SocketAddr, config: ClientConfig) -> Self {
        let connector = GrpcConnector::new(&format!("localhost:{}", address.port()), config);
        Self(Endpoint::from_static("http://ca").connect_with_connector_lazy(connector))
    }

    /// Connects to an address without TLS.
    ///
    /// # Panics
    /// Never: every address makes a URI.
    #[must_use]
    pub fn over_plain_text(address: SocketAddr) -> Self {
        Self(Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy())
    }

    /// The connection itself, for clients of other services.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.0.clone()
    }

    /// `spire.api.server.svid.v1.SVID`.
    #[must_use]
    pub fn svid(&self) -> SvidClient<Channel> {
        SvidClient::new(self.0.clone())
    }

    /// `spire.api.server.agent.v1.Agent`.
    #[must_use]
    pub fn agent(&self) -> AgentClient<Channel> {
        AgentClient::new(self.0.clone())
    }

    /// `spire.api.server.entry.v1.Entry`.
    #[must_use]
    pub fn entry(&self) -> EntryClient<Channel> {
        EntryClient::new(self.0.clone())
    }

    /// `spire.api.server.localauthority.v1.LocalAuthority`.
    #[must_use]
    pub fn local_authority(&self) -> LocalAuthorityClient<Channel> {
        LocalAuthorityClient::new(self.0.clone())
    }

    /// `spire.api.server.bundle.v1.Bundle`.
    #[must_use]
    pub fn bundle(&self) -> BundleClient<Channel> {
        BundleClient::new(self.0.clone())
    }

    /// `spire.api.server.trustdomain.v1.TrustDomain`.
    #[must_use]
    pub fn trust_domain(&self) -> TrustDomainClient<Channel> {
        TrustDomainClient::new(self.0.clone())
    }

    /// `secplane.ca.v1.Certificates`.
    #[must_use]
    pub fn certificates(&self) -> CertificatesClient<Channel> {
        CertificatesClient::new(self.0.clone())
    }

    /// `secplane.ca.v1.Authority`.
    #[must_use]
    pub fn authority(&self) -> AuthorityClient<Channel> {
        AuthorityClient::new(self.0.clone())
    }

    /// `secplane.ca.v1.Audit`.
    #[must_use]
    pub fn audit(&self) -> AuditClient<Channel> {
        AuditClient::new(self.0.clone())
    }

    /// `secplane.ca.v1.TrustBundle`.
    #[must_use]
    pub fn trust_bundle(&self) -> TrustBundleClient<Channel> {
        TrustBundleClient::new(self.0.clone())
    }

    /// `secplane.ca.v1.AgentCards`.
    #[must_use]
    pub fn agent_cards(&self) -> AgentCardsClient<Channel> {
        AgentCardsClient::new(self.0.clone())
    }

    /// `secplane.ca.v1.Revocations`.
    #[must_use]
    pub fn revocations(&self) -> RevocationsClient<Channel> {
        RevocationsClient::new(self.0.clone())
    }

    /// Calls a method by its path, with an empty message.
    ///
    /// # Errors
    /// As the authority says.
    pub async fn call(&self, path: &str) -> Result<(), Status> {
        let mut client = tonic::client::Grpc::new(self.0.clone());
        client.ready().await.map_err(|error| Status::from_error(error.into()))?;
        let path = path.parse().unwrap();
        let codec = ProstCodec::<(), ()>::default();
        client.unary(tonic::Request::new(()), path, codec).await.map(tonic::Response::into_inner)
    }

    /// Mints an X.509-SVID for a path of the trust domain. A `ttl` of 0 is the default.
    ///
    /// # Errors
    /// As the authority says.
    pub async fn mint(&self, path: &str, ttl: i32) -> Result<Holder, Status> {
        let key = PrivateKey::generate().unwrap();
        let csr = requests::naming(&key, &[&format!("spiffe://{TRUST_DOMAIN}{path}")]);
        let chain = self.mint_with(csr, ttl).await?;
        Ok(Holder::new(key, chain))
    }

    /// Mints an X.509-SVID for a request as it stands, and answers the chain.
    ///
    /// # Errors
    /// As the authority says.
    pub async fn mint_with(&self, csr: Vec<u8>, ttl: i32) -> Result<Vec<Vec<u8>>, Status> {
        let response = self.svid().mint_x509svid(MintX509svidRequest { csr, ttl }).await?;
        Ok(response.into_inner().svid.unwrap().cert_chain)
    }

    /// Issues a client certificate. A `ttl` of 0 is the default.
    ///
    /// # Errors
    /// As the authority says.
    pub async fn issue_client(&self, common_name: &str, ttl: i64) -> Result<Holder, Status> {
        let key = PrivateKey::generate().unwrap();
        let csr = key.bare_request().unwrap();
        let request = IssueClientCertificateRequest {
            csr,
            common_name: common_name.to_owned(),
            ttl,
            ..Default::default()
        };
        let issued = self.certificates().issue_client_certificate(request).await?.into_inner();
        Ok(Holder::new(key, issued.certificate.unwrap().chain))
    }

    /// Issues a server certificate for DNS names.
    ///
    /// # Errors
    /// As the authority says.
    pub async fn issue_server(&self, dns_names: &[&str]) -> Result<Holder, Status> {
        let key = PrivateKey::generate().unwrap();
        let dns_names = dns_names.iter().map(|name| (*name).to_owned()).collect();
        let request = IssueServerCertificateRequest {
            csr: key.bare_request().unwrap(),
            dns_names,
            ..Default::default()
        };
        let issued = self.certificates().issue_server_certificate(request).await?.into_inner();
        Ok(Holder::new(key, issued.certificate.unwrap().chain))
    }

    /// Renews the certificate that these clients present, with a new key.
    ///
    /// # Errors
    /// As the authority says.
    pub async fn renew(&self) -> Result<Holder, Status> {
        let key = PrivateKey::generate().unwrap();
        let request = RenewCertificateRequest { csr: key.bare_request().unwrap(), ttl: 0 };
        let renewed = self.certificates().renew_certificate(request).await?.into_inner();
        Ok(Holder::new(key, renewed.certificate.unwrap().chain))
    }

    /// Revokes a certificate.
    ///
    /// # Errors
    /// As the authority says.
    pub async fn revoke(&self, holder: &Holder) -> Result<CertificateRecord, Status> {
        let serial_number = holder.leaf().serial;
        let request = RevokeCertificateRequest { serial_number, reason: "lost".to_owned() };
        let revoked = self.certificates().revoke_certificate(request).await?;
        Ok(revoked.into_inner().certificate.unwrap())
    }

    /// Revokes what a target names, and answers how many certificates that were.
    ///
    /// # Errors
    /// As the authority says.
    pub async fn revoke_all(&self, target: revoke_request::Target) -> Result<i64, Status> {
        let request = RevokeRequest { target: Some(target), reason: "lost".to_owned() };
        Ok(self.revocations().revoke(request).await?.into_inner().revoked)
    }

    /// The current revocation lists.
    ///
    /// # Errors
    /// As the authority says.
    pub async fn revocation_lists(&self) -> Result<Vec<RevocationList>, Status> {
        let request = ListRevocationListsRequest::default();
        Ok(self.revocations().list_revocation_lists(request).await?.into_inner().lists)
    }

    /// A stream of the revocation lists.
    ///
    /// # Errors
    /// As the authority says.
    pub async fn watch_revocation_lists(&self) -> Result<Streaming<WatchRevocationListsResponse>, Status> {
        let request = WatchRevocationListsRequest::default();
        Ok(self.revocations().watch_revocation_lists(request).await?.into_inner())
    }

    /// What is on record of a certificate.
    ///
    /// # Errors
    /// As the authority says.
    pub async fn record(&self, serial_number: String) -> Result<CertificateRecord, Status> {
        let found = self.certificates().get_certificate(GetCertificateRequest { serial_number }).await?;
        Ok(found.into_inner().certificate.unwrap())
    }

    /// The newest records, at most 500.
    ///
    /// # Errors
    /// As the authority says.
    pub async fn records(&self) -> Result<Vec<CertificateRecord>, Status> {
        let request = ListCertificatesRequest { page_size: 500, ..Default::default() };
        Ok(self.certificates().list_certificates(request).await?.into_inner().certificates)
    }

    /// Creates one entry, unless the authority is gone or refuses it.
    pub async fn try_create_entry(&self, entry: types::Entry) -> Option<types::Entry> {
        let request = BatchCreateEntryRequest { entries: vec![entry], output_mask: None };
        let result = self.entry().batch_create_entry(request).await.ok()?.into_inner().results.pop()?;
        result.entry
    }

    /// One entry.
    ///
    /// # Errors
    /// As the authority says.
    pub async fn get_entry(&self, id: &str) -> Result<types::Entry, Status> {
        let request = GetEntryRequest { id: id.to_owned(), output_mask: None };
        self.entry().get_entry(request).await.map(tonic::Response::into_inner)
    }

    /// Creates one entry.
    ///
    /// # Panics
    /// When the authority refuses it.
    pub async fn create_entry(&self, entry: types::Entry) -> types::Entry {
        let request = BatchCreateEntryRequest { entries: vec![entry], output_mask: None };
        let result = self.entry().batch_create_entry(request).await.unwrap().into_inner().results.remove(0);
        assert_eq!(result.status.unwrap().code, 0);
        result.entry.unwrap()
    }

    /// Deletes one entry.
    ///
    /// # Panics
    /// When the authority refuses it.
    pub async fn delete_entry(&self, entry: &types::Entry) {
        let request = BatchDeleteEntryRequest { ids: vec![entry.id.clone()] };
        let result = self.entry().batch_delete_entry(request).await.unwrap().into_inner().results.remove(0);
        assert_eq!(result.status.unwrap().code, 0);
    }
}
