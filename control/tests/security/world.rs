//! A control plane over mutual TLS, and who connects to it.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fairway_control::{Listen, Options, Server, Tls};
use fairway_proto::control::control_client::ControlClient;
use fairway_proto::control::subscribe_request::Body;
use fairway_proto::control::{self, Hello, SubscribeRequest, SubscribeResponse};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Status, Streaming};

/// What is waited for comes much sooner; a machine under load may be slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A certificate and its key, PEM.
pub(crate) struct Pair {
    pub(crate) pem: String,
    pub(crate) key: String,
}

/// An authority.
pub(crate) struct Ca {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    /// All have one name, as those of `fairway-control certs`.
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = params("Fairway CA", Vec::new());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn server(&self) -> Pair {
        let mut params = params("control", vec!["127.0.0.1".into()]);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params)
    }

    /// For a client with this common name.
    pub(crate) fn client(&self, name: &str) -> Pair {
        let mut params = params(name, Vec::new());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    pub(crate) fn node(&self, name: &str) -> Pair {
        self.client(&format!("system:node:{name}"))
    }

    /// Of a node, and of the past.
    pub(crate) fn expired(&self, node: &str) -> Pair {
        let mut params = params(&format!("system:node:{node}"), Vec::new());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_after = date_time_ymd(2020, 1, 1);
        self.sign(params)
    }

    fn sign(&self, params: CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        Pair { pem: params.signed_by(&key, &self.issuer).unwrap().pem(), key: key.serialize_pem() }
    }
}

fn params(name: &str, hosts: Vec<String>) -> CertificateParams {
    let mut params = CertificateParams::new(hosts).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    params
}

/// A control plane.
pub(crate) struct World {
    at: TempDir,
    pub(crate) server: Server,
}

impl World {
    /// One with a server's certificate, that trusts a bundle.
    pub(crate) async fn start(server: &Pair, bundle: &str) -> Self {
        Self::with(server, bundle, |_| {}).await
    }

    /// One with other options.
    pub(crate) async fn with(server: &Pair, bundle: &str, change: impl FnOnce(&mut Options)) -> Self {
        // Another test may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let at = tempfile::tempdir().unwrap();
        install(at.path(), server, bundle);
        let manifests = at.path().join("manifests");
        fs::create_dir(&manifests).unwrap();
        let file = |name: &str| at.path().join(name);
        let tls = Tls { cert: file("tls.crt"), key: file("tls.key"), ca: file("ca.crt") };
        let address = "127.0.0.1:0".parse().unwrap();
        let mut options = Options::new(&manifests);
        options.listen = vec![Listen::Tcp { address, tls: Some(tls) }];
        change(&mut options);
        let server = Server::start(options).await.unwrap();
        Self { at, server }
    }

    pub(crate) fn manifest(&self, name: &str) -> PathBuf {
        self.at.path().join("manifests").join(name)
    }

    /// Puts other files in place of those that the control plane was started with.
    pub(crate) fn replace(&self, server: &Pair, bundle: &str) {
        install(self.at.path(), server, bundle);
    }

    /// A connection that trusts `ca` and shows `own`. With TLS 1.3 a refusal may show with the first request only.
    pub(crate) async fn connect(&self, ca: &Ca, own: &Pair) -> Result<Channel, tonic::transport::Error> {
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&ca.pem))
            .identity(Identity::from_pem(&own.pem, &own.key));
        let uri = format!("https://{}", self.server.addresses()[0]);
        Endpoint::try_from(uri)?.tls_config(tls)?.connect().await
    }

    /// A stream of `node`, once its first answer has come.
    ///
    /// # Errors
    /// All that the peer is told, with the causes.
    pub(crate) async fn subscribe(&self, ca: &Ca, own: &Pair, node: &str) -> Result<Stream, String> {
        let channel = self.connect(ca, own).await.map_err(|error| chain(&error))?;
        Stream::open(channel, node).await.map_err(|status| chain(&status))
    }
}

fn install(directory: &Path, server: &Pair, bundle: &str) {
    fs::write(directory.join("tls.crt"), &server.pem).unwrap();
    fs::write(directory.join("tls.key"), &server.key).unwrap();
    fs::write(directory.join("ca.crt"), bundle).unwrap();
}

/// An open stream.
pub(crate) struct Stream {
    requests: mpsc::UnboundedSender<SubscribeRequest>,
    responses: Streaming<SubscribeResponse>,
}

impl Stream {
    pub(crate) async fn open(channel: Channel, node: &str) -> Result<Self, Status> {
        let (requests, outgoing) = mpsc::unbounded_channel();
        let node = control::Node { name: node.into(), ..Default::default() };
        let hello = Body::Hello(Hello { node: Some(node), applied: None });
        requests.send(SubscribeRequest { body: Some(hello) }).unwrap();
        let responses = ControlClient::new(channel).subscribe(UnboundedReceiverStream::new(outgoing)).await?;
        let mut stream = Self { requests, responses: responses.into_inner() };
        stream.next().await?;
        Ok(stream)
    }

    pub(crate) fn send(&self, body: Body) {
        self.requests.send(SubscribeRequest { body: Some(body) }).unwrap();
    }

    pub(crate) async fn next(&mut self) -> Result<SubscribeResponse, Status> {
        let response = tokio::time::timeout(PATIENCE, self.responses.message()).await;
        Ok(response.expect("a response in time")?.expect("an open stream"))
    }

    /// The error with which the control plane ends the stream.
    pub(crate) async fn end(&mut self) -> Status {
        loop {
            if let Err(status) = self.next().await {
                return status;
            }
        }
    }
}

/// An error and its causes.
fn chain(error: &dyn Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", chain(cause)),
        None => error.to_string(),
    }
}
