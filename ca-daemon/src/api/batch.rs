//! Calls on many things at once, each with a result of its own.

use secplane_proto::spire::api::types;
use tonic::Status;

/// The most items of one batch; a larger one is refused as a whole.
pub(super) const LARGEST_BATCH: usize = 500;

/// Whether a batch may be so long.
pub(super) fn check_batch(length: usize) -> Result<(), Status> {
    if length > LARGEST_BATCH {
        return Err(Status::resource_exhausted(format!(
            "a batch has at most {LARGEST_BATCH} items, this one has {length}; send several"
        )));
    }
    Ok(())
}

/// The status of an item that was done.
pub(super) fn done() -> types::Status {
    types::Status { code: 0, message: "OK".to_owned() }
}

/// The status of an item that was not done.
pub(super) fn failed(status: &Status) -> types::Status {
    types::Status { code: status.code().into(), message: status.message().to_owned() }
}
