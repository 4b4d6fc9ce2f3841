//! `secplane.ca.v1.Certificates`.

use std::{net::IpAddr, sync::Arc, time::Duration};

use secplane_identity::{SpiffeId, revocation::SerialNumber};
use secplane_proto::secplane::ca::v1::{
    CertificateKind as WireKind, CertificateRecord as WireRecord, GetCertificateRequest,
    GetCertificateResponse, IssueClientCertificateRequest, IssueClientCertificateResponse,
    IssueServerCertificateRequest, IssueServerCertificateResponse, IssuedCertificate,
    ListCertificatesRequest, ListCertificatesResponse, RenewCertificateRequest, RenewCertificateResponse,
    RevokeCertificateRequest, RevokeCertificateResponse, certificates_server::Certificates,
};
use tonic::{Request, Response, Status};

use super::{
    page,
    refusal::ToStatus,
    revocations::{check_reason, serial},
    services::Services,
    svid::lifetime,
};
use crate::{
    access::{Caller, Permission},
    audit::Action,
    authority::{CertificateKind, CertificateRequest, DnsName, SignedCertificate, Subject},
    instant::unix,
    issuance::{IssueError, Order, Requester},
    registry::EntryId,
    revocation::Target,
    store::{AuthorityRow, AuthorityState, CertificateFilter, CertificateRecord, Page},
};

const DEFAULT_PAGE: u32 = 100;
const LARGEST_PAGE: u32 = 500;
const MAX_COMMON_NAME_CHARACTERS: usize = 64;
/// The most names of one certificate.
const MAX_NAMES: usize = 100;

pub(super) struct CertificatesApi(pub(super) Arc<Services>);

#[tonic::async_trait]
impl Certificates for CertificatesApi {
    async fn issue_server_certificate(
        &self,
        request: Request<IssueServerCertificateRequest>,
    ) -> Result<Response<IssueServerCertificateResponse>, Status> {
        let caller = self.0.authorize(&request, Permission::Admin)?;
        let order = order_of_server(&caller, &request.into_inner());
        let certificate = Some(self.issue(&caller, order).await?);
        Ok(Response::new(IssueServerCertificateResponse { certificate }))
    }

    async fn issue_client_certificate(
        &self,
        request: Request<IssueClientCertificateRequest>,
    ) -> Result<Response<IssueClientCertificateResponse>, Status> {
        let caller = self.0.authorize(&request, Permission::Admin)?;
        let order = order_of_client(&caller, request.into_inner());
        let certificate = Some(self.issue(&caller, order).await?);
        Ok(Response::new(IssueClientCertificateResponse { certificate }))
    }

    async fn renew_certificate(
        &self,
        request: Request<RenewCertificateRequest>,
    ) -> Result<Response<RenewCertificateResponse>, Status> {
        let caller = self.0.authorize(&request, Permission::OwnCertificate)?;
        let order = self.renewal(&caller, request.into_inner()).await;
        let held = caller.holder().map(|holder| holder.serial.as_str()).unwrap_or_default();
        let order = self.0.noted(&caller, Action::CertificateRenew, held, order)?;
        let signed = self.0.issuance.issue(order).await.map_err(|error| error.to_status())?;
        Ok(Response::new(RenewCertificateResponse { certificate: Some(issued(&signed)) }))
    }

