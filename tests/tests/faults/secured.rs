//! A control plane and an agent that speak mutual TLS, with certificates that are replaced as a trial wants.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use fairway_control::certs;
use fairway_tests::eventually_within;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::OffsetDateTime;

use crate::other::{Other, set};
use crate::world::{PATIENCE, World, service};

const PORT: u16 = 7443;

/// Whose certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    Agent,
    ControlPlane,
    Ca,
}

/// Where the files of mutual TLS are, and the CA that signs them.
pub(crate) struct Files {
    directory: PathBuf,
    address: SocketAddr,
    names: [String; 2],
}

impl Files {
    /// New ones, valid for a year.
    pub(crate) fn new(world: &World, name: &str) -> anyhow::Result<Self> {
        let client = world.lab.state.plan.client();
        let address = client.first().context("the client has no address")?.addr();
        let directory = world.lab.state.directory().join(name);
        let names = [address.to_string(), "node1".to_owned()];
        certs::make(&directory, &names[..1], &names[1..], certs::DAYS)?;
        Ok(Self { directory, address: (address, PORT).into(), names })
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    fn file(&self, of: Of) -> &'static str {
        match of {
            Of::Agent => "node-node1",
            Of::ControlPlane => "server",
            Of::Ca => "ca",
        }
    }

    /// Puts another certificate in place, for the same key, which is valid until then.
    pub(crate) fn renew(&self, of: Of, until: SystemTime) -> anyhow::Result<()> {
        let file = self.file(of);
        let key = |name: &str| {
            anyhow::Ok(KeyPair::from_pem(&fs::read_to_string(self.path(&format!("{name}.key")))?)?)
        };
        let own = key(file)?;
        let pem = match of {
            Of::Ca => self.params(of, until)?.self_signed(&own)?,
            _ => {
                let authority =
                    Issuer::from_ca_cert_pem(&fs::read_to_string(self.path("ca.pem"))?, key("ca")?)?;
                self.params(of, until)?.signed_by(&own, &authority)?
            }
        };
        let (new, path) = (self.path(&format!("{file}.new")), self.path(&format!("{file}.pem")));
        fs::write(&new, pem.pem())?;
        Ok(fs::rename(new, path)?)
    }

    fn params(&self, of: Of, until: SystemTime) -> anyhow::Result<CertificateParams> {
        let [server, node] = &self.names;
        let (name, hosts) = match of {
            Of::Agent => (format!("system:node:{node}"), Vec::new()),
            Of::ControlPlane => ("Fairway control plane".to_owned(), vec![server.clone()]),
            Of::Ca => ("Fairway CA".to_owned(), Vec::new()),
        };
        let mut params = CertificateParams::new(hosts)?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = OffsetDateTime::now_utc() - time::Duration::DAY;
        params.not_after = until.into();
        match of {
            Of::Agent => params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
            Of::ControlPlane => params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
            Of::Ca => {
                params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
                params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            }
        }
        Ok(params)
    }
}

/// The control plane of the lab's agents, and the agent of node1, which comes to it over mutual TLS.
pub(crate) struct Secured<'world> {
    pub(crate) world: &'world World,
    pub(crate) files: Files,
    pub(crate) control: Other<'world>,
    pub(crate) agent: Other<'world>,
    changes: u8,
}

impl<'world> Secured<'world> {
    /// Puts both in the place of the lab's. What is in `before` for each runs around it.
    pub(crate) async fn start(
        world: &'world World,
        name: &str,
        before: [Vec<String>; 2],
    ) -> anyhow::Result<Self> {
        let files = Files::new(world, name)?;
        let [around_control, around_agent] = before;
        let tls = |arguments: &mut Vec<String>, own: &str| {
            set(arguments, "--tls-cert", &files.path(&format!("{own}.pem")));
            set(arguments, "--tls-key", &files.path(&format!("{own}.key")));
            set(arguments, "--tls-ca", &files.path("ca.pem"));
        };
        let change = |arguments: &mut Vec<String>| {
            arguments.extend(["--listen".to_owned(), files.address.to_string()]);
            // An agent that is refused is lost, and its pods must stay endpoints of others.
            set(arguments, "--state-dir", &files.path("control"));
            tls(arguments, files.file(Of::ControlPlane));
            around_control
        };
        let control = Other::start(world, "control", change).await?;
        let change = |arguments: &mut Vec<String>| {
            set(arguments, "--control", &format!("https://{}", files.address));
            tls(arguments, files.file(Of::Agent));
            around_agent
        };
        let agent = Other::start(world, "node1", change).await?;
        world.ready("node1").await?;
        Ok(Self { world, files, control, agent, changes: 0 })
    }

    /// Puts the lab's in their place again.
    pub(crate) async fn end(self) -> anyhow::Result<()> {
        for number in 0..self.changes {
            self.world.lab.manifests().remove("Service", &format!("default/secured{number}"))?;
        }
        self.agent.end().await?;
        self.control.end().await?;
        self.world.ready("node1").await
    }

    /// Changes something, and waits until node1 has it: it is connected.
    pub(crate) async fn change_arrives(&mut self) -> anyhow::Result<()> {
        let number = self.changes;
        self.changes += 1;
        let text = service(&format!("secured{number}"), 140 + number, "name: web-2");
        self.world.lab.manifests().apply_text(&text)?;
        self.world.answers("web-2", std::net::Ipv4Addr::new(10, 96, 1, 140 + number).into()).await
    }

    /// Waits until the agent says all of this of its control plane.
    pub(crate) async fn agent_says(&self, words: &[&str]) -> anyhow::Result<()> {
        let status = async || match self.world.lab.run("node1", &["fairway", "status"]) {
            Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
            Err(error) => error.to_string(),
        };
        let all = |status: &String| words.iter().all(|words| status.contains(words));
        eventually_within(PATIENCE, &format!("`fairway status` says {words:?}"), status, all).await.map(drop)
    }

    /// Waits until there is a line of the control plane's log with all of this.
    pub(crate) async fn control_plane_says(&self, words: &[&str]) -> anyhow::Result<()> {
        let log = async || self.control.log();
        let one = |log: &String| log.lines().any(|line| words.iter().all(|words| line.contains(words)));
        eventually_within(PATIENCE, &format!("the control plane says {words:?}"), log, one).await.map(drop)
    }
}

/// A time that a certificate can end at, so much later than now.
pub(crate) fn from_now(later: Duration) -> anyhow::Result<SystemTime> {
    let since = (SystemTime::now() + later).duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs()))
}
