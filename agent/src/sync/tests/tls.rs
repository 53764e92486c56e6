//! A real control plane over mutual TLS, and what the agent says when that fails.

use std::fs;

use fairway_control::{Listen, Server, Tls, certs};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, date_time_ymd};

use super::*;
use crate::config::{ControlAddress, TlsFiles};

const ENDED: &str =
    ", the certificate of `CN=system:node:a`, has expired at 2020-01-01T00:00:00Z: put a new one there";

struct World {
    at: tempfile::TempDir,
    server: Server,
}

impl World {
    /// Listens on an address; its certificate is for 127.0.0.1. There are certificates for the nodes `a` and `b`.
    async fn start(address: &str) -> Self {
        // Another test may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let at = tempfile::tempdir().unwrap();
        certs::make(at.path(), &[], &["a".into(), "b".into()], certs::DAYS).unwrap();
        let file = |name: &str| at.path().join(name);
        let tls = Tls { cert: file("server.pem"), key: file("server.key"), ca: file("ca.pem") };
        let mut options = fairway_control::Options::new(file("manifests"));
        options.listen =
            vec![Listen::Tcp { address: format!("{address}:0").parse().unwrap(), tls: Some(tls) }];
        let server = Server::start(options).await.unwrap();
        Self { at, server }
    }

    fn files(&self, node: &str) -> TlsFiles {
        let file = |name: String| self.at.path().join(name);
        TlsFiles {
            cert: file(format!("node-{node}.pem")),
            key: file(format!("node-{node}.key")),
            ca: file("ca.pem".into()),
        }
    }

    /// The agent of node `a`, with these files.
    fn agent(&self, files: TlsFiles) -> Agent {
        let address = ControlAddress::Tls(format!("https://{}", self.server.addresses()[0]));
        let source = Source::Remote { addresses: vec![address], tls: Some(files) };
        // Not another agent's: what one leaves on disk, the next one serves.
        let state = tempfile::tempdir_in(self.at.path()).unwrap().keep();
        Agent::start(&state, Some(source), empty())
    }

    /// How the agent stands with its control plane, once it says something.
    async fn outcome(&self, files: TlsFiles) -> ControlPlane {
        let agent = self.agent(files);
        let outcome = eventually("the agent knows how it stands", || {
            let state = agent.state.borrow().clone();
            let refused = matches!(&state.control_plane, ControlPlane::Disconnected { reason, .. } if !reason.is_empty());
            (refused || state.applied.is_some()).then(|| state.control_plane.clone())
        })
        .await;
        agent.stop().await;
        outcome
    }

    async fn reason(&self, files: TlsFiles) -> String {
        match self.outcome(files).await {
            ControlPlane::Disconnected { reason, .. } => reason,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until the agent of node `a` says one of these of its connection with these files.
    async fn says(&self, files: TlsFiles, wanted: &[String]) {
        let agent = self.agent(files);
        eventually(&format!("{wanted:?}"), || match &agent.state.borrow().control_plane {
            ControlPlane::Disconnected { reason, .. } => {
                wanted.iter().any(|words| reason.contains(words)).then_some(())
            }
            _ => None,
        })
        .await;
        agent.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_served_with_its_own_certificate_and_told_why_not_with_anothers() {
    let world = World::start("127.0.0.1").await;
    let outcome = world.outcome(world.files("a")).await;
    assert!(matches!(outcome, ControlPlane::Connected { .. }), "{outcome:?}");
    let reason = world.reason(world.files("b")).await;
    assert!(
        reason.contains("the certificate is of node `b`, and the agent says that it is node `a`"),
        "{reason}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_do_not_fit_are_named_with_what_to_do() {
    let world = World::start("127.0.0.1").await;
    let others = World::start("127.0.0.1").await;
    let (own, foreign) = (world.files("a"), others.files("a"));
    let expired = TlsFiles { cert: world.at.path().join("old.pem"), ..own.clone() };
    let issuer = Issuer::from_ca_cert_pem(
        &fs::read_to_string(&own.ca).unwrap(),
        KeyPair::from_pem(&fs::read_to_string(world.at.path().join("ca.key")).unwrap()).unwrap(),
    );
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "system:node:a");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.not_after = date_time_ymd(2020, 1, 1);
    let key = KeyPair::from_pem(&fs::read_to_string(&own.key).unwrap()).unwrap();
    fs::write(&expired.cert, params.signed_by(&key, &issuer.unwrap()).unwrap().pem()).unwrap();

    let named = |path: &Path, words: &str| format!("`{}`{words}", path.display());
    let missing = TlsFiles { cert: "/nowhere/a.pem".into(), ..own.clone() };
    let mixed = TlsFiles { key: foreign.key.clone(), ..own.clone() };
    let unknown = TlsFiles { ca: own.ca.clone(), ..foreign.clone() };
    let distrusting = TlsFiles { ca: foreign.ca.clone(), ..own.clone() };
    // Where the refusal comes before the first request, its reason is lost on the way.
    let closed =
        |path: &Path| named(path, ", which is expired or signed by no CA that it trusts; its log says why");
    for (files, wanted) in [
        (&expired, vec![named(&expired.cert, ENDED)]),
        (&unknown, vec![named(&foreign.cert, " is signed by no CA"), closed(&foreign.cert)]),
        (&distrusting, vec![format!("certificate is not signed by {}", named(&foreign.ca, ""))]),
        (&missing, vec!["`/nowhere/a.pem` cannot be read".to_owned()]),
        (&mixed, vec![named(&foreign.key, " and CA")]),
    ] {
        world.says(files.clone(), &wanted).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_is_reached_by_another_name_is_refused_with_its_names() {
    let world = World::start("127.0.0.2").await;
    let reason = world.reason(world.files("a")).await;
    assert!(reason.starts_with("the control plane's certificate is for other names"), "{reason}");
    assert!(reason.contains("127.0.0.1"), "{reason}");
}