    async fn list_certificates(
        &self,
        request: Request<ListCertificatesRequest>,
    ) -> Result<Response<ListCertificatesResponse>, Status> {
        self.0.authorize(&request, Permission::Admin)?;
        let wire = request.into_inner();
        let kind = kind_of_wire(wire.by_kind())?;
        let size = match u32::try_from(wire.page_size) {
            Ok(0) => DEFAULT_PAGE,
            Ok(size) => size.min(LARGEST_PAGE),
            Err(_) => return Err(Status::invalid_argument("the page size is negative")),
        };
        let before = match wire.page_token.as_str() {
            "" => None,
            token => Some(token.parse().map_err(|_| {
                Status::invalid_argument("the page token is not one that this authority gave out")
            })?),
        };
        let spiffe_id = match wire.by_spiffe_id.as_str() {
            "" => None,
            id => Some(
                SpiffeId::parse(id).map_err(|error| Status::invalid_argument(error.to_string()))?.to_string(),
            ),
        };
        let valid_after = wire.unexpired_only.then(|| unix(self.0.issuance.clock().now()));
        let filter = CertificateFilter { spiffe_id, kind, valid_after };
        let records = self
            .0
            .issuance
            .store()
            .list_certificates(&filter, Page { before, size })
            .await
            .map_err(|error| error.to_status())?;
        let positions: Vec<_> = records.iter().map(|record| record.position).collect();
        let without_der = records.into_iter().map(|r| WireRecord { certificate: Vec::new(), ..record(r) });
        let certificates = page::fitting(without_der);
        let is_full = u32::try_from(positions.len()).is_ok_and(|length| length == size);
        let may_have_more = is_full || certificates.len() < positions.len();
        let next_page_token = match positions[..certificates.len()].last() {
            Some(last) if may_have_more => last.to_string(),
            _ => String::new(),
        };
        Ok(Response::new(ListCertificatesResponse { certificates, next_page_token }))
    }

    async fn get_certificate(
        &self,
        request: Request<GetCertificateRequest>,
    ) -> Result<Response<GetCertificateResponse>, Status> {
        self.0.authorize(&request, Permission::Admin)?;
        let serial = serial(&request.into_inner().serial_number)?;
        Ok(Response::new(GetCertificateResponse { certificate: Some(self.known(&serial).await?) }))
    }

    async fn revoke_certificate(
        &self,
        request: Request<RevokeCertificateRequest>,
    ) -> Result<Response<RevokeCertificateResponse>, Status> {
        let caller = self.0.authorize(&request, Permission::Admin)?;
        let RevokeCertificateRequest { serial_number, reason } = request.into_inner();
        let serial = serial(&serial_number).and_then(|serial| check_reason(&reason).map(|()| serial));
        let serial = self.0.noted(&caller, Action::CertificateRevoke, &serial_number, serial)?;
        self.0.revoke(Target::Certificate(serial), reason, &caller).await?;
        tracing::info!(%caller, %serial, "a certificate was revoked");
        Ok(Response::new(RevokeCertificateResponse { certificate: Some(self.known(&serial).await?) }))
    }
}

impl CertificatesApi {
    async fn issue(
        &self,
        caller: &Caller,
        order: Result<Order, Status>,
    ) -> Result<IssuedCertificate, Status> {
        let order = self.0.noted(caller, Action::CertificateIssue, "", order)?;
        let signed = self.0.issuance.issue(order).await.map_err(|error| error.to_status())?;
        Ok(issued(&signed))
    }

    /// The same names for another key, while they are still granted.
    async fn renewal(&self, caller: &Caller, wire: RenewCertificateRequest) -> Result<Order, Status> {
        let RenewCertificateRequest { csr, ttl } = wire;
        let old = self.record_of(caller).await?;
        let granted = self.granted_lifetime(&old)?;
        let lifetime = renewed_lifetime(lifetime(ttl)?, granted)?;
        let subject = self.0.issuance.subject_of(&old).map_err(|error| error.to_status())?;
        if let Some(id) = subject.spiffe_id().filter(|id| id.is_reserved()) {
            return Err(Status::permission_denied(format!(
                "{id} is renewed by its agent alone; call RenewAgent"
            )));
        }
        Ok(Order {
            request: CertificateRequest::parse(&csr).map_err(|error| error.to_status())?,
            subject,
            lifetime,
            requester: Requester::from(caller),
            entry_id: old.entry_id.as_deref().and_then(|id| EntryId::parse(id).ok()),
            renews: Some(old),
        })
    }

    /// What is known of a certificate: a record, or, of a CA below ours, what stands among the authorities.
    async fn known(&self, serial: &SerialNumber) -> Result<WireRecord, Status> {
        match self.0.issuance.record(&serial.to_string()).await {
            Ok(found) => Ok(record(found)),
            Err(IssueError::NotFound(unknown)) => {
                let ca = self.0.revoker.ca(serial).await.map_err(|error| error.to_status())?;
                ca.map(|ca| record_of_ca(serial, ca)).ok_or_else(|| IssueError::NotFound(unknown).to_status())
            }
            Err(error) => Err(error.to_status()),
        }
    }

