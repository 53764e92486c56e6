//! `fairway-control`: reads a cluster or manifests, and streams them to the agents.

use std::io::IsTerminal;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{ArgGroup, Args, Parser, Subcommand};
use fairway_control::{Kubernetes, Listen, Options, Source, Tls, expiry};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

const EXAMPLES: &str = "\
Examples:
  Serve the manifests of a directory to agents on this machine:
    fairway-control --manifests ./manifests --listen unix:///run/fairway/control.sock

  Serve them over mutual TLS:
    fairway-control certs --out ./certs --name control.example.org --node node-1 --node node-2
    fairway-control --manifests ./manifests --listen 0.0.0.0:7443 \\
      --tls-cert ./certs/server.pem --tls-key ./certs/server.key --tls-ca ./certs/ca.pem

  Serve a cluster:
    fairway-control --kubernetes --kubeconfig ~/.kube/config

  Take the objects from a cluster:
    kubectl get services,endpointslices,pods,nodes -A -o yaml > manifests/cluster.yaml

  Check them in CI:
    fairway-control validate ./manifests";

/// The control plane of Fairway: watches a Kubernetes cluster, or a directory of manifests, and streams what they
/// declare to the agents on the nodes.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Cli {
    #[command(flatten)]
    run: Run,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("source").required(true).args(["manifests", "kubernetes"])))]
struct Run {
    /// Directory of YAML and JSON files: Service, EndpointSlice, Endpoints, Pod, Node. Changes take effect at once.
    #[arg(long, value_name = "DIR", env = "FAIRWAY_CONTROL_MANIFESTS")]
    manifests: Option<PathBuf>,
    /// Where agents connect: unix:///PATH (mode 0600) or HOST:PORT (mutual TLS). May be given several times.
    #[arg(
        long,
        value_name = "ADDR",
        env = "FAIRWAY_CONTROL_LISTEN",
        value_delimiter = ',',
        default_value = "unix:///run/fairway/control.sock"
    )]
    listen: Vec<String>,
    /// The server's certificate, PEM.
    #[arg(long, value_name = "FILE", env = "FAIRWAY_CONTROL_TLS_CERT", requires_all = ["tls_key", "tls_ca"])]
    tls_cert: Option<PathBuf>,
    /// Its private key, PEM.
    #[arg(long, value_name = "FILE", env = "FAIRWAY_CONTROL_TLS_KEY", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// The CA that has signed the agents' certificates, PEM; several while one replaces another. All three files are
    /// read again when they change.
    #[arg(long, value_name = "FILE", env = "FAIRWAY_CONTROL_TLS_CA", requires = "tls_cert")]
    tls_ca: Option<PathBuf>,
    /// Allow plaintext on HOST:PORT: whoever reaches it can read everything and report pods. For tests.
    #[arg(long, conflicts_with = "tls_cert")]
    insecure: bool,
    /// After a start, agents that serve an earlier state wait so long for the first answer, so that all have
    /// reported their pods by then.
    #[arg(long, value_name = "SECONDS", default_value_t = 3)]
    grace: u64,
    /// Directory that keeps what the agents told (nodes, pods) across restarts, also of agents that are lost. Remove
    /// agents.json in it to forget nodes that are gone for good.
    #[arg(long, value_name = "DIR", env = "FAIRWAY_CONTROL_STATE_DIR")]
    state_dir: Option<PathBuf>,
    /// Streams of agents at once; more are refused.
    #[arg(long, value_name = "COUNT", default_value_t = fairway_control::MAX_AGENTS, env = "FAIRWAY_CONTROL_MAX_AGENTS")]
    max_agents: usize,
    /// Print the problems of the manifests and exit, as `validate` does.
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    cluster: Cluster,
}

/// Which cluster is served.
#[derive(Debug, Args)]
#[command(next_help_heading = "Kubernetes")]
struct Cluster {
    /// Serve a cluster: its Services, EndpointSlices and Nodes, as its API server has them.
    #[arg(long, env = "FAIRWAY_CONTROL_KUBERNETES", conflicts_with_all = ["state_dir", "check"])]
    kubernetes: bool,
    /// How the API server is reached [default: KUBECONFIG, else the pod's service account]
    #[arg(long, value_name = "FILE", env = "FAIRWAY_CONTROL_KUBECONFIG", requires = "kubernetes")]
    kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context [default: its current one]
    #[arg(long, value_name = "NAME", env = "FAIRWAY_CONTROL_KUBE_CONTEXT", requires = "kubernetes")]
    kube_context: Option<String>,
    /// The API server's own address, such as https://192.0.2.10:6443. Needed in a pod: the address of the Service
    /// `kubernetes` is one that Fairway itself has to serve.
    #[arg(long, value_name = "URL", env = "FAIRWAY_CONTROL_KUBE_SERVER", requires = "kubernetes")]
    kube_server: Option<String>,
    /// Serve only what has the label service.kubernetes.io/service-proxy-name with this value [default: only what
    /// does not have it]
    #[arg(long, value_name = "NAME", env = "FAIRWAY_CONTROL_SERVICE_PROXY_NAME", requires = "kubernetes")]
    service_proxy_name: Option<String>,
    /// More than half of the Services, EndpointSlices or Nodes may go away at once. Without it, everything is listed
    /// once more after 30 seconds first, and what is gone is served until then.
    #[arg(long, env = "FAIRWAY_CONTROL_ALLOW_MASS_DELETE", requires = "kubernetes")]
    allow_mass_delete: bool,
}

