//! The wire contracts of Secplane as generated Rust: messages, clients and servers, and their descriptors.
//!
//! The `.proto` files in `proto/` are the source and carry the documentation of every message.

/// The path of every method that the contracts define, such as `/SpiffeWorkloadAPI/FetchX509SVID`, in order.
pub const METHODS: &[&str] = include!(concat!(env!("OUT_DIR"), "/methods.rs"));

/// The authority's services with all their messages: an encoded `google.protobuf.FileDescriptorSet`.
pub const SERVER_DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/server.bin"));

/// The Workload API with all its messages: an encoded `google.protobuf.FileDescriptorSet`.
pub const WORKLOAD_DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/workload.bin"));

/// The SPIFFE Workload API (it has no protobuf package).
pub mod workload {
    #![allow(missing_docs, clippy::all, reason = "generated from spiffe/workload.proto")]
    include!(concat!(env!("OUT_DIR"), "/_.rs"));
}

/// The server API that identity tools already speak.
pub mod spire {
    #![allow(missing_docs, clippy::all, reason = "generated from proto/spire")]
    /// `spire.api`.
    pub mod api {
        /// Types that the services share.
        pub mod types {
            tonic::include_proto!("spire.api.types");
        }
        /// `spire.api.server`.
        pub mod server {
            /// Issues SVIDs.
            pub mod svid {
                /// Version 1.
                pub mod v1 {
                    tonic::include_proto!("spire.api.server.svid.v1");
                }
            }
            /// Registration entries.
            pub mod entry {
                /// Version 1.
                pub mod v1 {
                    tonic::include_proto!("spire.api.server.entry.v1");
                }
            }
            /// Trust bundles.
            pub mod bundle {
                /// Version 1.
                pub mod v1 {
                    tonic::include_proto!("spire.api.server.bundle.v1");
                }
            }
            /// Node agents.
            pub mod agent {
                /// Version 1.
                pub mod v1 {
                    tonic::include_proto!("spire.api.server.agent.v1");
                }
            }
            /// Federated trust domains.
            pub mod trustdomain {
                /// Version 1.
                pub mod v1 {
                    tonic::include_proto!("spire.api.server.trustdomain.v1");
                }
            }
            /// The life of the authorities.
            pub mod localauthority {
                /// Version 1.
                pub mod v1 {
                    tonic::include_proto!("spire.api.server.localauthority.v1");
                }
            }
            /// What the authority is doing.
            pub mod debug {
                /// Version 1.
                pub mod v1 {
                    tonic::include_proto!("spire.api.server.debug.v1");
                }
            }
            /// How much it logs.
            pub mod logger {
                /// Version 1.
                pub mod v1 {
                    tonic::include_proto!("spire.api.server.logger.v1");
                }
            }
        }
    }
}

/// What gRPC itself shares.
pub mod google {
    #![allow(missing_docs, clippy::all, reason = "generated from google/rpc")]
    /// `google.protobuf`.
    pub mod protobuf {
        pub use prost_types::Any;
    }
    /// `google.rpc`.
    pub mod rpc {
        tonic::include_proto!("google.rpc");
    }
}

/// Our own packages.
pub mod secplane {
    #![allow(missing_docs, clippy::all, reason = "generated from proto/secplane")]
    /// What the server API above lacks: client and server certificates, renewal, revocation,
    /// the audit log, watches.
    pub mod ca {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("secplane.ca.v1");
        }
        /// What the authority keeps in its database.
        pub mod store {
            /// Version 1.
            pub mod v1 {
                tonic::include_proto!("secplane.ca.store.v1");
            }
        }
    }
}
