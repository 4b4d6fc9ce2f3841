//! Plain HTTP, one request a connection.

use std::net::SocketAddr;

use http::HeaderMap;
use http_body_util::{BodyExt, Empty};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::soon;

/// An answer that has arrived.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    headers: HeaderMap,
    /// The content, which has to be text.
    pub body: String,
    /// The content as it came.
    pub bytes: Bytes,
}

impl Answer {
    /// A header; empty when there is none.
    ///
    /// # Panics
    /// When it is not text.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// The content as JSON.
    ///
    /// # Panics
    /// When it is something else.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// Asks for a path.
///
/// # Panics
/// When no answer comes.
pub async fn get(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Answer {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut request = http::Request::get(path).header("host", address.to_string());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap());
    let (head, body) = soon("an answer", response).await.unwrap().into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    drop(sender);
    let _ = connection.await;
    let body = String::from_utf8_lossy(&bytes).into_owned();
    Answer { status: head.status.as_u16(), headers: head.headers, body, bytes }
}
