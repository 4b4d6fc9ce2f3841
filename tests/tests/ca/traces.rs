//! Traces: sent where a collector is configured, as part of the caller's own.

use std::net::SocketAddr;

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value,
    trace::v1::Span,
};
use secplane_identity::PrivateKey;
use secplane_proto::spire::api::server::svid::v1::MintX509svidRequest;
use secplane_tests::{authority::CaFolder, process::CaProcess, requests, soon};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Request, Response, Status, transport::server::TcpIncoming};

const MINT: &str = "spire.api.server.svid.v1.SVID/MintX509SVID";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// A collector that keeps what it gets.
struct Collector(mpsc::UnboundedSender<Span>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans;
        for scope in resources.into_iter().flat_map(|resource| resource.scope_spans) {
            for span in scope.spans {
                let _ = self.0.send(span);
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn collect() -> (SocketAddr, mpsc::UnboundedReceiver<Span>, DropGuard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, spans) = mpsc::unbounded_channel();
    let stop = CancellationToken::new();
    let served = tonic::transport::Server::builder()
        .add_service(TraceServiceServer::new(Collector(sender)))
        .serve_with_incoming_shutdown(TcpIncoming::from(listener), stop.clone().cancelled_owned());
    tokio::spawn(served);
    (address, spans, stop.drop_guard())
}

fn attribute(span: &Span, key: &str) -> Option<Value> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    found.value.clone()?.value
}

#[tokio::test]
async fn sends_each_call_as_part_of_its_caller_s_trace() {
    let (collector, mut spans, _collecting) = collect().await;
    let mut folder = CaFolder::new();
    folder.config.telemetry.otlp.endpoint = Some(format!("http://{collector}"));
    let ca = CaProcess::start(&folder).await;

    let csr = requests::naming(&PrivateKey::generate().unwrap(), &["spiffe://example.org/a"]);
    // Its flags say that the caller does not sample: that decides nothing here.
    let traceparent = format!("00-{TRACE}-{PARENT}-00");
    let mut call = Request::new(MintX509svidRequest { csr, ttl: 0 });
    call.metadata_mut().insert("traceparent", traceparent.parse().unwrap());
    ca.admin().svid().mint_x509svid(call).await.unwrap();
    let refused = MintX509svidRequest { csr: Vec::new(), ttl: 0 };
    ca.admin().svid().mint_x509svid(refused).await.unwrap_err();
    // What has not been sent yet is sent at the end.
    ca.terminate().await;

    let mut minted = Vec::new();
    while minted.len() < 2 {
        let span = soon("a span", spans.recv()).await.unwrap();
        if span.name == MINT {
            minted.push(span);
        }
    }
    let (done, refused) = (&minted[0], &minted[1]);
    assert_eq!((hex(&done.trace_id), hex(&done.parent_span_id)), (TRACE.to_owned(), PARENT.to_owned()));
    assert_eq!(attribute(done, "rpc.grpc.status_code"), Some(Value::IntValue(0)));
    let caller = format!("local(uid={})", rustix::process::getuid().as_raw());
    assert_eq!(attribute(done, "enduser.id"), Some(Value::StringValue(caller)));
    assert_ne!(hex(&refused.trace_id), TRACE);
    assert_eq!(attribute(refused, "rpc.grpc.status_code"), Some(Value::IntValue(3)));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A collector that is not there costs spans, and nothing else.
#[tokio::test]
async fn serves_though_there_is_no_collector() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut folder = CaFolder::new();
    folder.config.telemetry.otlp.endpoint = Some(format!("http://{}", taken.local_addr().unwrap()));
    drop(taken);
    let ca = CaProcess::start(&folder).await;
    ca.admin().mint("/a", 0).await.unwrap();
    ca.terminate().await;
}
