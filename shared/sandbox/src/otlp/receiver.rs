//! OTLP over gRPC and over HTTP with protobuf.

use std::io;
use std::net::SocketAddr;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use super::convert;
use super::store::TraceStore;
use crate::server::{Running, bind, serve_http};

/// The largest export that is taken, in bytes, by gRPC and by HTTP.
pub const MAX_EXPORT_BYTES: usize = 16 * 1024 * 1024;

/// Both receivers of one store.
#[derive(Debug)]
pub struct Receiver {
    grpc: Running,
    http: Running,
    store: TraceStore,
}

impl Receiver {
    /// Listens for OTLP/gRPC and OTLP/HTTP until `shutdown` is cancelled. Port 0 takes a free one.
    ///
    /// # Errors
    /// The operating system's error, with the address, when one cannot be bound; then neither runs.
    pub async fn start(
        grpc: SocketAddr,
        http: SocketAddr,
        store: TraceStore,
        shutdown: &CancellationToken,
    ) -> io::Result<Self> {
        let (grpc, http) = (bind(grpc).await?, bind(http).await?);
        let http = serve_http(http, router(store.clone()), shutdown)?;
        let grpc = serve_grpc(grpc, store.clone(), shutdown)?;
        Ok(Self { grpc, http, store })
    }

    /// The bound address of OTLP over gRPC.
    #[must_use]
    pub fn grpc_addr(&self) -> SocketAddr {
        self.grpc.addr()
    }

    /// The bound address of OTLP over HTTP.
    #[must_use]
    pub fn http_addr(&self) -> SocketAddr {
        self.http.addr()
    }

    /// What is received goes here.
    #[must_use]
    pub fn store(&self) -> &TraceStore {
        &self.store
    }

    /// Waits until both have ended.
    ///
    /// # Errors
    /// The first error of a socket.
    pub async fn join(self) -> io::Result<()> {
        let (grpc, http) = tokio::join!(self.grpc.join(), self.http.join());
        grpc.and(http)
    }

    /// Stops both and waits for their end.
    ///
    /// # Errors
    /// As [`Receiver::join`].
    pub async fn stop(self) -> io::Result<()> {
        let (grpc, http) = tokio::join!(self.grpc.stop(), self.http.stop());
        grpc.and(http)
    }
}

fn serve_grpc(
    listener: TcpListener,
    store: TraceStore,
    shutdown: &CancellationToken,
) -> io::Result<Running> {
    let addr = listener.local_addr()?;
    let service =
        TraceServiceServer::new(Grpc { store }).max_decoding_message_size(MAX_EXPORT_BYTES);
    Ok(Running::start(addr, shutdown, |stop| async move {
        Server::builder()
            .add_service(service)
            .serve_with_incoming_shutdown(TcpIncoming::from(listener), stop.cancelled_owned())
            .await
            .map_err(io::Error::other)
    }))
}

struct Grpc {
    store: TraceStore,
}

#[tonic::async_trait]
impl TraceService for Grpc {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        Ok(tonic::Response::new(take_in(&self.store, request.into_inner())))
    }
}

fn take_in(store: &TraceStore, export: ExportTraceServiceRequest) -> ExportTraceServiceResponse {
    let (spans, malformed) = convert::records(export.resource_spans);
    store.add(spans);
    if malformed == 0 {
        return ExportTraceServiceResponse::default();
    }
    store.count_malformed(malformed);
    let partial_success = Some(ExportTracePartialSuccess {
        rejected_spans: i64::try_from(malformed).unwrap_or(i64::MAX),
        error_message: "spans without a valid trace id or span id were left out".to_owned(),
    });
    ExportTraceServiceResponse { partial_success }
}

fn router(store: TraceStore) -> Router {
    Router::new()
        .route("/v1/traces", post(export))
        .layer(DefaultBodyLimit::max(MAX_EXPORT_BYTES))
        .with_state(store)
}

const PROTOBUF: &str = "application/x-protobuf";

async fn export(State(store): State<TraceStore>, headers: HeaderMap, body: Bytes) -> Response {
    let named = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = named(header::CONTENT_TYPE).split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case(PROTOBUF) {
        let reason = "only application/x-protobuf is taken here, not OTLP in JSON\n";
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, reason).into_response();
    }
    if !matches!(named(header::CONTENT_ENCODING), "" | "identity") {
        let reason =
            "compressed exports are not taken here: set the exporter's compression to none\n";
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, reason).into_response();
    }
    match ExportTraceServiceRequest::decode(body) {
        Ok(request) => {
            let answer = take_in(&store, request).encode_to_vec();
            ([(header::CONTENT_TYPE, PROTOBUF)], answer).into_response()
        }
        Err(error) => {
            let reason = format!("not an OTLP trace export: {error}\n");
            (StatusCode::BAD_REQUEST, reason).into_response()
        }
    }
}
