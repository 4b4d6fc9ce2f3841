//! Who is at the other end of a call, as proven by the connection.

use std::{fmt, net::SocketAddr, time::SystemTime};

use rustls_pki_types::CertificateDer;
use secplane_identity::{SpiffeId, revocation::Revocable, serve::Connection, tls::Peer, x509::Certificate};

/// A caller, by what their connection proves.
#[derive(Debug, Clone)]
pub enum Caller {
    /// Somebody who may open the admin socket.
    LocalAdmin(LocalPeer),
    /// The holder of an X.509-SVID.
    Svid {
        /// Who they are.
        id: SpiffeId,
        /// Their certificate.
        holder: Holder,
    },
    /// The holder of a certificate without a SPIFFE ID.
    Certificate(Holder),
    /// Somebody who presented nothing.
    Anonymous {
        /// Where from.
        address: SocketAddr,
    },
    /// Anybody, on a daemon that runs with `--insecure`.
    Insecure {
        /// Where from, where it is known.
        address: Option<SocketAddr>,
    },
}

/// A certificate that a caller authenticated with.
#[derive(Debug, Clone)]
pub struct Holder {
    /// Itself.
    pub der: CertificateDer<'static>,
    /// Its serial number.
    pub serial: String,
    /// What it can be revoked by.
    pub names: Revocable,
    /// When it ends.
    pub not_after: SystemTime,
    /// Where the caller connected from.
    pub address: SocketAddr,
}

/// A process on this machine, as the kernel names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalPeer {
    /// Process, if the kernel can name it in our namespace.
    pub pid: Option<i32>,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Caller {
    /// The caller behind a TLS connection.
    #[must_use]
    pub fn of(connection: &Connection) -> Self {
        let address = connection.address;
        let holder = |certificate: &Certificate| Holder {
            der: certificate.der.clone(),
            serial: certificate.serial.clone(),
            names: Revocable::of(certificate),
            not_after: certificate.not_after,
            address,
        };
        match &*connection.peer {
            Peer::Anonymous => Self::Anonymous { address },
            Peer::Svid(svid) => Self::Svid { id: svid.id().clone(), holder: holder(svid.leaf()) },
            Peer::Certificate(verified) => Self::Certificate(holder(verified.certificate())),
        }
    }

    /// The certificate that they authenticated with.
    #[must_use]
    pub fn holder(&self) -> Option<&Holder> {
        match self {
            Self::Svid { holder, .. } | Self::Certificate(holder) => Some(holder),
            Self::LocalAdmin(_) | Self::Anonymous { .. } | Self::Insecure { .. } => None,
        }
    }

    /// Where they connected from, if it was over the network.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Svid { holder, .. } | Self::Certificate(holder) => Some(holder.address),
            Self::Anonymous { address } => Some(*address),
            Self::Insecure { address } => *address,
            Self::LocalAdmin(_) => None,
        }
    }
}

/// The form in which a caller stands in records.
impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LocalAdmin(peer) => write!(f, "admin-socket(uid={})", peer.uid),
            Self::Svid { id, .. } => write!(f, "{id}"),
            Self::Certificate(holder) => write!(f, "certificate({})", holder.serial),
            Self::Anonymous { address } => write!(f, "anonymous({address})"),
            Self::Insecure { address: Some(address) } => write!(f, "insecure({address})"),
            Self::Insecure { address: None } => write!(f, "insecure"),
        }
    }
}
