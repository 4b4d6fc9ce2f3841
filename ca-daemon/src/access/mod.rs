//! Who is asking, and what they may do.
//!
//! | caller | may |
//! |---|---|
//! | the local admin socket | everything |
//! | an X.509-SVID whose ID has an admin entry | everything |
//! | the X.509-SVID of an attested node agent | ask for its entries and their SVIDs, renew itself as an agent |
//! | any certificate of this authority | renew itself, read the trust bundle, have cards verified, list the services |
//! | nobody in particular | read the trust bundle, prove itself to be a node |
//!
//! A caller whose certificate was revoked may do nothing at all.

mod caller;
mod revoked;

use std::{sync::Arc, time::SystemTime};

pub use caller::{Caller, Holder, LocalPeer};
pub use revoked::{Revoked, RevokedCertificate};

use crate::{
    agents::{Agent, Agents, NotAnAgent, Standing},
    operations::metrics::DenialReason,
    registry::Registry,
};

/// What a call needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// Reading what is public: the trust bundle.
    Public,
    /// Administering the authority.
    Admin,
    /// Looking into the process itself: only from this machine, through the admin socket.
    LocalAdmin,
    /// Asking for work that reveals nothing: whoever has any identity here.
    Authenticated,
    /// Acting on the certificate that one authenticates with.
    OwnCertificate,
    /// Acting as an authority below this one.
    Downstream,
}

/// Decides what callers may do.
pub struct Access {
    registry: Arc<Registry>,
    agents: Arc<Agents>,
    revoked: Arc<Revoked>,
}

impl Access {
    /// Decides by these entries, these agents and these revocations.
    #[must_use]
    pub fn new(registry: Arc<Registry>, agents: Arc<Agents>, revoked: Arc<Revoked>) -> Self {
        Self { registry, agents, revoked }
    }

    /// Whether `caller` may do what needs `permission`, at `now`.
    ///
    /// # Errors
    /// When they may not: with the reason and what would help.
    pub fn authorize(&self, caller: &Caller, permission: Permission, now: SystemTime) -> Result<(), Denied> {
        self.check_certificate(caller, now)?;
        match permission {
            Permission::Public => Ok(()),
            Permission::Authenticated => match caller {
                Caller::Anonymous { .. } => Err(Denied::NeedsIdentity),
                Caller::LocalAdmin(_)
                | Caller::Insecure { .. }
                | Caller::Svid { .. }
                | Caller::Certificate(_) => Ok(()),
            },
            Permission::OwnCertificate => match caller {
                Caller::Svid { .. } | Caller::Certificate(_) => Ok(()),
                Caller::LocalAdmin(_) | Caller::Anonymous { .. } | Caller::Insecure { .. } => {
                    Err(Denied::NoCertificate)
                }
            },
            Permission::Downstream => match caller {
                Caller::Svid { id, .. } if self.registry.is_downstream(id, now) => Ok(()),
                Caller::Anonymous { .. } => Err(Denied::Unauthenticated),
                _ => Err(Denied::NotDownstream(caller.to_string())),
            },
            Permission::LocalAdmin => match caller {
                Caller::LocalAdmin(_) | Caller::Insecure { .. } => Ok(()),
                Caller::Svid { .. } | Caller::Certificate(_) | Caller::Anonymous { .. } => {
                    Err(Denied::NotLocal)
                }
            },
            Permission::Admin => match caller {
                Caller::LocalAdmin(_) | Caller::Insecure { .. } => Ok(()),
                Caller::Svid { id, .. } if self.registry.is_admin(id, now) => Ok(()),
                Caller::Svid { id, .. } => Err(Denied::NotAdmin(id.to_string())),
                Caller::Certificate(holder) => {
                    Err(Denied::NotAdmin(format!("certificate {}", holder.serial)))
                }
                Caller::Anonymous { .. } => Err(Denied::Unauthenticated),
            },
        }
    }

