//! X.509-SVIDs for the workloads of an attested agent: the call that is made most.
//!
//! What it costs is the signatures; so nothing is locked while they are made, an entry of the agent's own is found by
//! one look, and all of one call is recorded in one durable write.

use std::time::SystemTime;

use secplane_proto::spire::api::{
    server::svid::v1::{BatchNewX509svidResponse, NewX509svidParams, batch_new_x509svid_response},
    types,
};
use tonic::{Code, Status};

use super::{page, refusal::ToStatus, services::Services, svid::csr_refusal};
use crate::{
    access::Caller,
    agents::{Agent, AgentsError},
    audit::Action,
    authority::{CertificateRequest, SignedCertificate, Subject},
    instant::unix,
    issuance::{IssueError, Order, Requester, unrecorded},
    registry::{EntryId, spiffe_id_to_wire},
};

/// The most items of one call; more are refused as a whole.
const LARGEST_BATCH: usize = 500;

impl Services {
    /// Issues what an agent asks for: each item has a status of its own, in the order of the request.
    pub(super) async fn new_x509_svids(
        &self,
        caller: &Caller,
        agent: &Agent,
        params: Vec<NewX509svidParams>,
    ) -> Result<BatchNewX509svidResponse, Status> {
        if params.is_empty() {
            return Err(Status::invalid_argument("missing parameters"));
        }
        if params.len() > LARGEST_BATCH {
            return Err(Status::resource_exhausted(format!(
                "rate ({}) exceeds burst size ({LARGEST_BATCH}); ask for less at once",
                params.len()
            )));
        }
        // Proof: 500 fit.
        let count = u32::try_from(params.len()).unwrap_or(u32::MAX);
        self.within_limit(self.limits.signatures.hold_back(&agent.id, count).await)?;

        let now = self.issuance.clock().now();
        let requester = Requester::from(caller);
        let is_alone = params.len() == 1;
        let mut orders = Vec::with_capacity(params.len());
        let mut answers: Vec<Result<Hint, Status>> = Vec::with_capacity(params.len());
        for item in params {
            let answer = self.order(agent, &item, &requester, now).map(|(order, hint)| {
                orders.push(order);
                hint
            });
            if let Err(status) = &answer {
                self.note_of_entry(caller, Action::CertificateIssue, &item.entry_id, status);
            }
            answers.push(answer);
            // A long list must not keep others from the processor.
            if !is_alone {
                tokio::task::yield_now().await;
            }
        }
        let mut issued = self.issue_for(agent, orders).await?.into_iter();
        let results = answers
            .into_iter()
            .map(|answer| {
                let hint = answer?;
                // Proof: there is one outcome for each order.
                let outcome = issued.next().ok_or_else(|| Status::internal("an item was lost"))?;
                outcome.map(|signed| svid(&signed, hint)).map_err(|error| error.to_status())
            })
            .map(result);
        Ok(BatchNewX509svidResponse { results: within_one_message(results) })
    }

    /// Signs what an agent may have and records it, if it may still have it by then.
    async fn issue_for(
        &self,
        agent: &Agent,
        orders: Vec<Order>,
    ) -> Result<Vec<Result<SignedCertificate, IssueError>>, Status> {
        let (results, commit) = self.issuance.prepare_all(orders).await;
        match self.agents.commit_for(agent, commit).await {
            Ok(()) => Ok(results),
            Err(AgentsError::Store(error)) => Ok(unrecorded(results, error)),
            Err(error) => Err(error.to_status()),
        }
    }

    /// Checks one item: the entry is one that the agent may ask for, and the request is in order.
    fn order(
        &self,
        agent: &Agent,
        item: &NewX509svidParams,
        requester: &Requester,
        now: SystemTime,
    ) -> Result<(Order, Hint), Status> {
        if item.entry_id.is_empty() {
            return Err(Status::invalid_argument("missing entry ID"));
        }
        if item.csr.is_empty() {
            return Err(Status::invalid_argument("missing CSR"));
        }
        // One answer for both, so that nobody learns which entries others have.
        let entry = EntryId::parse(&item.entry_id)
            .ok()
            .and_then(|id| self.registry.authorized_entry(&agent.node(), &id, now))
            .ok_or_else(|| Status::not_found("entry not found or not authorized"))?;
        let request = CertificateRequest::parse(&item.csr)
            .map_err(|error| csr_refusal(&error, "invalid CSR signature"))?;
        let fields = entry.fields();
        let order = Order {
            request,
            subject: Subject::X509Svid { id: fields.spiffe_id.clone(), dns_names: fields.dns_names.clone() },
            lifetime: self.issuance.granted_lifetime(&entry),
            requester: requester.clone(),
            entry_id: Some(entry.id().clone()),
            renews: None,
        };
        Ok((order, fields.hint.clone()))
    }
}

type Hint = String;

fn svid(signed: &SignedCertificate, hint: Hint) -> types::X509svid {
    types::X509svid {
        cert_chain: signed.chain.iter().map(|der| der.to_vec()).collect(),
        id: signed.subject.spiffe_id().map(spiffe_id_to_wire),
        expires_at: unix(signed.not_after()),
        hint,
    }
}

fn result(outcome: Result<types::X509svid, Status>) -> batch_new_x509svid_response::Result {
    let (code, message, svid) = match outcome {
        Ok(svid) => (Code::Ok, "OK".to_owned(), Some(svid)),
        Err(status) => (status.code(), status.message().to_owned(), None),
    };
    batch_new_x509svid_response::Result { status: Some(types::Status { code: code.into(), message }), svid }
}

/// Results that fit into one answer; the SVIDs for which there is no room are asked for again. That takes long chains
/// of large keys: with the usual ones, a full batch has room to spare.
fn within_one_message(
    results: impl Iterator<Item = batch_new_x509svid_response::Result>,
) -> Vec<batch_new_x509svid_response::Result> {
    let mut room = page::Room::default();
    results
        .map(|item| match room.holds(&item) {
            true => item,
            false => result(Err(Status::resource_exhausted(
                "the answer has become too large; ask for less at once",
            ))),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn answers_every_item_and_stays_within_one_message() {
        let large = || {
            let cert_chain = vec![vec![0; 1024 * 1024]];
            result(Ok(types::X509svid { cert_chain, ..Default::default() }))
        };
        let results = within_one_message((0..5).map(|_| large()));
        let codes: Vec<_> = results.iter().map(|item| item.status.as_ref().unwrap().code).collect();
        assert_eq!(codes, [0, 0, 8, 8, 8]);
        assert!(results.iter().map(Message::encoded_len).sum::<usize>() < 4 * 1024 * 1024);
    }
}