    /// What is on record of the certificate that the caller presents, and of no other: a CA of somebody else below ours
    /// may give out the serial number of one of ours, and whoever can write the database may write any record.
    async fn record_of(&self, caller: &Caller) -> Result<CertificateRecord, Status> {
        let Some(holder) = caller.holder() else {
            return Err(Status::unauthenticated("the caller presented no certificate"));
        };
        let serial = &holder.serial;
        let refuse = |why: &str| {
            Status::failed_precondition(format!(
                "certificate {serial} {why}, so it cannot be renewed; have a new one issued"
            ))
        };
        let record = self.0.issuance.record(serial).await.map_err(|_| refuse("is not on record here"))?;
        if record.certificate.as_slice() != &*holder.der {
            return Err(refuse("is not the one on record here under its serial number"));
        }
        if record.mac.is_none() {
            return Err(refuse("was recorded without a proof of who wrote the record"));
        }
        if !self.0.issuance.wrote(&record) {
            tracing::error!(
                serial,
                "the record of a certificate has a wrong MAC: this authority did not write it; somebody changed the database"
            );
            return Err(refuse("has a record that this authority did not write"));
        }
        Ok(record)
    }

    /// The lifetime that the entry grants, if one granted the identity and says so: an identity that an entry granted
    /// is renewed only while the entry still grants it, and for no longer than the entry says.
    fn granted_lifetime(&self, old: &CertificateRecord) -> Result<Option<Duration>, Status> {
        let Some(entry_id) = &old.entry_id else { return Ok(None) };
        let now = self.0.issuance.clock().now();
        EntryId::parse(entry_id)
            .ok()
            .and_then(|id| self.0.registry.entry(&id))
            .filter(|entry| {
                let fields = entry.fields();
                let same_names = fields.dns_names.iter().map(DnsName::as_str).eq(old.dns_names.iter());
                !entry.is_expired(now)
                    && old.spiffe_id.as_deref() == Some(fields.spiffe_id.as_str())
                    && same_names
            })
            .map(|entry| self.0.issuance.granted_lifetime(&entry))
            .ok_or_else(|| {
                Status::permission_denied(format!(
                    "the registration entry {entry_id} no longer grants this identity; it cannot be renewed"
                ))
            })
    }
}

fn order_of_server(caller: &Caller, wire: &IssueServerCertificateRequest) -> Result<Order, Status> {
    let (dns_names, ip_addresses) = names(&wire.dns_names, &wire.ip_addresses)?;
    if dns_names.is_empty() && ip_addresses.is_empty() {
        return Err(Status::invalid_argument(
            "a server certificate needs at least one DNS name or IP address",
        ));
    }
    order(caller, &wire.csr, Subject::Server { dns_names, ip_addresses }, wire.ttl)
}

fn order_of_client(caller: &Caller, wire: IssueClientCertificateRequest) -> Result<Order, Status> {
    let (dns_names, ip_addresses) = names(&wire.dns_names, &wire.ip_addresses)?;
    let common_name = common_name(wire.common_name)?;
    order(caller, &wire.csr, Subject::Client { common_name, dns_names, ip_addresses }, wire.ttl)
}

fn order(caller: &Caller, csr: &[u8], subject: Subject, ttl: i64) -> Result<Order, Status> {
    Ok(Order {
        request: CertificateRequest::parse(csr).map_err(|error| error.to_status())?,
        subject,
        lifetime: lifetime(ttl)?,
        requester: Requester::from(caller),
        entry_id: None,
        renews: None,
    })
}

fn renewed_lifetime(wanted: Option<Duration>, granted: Option<Duration>) -> Result<Option<Duration>, Status> {
    match (wanted, granted) {
        (Some(wanted), Some(granted)) if wanted > granted => Err(Status::invalid_argument(format!(
            "a lifetime of {} s was asked for; the registration entry grants at most {} s",
            wanted.as_secs(),
            granted.as_secs()
        ))),
        (wanted, granted) => Ok(wanted.or(granted)),
    }
}