    /// The attested node agent that `caller` is, at `now`, and how it stands.
    ///
    /// # Errors
    /// When they are none that may act: with the reason, on which agents act.
    pub fn agent(&self, caller: &Caller, now: SystemTime) -> Result<(Arc<Agent>, Standing), Denied> {
        self.check_certificate(caller, now).map_err(|denied| match (denied, caller) {
            (Denied::Expired(_), Caller::Svid { id, .. }) => NotAnAgent::Expired(id.clone()).into(),
            // The SVIDs of whoever was banned or evicted are revoked; agents act on the reason.
            (denied @ Denied::Revoked(_), Caller::Svid { id, holder }) => {
                match self.agents.of_holder(id, &holder.serial) {
                    Err(reason @ (NotAnAgent::Banned(_) | NotAnAgent::NotAttested(_))) => reason.into(),
                    _ => denied,
                }
            }
            (denied, _) => denied,
        })?;
        match caller {
            Caller::Svid { id, holder } => Ok(self.agents.of_holder(id, &holder.serial)?),
            Caller::Anonymous { .. } => Err(NotAnAgent::Anonymous.into()),
            Caller::LocalAdmin(_) | Caller::Certificate(_) | Caller::Insecure { .. } => {
                Err(NotAnAgent::NoSvid.into())
            }
        }
    }

    /// Whether the certificate that they authenticated with still counts.
    fn check_certificate(&self, caller: &Caller, now: SystemTime) -> Result<(), Denied> {
        let Some(holder) = caller.holder() else { return Ok(()) };
        if self.revoked.contains(&holder.names) {
            return Err(Denied::Revoked(holder.serial.clone()));
        }
        if holder.not_after < now {
            return Err(Denied::Expired(holder.serial.clone()));
        }
        Ok(())
    }
}

impl Denied {
    /// The reason, as it is counted.
    #[must_use]
    pub fn reason(&self) -> DenialReason {
        match self {
            Self::Unauthenticated | Self::NeedsIdentity | Self::NoCertificate => {
                DenialReason::Unauthenticated
            }
            Self::NotAdmin(_) | Self::NotDownstream(_) | Self::NotLocal => DenialReason::NotPermitted,
            Self::NotAnAgent(NotAnAgent::Anonymous) => DenialReason::Unauthenticated,
            Self::NotAnAgent(NotAnAgent::Expired(_)) => DenialReason::Expired,
            Self::NotAnAgent(_) => DenialReason::Agent,
            Self::Revoked(_) => DenialReason::Revoked,
            Self::Expired(_) => DenialReason::Expired,
        }
    }
}

/// Why a caller may not do what they asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No certificate where one is needed.
    #[error(
        "this call needs a client certificate; connect with an X.509-SVID of an admin entry, or over the admin socket"
    )]
    Unauthenticated,
    /// No certificate where any would do.
    #[error("this call needs a client certificate; connect with a certificate of this authority")]
    NeedsIdentity,
    /// Not an admin.
    #[error("{0} may not do this: it needs a registration entry with `admin`")]
    NotAdmin(String),
    /// Not on this machine.
    #[error("this call is answered over the admin socket alone; make it on the machine of the authority")]
    NotLocal,
    /// Not an authority below this one.
    #[error("{0} may not do this: it needs a registration entry with `downstream`")]
    NotDownstream(String),
    /// The call is about the caller's own certificate, and there is none.
    #[error(
        "this call renews the certificate that the caller presents, and none was presented; connect over TLS with the certificate to renew"
    )]
    NoCertificate,
    /// The caller is not an agent that may act.
    #[error(transparent)]
    NotAnAgent(#[from] NotAnAgent),
    /// The caller's certificate was revoked.
    #[error("the caller's certificate {0} has been revoked")]
    Revoked(String),
    /// The caller's certificate expired while the connection was open.
    #[error("the caller's certificate {0} has expired; connect again with a current one")]
    Expired(String),
}