impl Cluster {
    fn source(self) -> Option<Source> {
        self.kubernetes.then_some(Source::Kubernetes(Kubernetes {
            kubeconfig: self.kubeconfig,
            context: self.kube_context,
            server: self.kube_server,
            service_proxy_name: self.service_proxy_name,
            allow_mass_delete: self.allow_mass_delete,
        }))
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a CA with certificates of the server and of nodes; files that exist are never overwritten. A CA that is in the
    /// directory already signs what is missing, so that nodes can be added later.
    Certs {
        /// Directory for ca.pem, server.pem, node-NAME.pem and their .key files.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// A host name or IP address by which agents reach the control plane; localhost is always included.
        #[arg(long, value_name = "HOST")]
        name: Vec<String>,
        /// A node whose agent gets a certificate, which lets it speak for this node alone. Without any: client.pem, for
        /// the node that has this host's name.
        #[arg(long, value_name = "NAME")]
        node: Vec<String>,
        /// How long the certificates of the server and of nodes are valid; a new CA's is for ten years, or for so long if
        /// that is more. To renew one, remove its .pem and .key and give this command again: the CA that is there signs it.
        #[arg(long, value_name = "DAYS", default_value_t = fairway_control::certs::DAYS, value_parser = clap::value_parser!(u16).range(1..))]
        days: u16,
    },
    /// Print every problem in a directory of manifests; exit 1 if there is one.
    Validate {
        /// The directory.
        #[arg(value_name = "DIR")]
        manifests: PathBuf,
    },
}

fn main() -> ExitCode {
    run(Cli::parse()).unwrap_or_else(|error| {
        eprintln!("fairway-control: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match (cli.command, cli.run.manifests.clone()) {
        (Some(Command::Certs { out, name, node, days }), _) => {
            let files = fairway_control::certs::make(&out, &name, &node, days)?;
            for path in &files {
                println!("{}", path.display());
            }
            for end in files.iter().flat_map(|path| expiry::read(path)) {
                println!("{} is valid until {}", end.path.display(), expiry::when(end.at));
            }
            Ok(ExitCode::SUCCESS)
        }
        (Some(Command::Validate { manifests }), _) => Ok(validate(&manifests)),
        (None, Some(manifests)) if cli.run.check => Ok(validate(&manifests)),
        (None, _) => {
            // What fails at the API server is told by who has asked.
            tracing_subscriber::fmt()
                .with_writer(std::io::stderr)
                .with_ansi(std::io::stderr().is_terminal())
                .with_env_filter(
                    EnvFilter::try_from_default_env()
                        .unwrap_or_else(|_| EnvFilter::new("info,kube_client=off")),
                )
                .init();
            raise_file_limit();
            let options = options(cli.run)?;
            let runtime = tokio::runtime::Runtime::new().context("the runtime cannot be started")?;
            runtime.block_on(serve(options))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Each agent is an open file, and what a process may have at first is often 1,024.
fn raise_file_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files, and so of agents, stays as it is");
    }
}

fn validate(manifests: &std::path::Path) -> ExitCode {
    let (problems, counts) = fairway_control::validate(manifests);
    for problem in &problems {
        println!("{problem}");
    }
    let counts: Vec<_> = counts.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    eprintln!("{}; problems {}", counts.join(", "), problems.len());
    if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn options(run: Run) -> anyhow::Result<Options> {
    let tls = match (run.tls_cert, run.tls_key, run.tls_ca) {
        (Some(cert), Some(key), Some(ca)) => Some(Tls { cert, key, ca }),
        _ => None,
    };
    let mut listen = Vec::new();
    for text in &run.listen {
        if let Some(path) = text.strip_prefix("unix://") {
            listen.push(Listen::Unix(path.into()));
            continue;
        }
        if tls.is_none() && !run.insecure {
            bail!(
                "`--listen {text}` needs --tls-cert, --tls-key and --tls-ca (`fairway-control certs --out DIR` makes \
                 them), or --insecure"
            );
        }
        listen.push(Listen::Tcp { address: resolve(text)?, tls: tls.clone() });
    }
    let state = run.state_dir.map(|directory| directory.join("agents.json"));
    let manifests = run.manifests.map(Source::Manifests);
    let source = run.cluster.source().or(manifests).context("--manifests or --kubernetes is missing")?;
    let grace = Duration::from_secs(run.grace);
    Ok(Options { source, listen, grace, state, max_agents: run.max_agents })
}

fn resolve(text: &str) -> anyhow::Result<SocketAddr> {
    let mut addresses = text
        .to_socket_addrs()
        .with_context(|| format!("`--listen {text}` is neither unix:///PATH nor HOST:PORT"))?;
    addresses.next().with_context(|| format!("`--listen {text}`: the host has no address"))
}

async fn serve(options: Options) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let server = fairway_control::Server::start(options).await?;
    notify(&[NotifyState::Ready]);
    server
        .run_until(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("stopping");
            notify(&[NotifyState::Stopping]);
        })
        .await?;
    Ok(())
}

/// Tells systemd, where it is systemd that started this.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "systemd cannot be notified");
    }
}