fn names(dns_names: &[String], ip_addresses: &[String]) -> Result<(Vec<DnsName>, Vec<IpAddr>), Status> {
    if dns_names.len() + ip_addresses.len() > MAX_NAMES {
        return Err(Status::invalid_argument(format!("a certificate has at most {MAX_NAMES} names")));
    }
    let dns_names = dns_names
        .iter()
        .map(|name| DnsName::parse(name))
        .collect::<Result<_, _>>()
        .map_err(|error| Status::invalid_argument(error.to_string()))?;
    let ip_addresses = ip_addresses
        .iter()
        .map(|text| {
            text.parse().map_err(|_| Status::invalid_argument(format!("`{text}` is not an IP address")))
        })
        .collect::<Result<_, _>>()?;
    Ok((dns_names, ip_addresses))
}

fn common_name(text: String) -> Result<String, Status> {
    let length = text.chars().count();
    if length == 0 || length > MAX_COMMON_NAME_CHARACTERS || text.chars().any(char::is_control) {
        return Err(Status::invalid_argument(
            "a client certificate needs a common name of 1 to 64 printable characters",
        ));
    }
    Ok(text)
}

fn issued(signed: &SignedCertificate) -> IssuedCertificate {
    IssuedCertificate {
        serial_number: signed.serial.clone(),
        chain: signed.chain.iter().map(|der| der.to_vec()).collect(),
        expires_at: unix(signed.not_after()),
    }
}

fn record(record: CertificateRecord) -> WireRecord {
    let kind = match record.kind {
        CertificateKind::X509Svid => WireKind::X509Svid,
        CertificateKind::Server => WireKind::Server,
        CertificateKind::Client => WireKind::Client,
    };
    WireRecord {
        serial_number: record.serial,
        kind: kind.into(),
        spiffe_id: record.spiffe_id.unwrap_or_default(),
        common_name: record.common_name.unwrap_or_default(),
        dns_names: record.dns_names,
        ip_addresses: record.ip_addresses,
        not_before: record.not_before,
        not_after: record.not_after,
        issued_at: record.issued_at,
        requester: record.requester,
        entry_id: record.entry_id.unwrap_or_default(),
        renews: record.renews.unwrap_or_default(),
        revoked_at: record.revoked_at.unwrap_or_default(),
        revocation_reason: record.revocation_reason.unwrap_or_default(),
        issuer_key_id: record.issuer_key_id,
        certificate: record.certificate,
    }
}

fn record_of_ca(serial: &SerialNumber, ca: AuthorityRow) -> WireRecord {
    WireRecord {
        serial_number: serial.to_string(),
        kind: WireKind::Ca.into(),
        not_before: ca.not_before,
        not_after: ca.not_after,
        issued_at: ca.created_at,
        requester: ca.replica,
        revoked_at: if ca.state == AuthorityState::Revoked { ca.since } else { 0 },
        issuer_key_id: ca.issuer_key_id,
        certificate: ca.public,
        ..WireRecord::default()
    }
}

fn kind_of_wire(kind: WireKind) -> Result<Option<CertificateKind>, Status> {
    Ok(match kind {
        WireKind::Unspecified => None,
        WireKind::X509Svid => Some(CertificateKind::X509Svid),
        WireKind::Server => Some(CertificateKind::Server),
        WireKind::Client => Some(CertificateKind::Client),
        WireKind::Ca => {
            return Err(Status::invalid_argument("CAs are listed by Authority/ListAuthorities"));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renews_for_no_longer_than_the_entry_grants() {
        let minutes = |n: u64| Some(Duration::from_secs(n * 60));
        assert_eq!(renewed_lifetime(None, minutes(1)).unwrap(), minutes(1));
        assert_eq!(renewed_lifetime(minutes(1), minutes(1)).unwrap(), minutes(1));
        assert_eq!(renewed_lifetime(minutes(5), None).unwrap(), minutes(5));
        assert_eq!(renewed_lifetime(None, None).unwrap(), None);
        assert!(renewed_lifetime(minutes(2), minutes(1)).is_err());
    }
}
