//! gRPC reflection: tools that have no `.proto` files, such as grpcurl, see what there is to call.

use std::collections::BTreeSet;

use futures_util::{StreamExt, stream};
use prost::Message;
use prost_types::FileDescriptorProto;
use secplane_proto::workload::X509svidRequest;
use secplane_tests::{authority::Ca, clients::Clients, soon};
use tokio::sync::oneshot;
use tonic::{Code, Status, Streaming, transport::Channel};
use tonic_reflection::pb::{
    v1::{
        ServerReflectionRequest, ServerReflectionResponse, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    },
    v1alpha,
};

const WORKLOAD_API: &str = "SpiffeWorkloadAPI";
const OF_REFLECTION: [&str; 2] =
    ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];

fn request(asked: MessageRequest) -> ServerReflectionRequest {
    ServerReflectionRequest { host: String::new(), message_request: Some(asked) }
}

async fn answer(channel: Channel, asked: MessageRequest) -> Result<MessageResponse, Status> {
    let asked = stream::iter([request(asked)]);
    let answers = ServerReflectionClient::new(channel).server_reflection_info(asked).await?;
    Ok(answers.into_inner().message().await?.unwrap().message_response.unwrap())
}

async fn listed(channel: Channel) -> Result<BTreeSet<String>, Status> {
    match answer(channel, MessageRequest::ListServices(String::new())).await? {
        MessageResponse::ListServicesResponse(list) => {
            Ok(list.service.into_iter().map(|service| service.name).collect())
        }
        other => panic!("{other:?}"),
    }
}

/// As [`listed`], in the words of the version before, which older tools speak alone.
async fn listed_in_v1alpha(channel: Channel) -> Result<BTreeSet<String>, Status> {
    use v1alpha::{
        server_reflection_client::ServerReflectionClient, server_reflection_request::MessageRequest,
        server_reflection_response::MessageResponse,
    };
    let asked = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let answers = ServerReflectionClient::new(channel).server_reflection_info(stream::iter([asked])).await?;
    match answers.into_inner().message().await?.unwrap().message_response.unwrap() {
        MessageResponse::ListServicesResponse(list) => {
            Ok(list.service.into_iter().map(|service| service.name).collect())
        }
        other => panic!("{other:?}"),
    }
}

/// A call that is open: what it answers, and what ends its questions when it is dropped.
type OpenCall = (Streaming<ServerReflectionResponse>, oneshot::Sender<()>);

/// A call that asks for the list, and stays open.
async fn stays_open(channel: Channel) -> Result<OpenCall, Status> {
    let first = request(MessageRequest::ListServices(String::new()));
    let (asking, given_up) = oneshot::channel();
    let asked = stream::iter([first]).chain(stream::pending().take_until(given_up));
    let mut answers = ServerReflectionClient::new(channel).server_reflection_info(asked).await?.into_inner();
    answers.message().await?.unwrap();
    Ok((answers, asking))
}

/// The services that the contracts define.
fn defined() -> BTreeSet<String> {
    let methods = secplane_proto::METHODS.iter();
    methods.map(|method| method.split('/').nth(1).unwrap().to_owned()).collect()
}

fn with_those_of_grpc(services: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    services.into_iter().chain(OF_REFLECTION.map(str::to_owned)).collect()
}

fn at_workload_socket(ca: &Ca) -> Channel {
    Clients::over_unix_socket(&ca.folder().config.workload_api_socket()).channel()
}

#[tokio::test]
async fn lists_the_services_of_the_authority_to_whoever_has_an_identity() {
    let ca = Ca::start().await;
    let holder = ca.admin().issue_client("alice", 0).await.unwrap();
    let health = "grpc.health.v1.Health".to_owned();
    let managed = defined().into_iter().filter(|service| service != WORKLOAD_API).chain([health]);
    let expected = with_those_of_grpc(managed);
    for clients in [ca.admin(), ca.connect_as(&holder).await] {
        assert_eq!(listed(clients.channel()).await.unwrap(), expected);
        assert_eq!(listed_in_v1alpha(clients.channel()).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn lists_nothing_to_a_stranger() {
    let ca = Ca::start().await;
    let stranger = ca.connect_anonymously().await.channel();
    for refused in [listed(stranger.clone()).await, listed_in_v1alpha(stranger).await] {
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    }
}

/// The list comes without the header that every call of the Workload API must carry; the calls themselves do not.
#[tokio::test]
async fn lists_the_workload_api_at_its_socket() {
    let ca = Ca::start().await;
    let expected = with_those_of_grpc([WORKLOAD_API.to_owned()]);
    assert_eq!(listed(at_workload_socket(&ca)).await.unwrap(), expected);
    assert_eq!(listed_in_v1alpha(at_workload_socket(&ca)).await.unwrap(), expected);
    let refused = ca.workload().client().fetch_x509svid(X509svidRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
}

/// The file that a question is answered with.
async fn file(channel: Channel, asked: MessageRequest) -> FileDescriptorProto {
    match answer(channel, asked).await.unwrap() {
        MessageResponse::FileDescriptorResponse(files) => {
            FileDescriptorProto::decode(files.file_descriptor_proto[0].as_slice()).unwrap()
        }
        other => panic!("{other:?}"),
    }
}

/// As a tool does before it makes a call: it follows what the file imports.
#[tokio::test]
async fn describes_every_service_with_all_that_its_messages_need() {
    let ca = Ca::start().await;
    for channel in [ca.admin().channel(), at_workload_socket(&ca)] {
        for service in listed(channel.clone()).await.unwrap() {
            let asked = MessageRequest::FileContainingSymbol(service.clone());
            let described = file(channel.clone(), asked).await;
            let of_file = described.service.iter().map(|service| match described.package() {
                "" => service.name().to_owned(),
                package => format!("{package}.{}", service.name()),
            });
            assert!(of_file.into_iter().any(|name| name == service), "{service}");
            let (mut wanted, mut known) = (described.dependency, BTreeSet::new());
            while let Some(name) = wanted.pop() {
                if known.insert(name.clone()) {
                    let asked = MessageRequest::FileByFilename(name.clone());
                    let imported = file(channel.clone(), asked).await;
                    assert_eq!(imported.name(), name);
                    wanted.extend(imported.dependency);
                }
            }
        }
    }
}

#[tokio::test]
async fn ends_with_the_daemon_and_does_not_hold_it_up() {
    let ca = Ca::start().await;
    let mut open = vec![
        stays_open(ca.admin().channel()).await.unwrap(),
        stays_open(at_workload_socket(&ca)).await.unwrap(),
    ];
    let stopping = tokio::spawn(ca.stop());
    for (answers, _asking) in &mut open {
        // It ends in good order: it was not cut off when the calls in flight had had their time.
        let end = soon("the end of the stream", answers.message()).await;
        assert!(matches!(end, Ok(None)), "{end:?}");
    }
    stopping.await.unwrap();
}

#[tokio::test]
async fn takes_its_calls_from_the_share_of_a_process() {
    let ca = Ca::start().await;
    let mut open = Vec::new();
    for _ in 0..64 {
        open.push(stays_open(at_workload_socket(&ca)).await.unwrap());
    }
    let refused = stays_open(at_workload_socket(&ca)).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    drop(open);
    // That the streams were given up arrives a moment later.
    soon("there is room again", async { while stays_open(at_workload_socket(&ca)).await.is_err() {} }).await;
}
