//! Who is let in, and with which certificates.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use fairway_control::{Tls, certs, expiry};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use super::*;

fn tls(directory: &Path) -> Tls {
    Tls {
        cert: directory.join("server.pem"),
        key: directory.join("server.key"),
        ca: directory.join("ca.pem"),
    }
}

async fn client(
    server: &Server,
    ca: &Path,
    identity: Option<&Path>,
) -> Result<Channel, tonic::transport::Error> {
    let read = |directory: &Path, name: &str| fs::read(directory.join(name)).unwrap();
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca, "ca.pem")));
    if let Some(own) = identity {
        tls = tls.identity(Identity::from_pem(read(own, "node-n1.pem"), read(own, "node-n1.key")));
    }
    let uri = format!("https://{}", server.addresses()[0]);
    Endpoint::try_from(uri)?.tls_config(tls)?.connect().await
}

#[tokio::test]
async fn over_tcp_only_certificates_of_the_ca_are_let_in() {
    // Another test may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let at = tempfile::tempdir().unwrap();
    let (ours, others) = (at.path().join("ours"), at.path().join("others"));
    certs::make(&ours, &[], &["n1".into()], certs::DAYS).unwrap();
    certs::make(&others, &["control.example.org".into()], &["n1".into()], certs::DAYS).unwrap();
    let manifests = at.path().join("manifests");
    fs::create_dir(&manifests).unwrap();
    fs::write(manifests.join("a.yaml"), service("a", "10.96.0.1")).unwrap();
    let address = "127.0.0.1:0".parse().unwrap();
    let listen = vec![Listen::Tcp { address, tls: Some(tls(&ours)) }];
    let server = Server::start(Options { listen, ..Options::new(&manifests) }).await.unwrap();

    let channel = client(&server, &ours, Some(&ours)).await.unwrap();
    let mut agent = Agent::connect(channel, "n1", None).await;
    agent.until(has("a")).await;
    fs::write(manifests.join("a.yaml"), service("b", "10.96.0.1")).unwrap();
    agent.until(has("b")).await;

    assert!(client(&server, &others, Some(&ours)).await.is_err(), "the client must know the server");
    for identity in [None, Some(others.as_path())] {
        // With TLS 1.3 the client learns of the refusal with its first request.
        let refused = match client(&server, &ours, identity).await {
            Ok(channel) => match subscribe(channel, hello("n2", None)).await {
                Ok((_requests, mut responses)) => responses.message().await.is_err(),
                Err(_) => true,
            },
            Err(_) => true,
        };
        assert!(refused, "{identity:?}");
    }
    assert_eq!(server.subscribers().len(), 1);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn an_address_in_use_and_missing_files_are_told_clearly() {
    let at = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let tcp = |tls| Options { listen: vec![Listen::Tcp { address, tls }], ..Options::new(at.path()) };
    let error = Server::start(tcp(None)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot listen on `{address}`: another process uses it; stop that one, or choose another --listen"
        )
    );
    let error = Server::start(tcp(Some(tls(at.path())))).await.unwrap_err();
    assert!(error.to_string().starts_with(&format!("`{}", at.path().display())), "{error}");
    assert!(error.to_string().contains("cannot be read: `fairway-control certs --out DIR` makes"), "{error}");

    let socket = at.path().join("control.sock");
    let unix = || Options { listen: vec![Listen::Unix(socket.clone())], ..Options::new(at.path()) };
    let first = Server::start(unix()).await.unwrap();
    assert!(Server::start(unix()).await.is_err());
    first.stop().await.unwrap();
    // What a crash leaves is no obstacle.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    Server::start(unix()).await.unwrap().stop().await.unwrap();
}

#[test]
fn certificates_are_never_overwritten_and_keys_are_private() {
    let at = tempfile::tempdir().unwrap();
    for path in certs::make(at.path(), &[], &[], certs::DAYS).unwrap() {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        let private = path.extension().is_some_and(|extension| extension == "key");
        assert_eq!(mode & 0o777, if private { 0o600 } else { 0o644 });
    }
    let contents = || {
        let entries = fs::read_dir(at.path()).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| (path.clone(), fs::read(path).unwrap())).collect::<BTreeMap<_, _>>()
    };
    let before = contents();
    assert_eq!(before.len(), 6);
    assert!(certs::make(at.path(), &[], &[], certs::DAYS).is_err(), "client.pem is there");
    assert!(
        certs::make(at.path(), &["control".into()], &["n1".into()], certs::DAYS).is_err(),
        "server.pem is there"
    );
    assert!(
        certs::make(at.path(), &[], &["n1".into(), "../n2".into()], certs::DAYS).is_err(),
        "this is no name"
    );
    assert_eq!(contents(), before);
}

#[test]
fn a_node_that_is_added_later_is_signed_by_the_ca_that_is_there() {
    let at = tempfile::tempdir().unwrap();
    certs::make(at.path(), &["control".into()], &["n1".into()], certs::DAYS).unwrap();
    let files = ["node-n2.pem", "node-n2.key"].map(|name| at.path().join(name));
    assert_eq!(certs::make(at.path(), &[], &["n2".into()], certs::DAYS).unwrap(), files);
    // A CA without its key can sign nothing, and another one must not take its place.
    fs::remove_file(at.path().join("ca.key")).unwrap();
    let error = certs::make(at.path(), &[], &["n3".into()], certs::DAYS).unwrap_err().to_string();
    assert!(error.contains("ca.key` is missing beside"), "{error}");
    let other = at.path().join("other");
    certs::make(&other, &[], &[], certs::DAYS).unwrap();
    fs::copy(other.join("ca.key"), at.path().join("ca.key")).unwrap();
    let error = certs::make(at.path(), &[], &["n3".into()], certs::DAYS).unwrap_err().to_string();
    assert!(error.contains("ca.key` is the key of no certificate in"), "{error}");
}

#[test]
fn certificates_are_valid_for_as_long_as_was_asked_for_and_their_ca_for_ten_years() {
    let at = tempfile::tempdir().unwrap();
    let days_of = |name: &str| {
        let ends = expiry::read(&at.path().join(name));
        let [end] = &ends[..] else { panic!("{ends:?}") };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        // From now to the end, to the nearest day.
        (end.at - now.cast_signed() + 43_200) / 86_400
    };
    certs::make(at.path(), &[], &["n1".into()], 90).unwrap();
    assert_eq!(["ca.pem", "server.pem", "node-n1.pem"].map(days_of), [3650, 90, 90]);
    // As after a year: what is taken away is made again.
    for name in ["node-n1.pem", "node-n1.key"] {
        fs::remove_file(at.path().join(name)).unwrap();
    }
    certs::make(at.path(), &[], &["n1".into()], certs::DAYS).unwrap();
    assert_eq!(["ca.pem", "server.pem", "node-n1.pem"].map(days_of), [3650, 90, 365]);
}
