//! The node agent's command line.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use fairway_agent::config::{Error, Loaded, SETTINGS, Setting, Shape, Sources};
use fairway_agent::{Config, memory, node};

const AFTER_HELP: &str = "\
Every flag is also a key of the settings file, and an environment variable with the prefix FAIRWAY_.

Examples:
  Serve the manifests of a directory, in one process:
    fairway-agent --manifests /etc/fairway/manifests

  Serve a cluster, in one process:
    fairway-agent --kubernetes --kubeconfig /etc/kubernetes/admin.conf

  Serve what a control plane streams, over mutual TLS:
    fairway-agent --control https://control.example.org:7443 \\
      --tls-cert node-1.pem --tls-key node-1.key --tls-ca ca.pem

  See what holds, and where it was set:
    fairway-agent config";

fn main() -> ExitCode {
    let matches = command().get_matches();
    let loaded = match load(&matches) {
        Ok(loaded) => loaded,
        Err(error) => return fail(&error, 2),
    };
    match matches.subcommand() {
        Some(("config", options)) => {
            print(&loaded, options.get_one::<String>("output").is_some_and(|o| o == "json"))
        }
        Some(("cleanup", options)) => cleanup(&loaded.config, options),
        _ => run(loaded),
    }
}

fn command() -> Command {
    let config = Command::new("config").about("Print every setting, its value and where it was set").arg(
        Arg::new("output").short('o').long("output").value_parser(["table", "json"]).help("How to print it"),
    );
    let cleanup = Command::new("cleanup")
        .about("Remove all programs, maps and routes of Fairway: Services stop being served on this node")
        .arg(
            Arg::new("dry-run")
                .long("dry-run")
                .action(ArgAction::SetTrue)
                .help("Only list what would be removed"),
        )
        .arg(
            Arg::new("pods")
                .long("pods")
                .action(ArgAction::SetTrue)
                .help("Remove pods' devices too: the pods of this node lose their network"),
        );
    Command::new("fairway-agent")
        .version(env!("CARGO_PKG_VERSION"))
        .about("The Fairway node agent: serves Services and connects pods on this node")
        .after_help(AFTER_HELP)
        .args_conflicts_with_subcommands(false)
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .global(true)
                .value_parser(value_parser!(PathBuf))
                .env("FAIRWAY_CONFIG")
                .help("The settings file: TOML, or kube-proxy's KubeProxyConfiguration"),
        )
        .arg(
            Arg::new("kube-proxy-config")
                .long("kube-proxy-config")
                .value_name("FILE")
                .global(true)
                .value_parser(value_parser!(PathBuf))
                .env("FAIRWAY_KUBE_PROXY_CONFIG")
                .help("kube-proxy's KubeProxyConfiguration; what the settings file says counts more"),
        )
        .args(SETTINGS.iter().map(argument))
        .subcommand(config)
        .subcommand(cleanup)
}

fn argument(setting: &'static Setting) -> Arg {
    let help = match setting.default {
        "" | "false" => setting.help.to_owned(),
        default => format!("{} [default: {default}]", setting.help),
    };
    let arg = Arg::new(setting.key).long(setting.key).global(true).help(help);
    match setting.shape {
        Shape::One => arg.value_name(setting.placeholder).action(ArgAction::Set),
        Shape::Many => arg.value_name(setting.placeholder).action(ArgAction::Append),
        Shape::Switch => arg.action(ArgAction::SetTrue),
    }
}

fn load(matches: &ArgMatches) -> Result<Loaded, Error> {
    let mut flags = BTreeMap::new();
    for setting in SETTINGS {
        match setting.shape {
            Shape::Switch if matches.get_flag(setting.key) => {
                flags.insert(setting.key, vec!["true".to_owned()]);
            }
            Shape::Switch => {}
            Shape::One | Shape::Many => {
                if let Some(texts) = matches.get_many::<String>(setting.key) {
                    flags.insert(setting.key, texts.cloned().collect());
                }
            }
        }
    }
    let file = |arg| matches.get_one::<PathBuf>(arg).map(|path| read(path)).transpose();
    let hostname = nix::sys::utsname::uname().map(|name| name.nodename().to_string_lossy().into_owned());
    Config::load(&Sources {
        flags,
        env: &|name| std::env::var(name).ok(),
        file: file("config")?,
        kube_proxy: file("kube-proxy-config")?,
        hostname: hostname.unwrap_or_default(),
    })
}

fn read(path: &Path) -> Result<(PathBuf, String), Error> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| Error::Unreadable { path: path.to_owned(), source })?;
    Ok((path.to_owned(), text))
}

fn print(loaded: &Loaded, json: bool) -> ExitCode {
    let text = if json { loaded.json() } else { loaded.table() };
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        // Who reads has seen enough.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => fail(&error, 1),
        _ => ExitCode::SUCCESS,
    }
}

fn run(loaded: Loaded) -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,kube_client=off"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    for note in &loaded.notes {
        tracing::warn!("{note}");
    }
    memory::share();
    // Before anything speaks TLS.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider is there already");
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, 1),
    };
    match runtime.block_on(node::run(loaded.config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, error.exit_code()),
    }
}

fn cleanup(config: &Config, options: &ArgMatches) -> ExitCode {
    let options = node::Cleanup { dry_run: options.get_flag("dry-run"), pods: options.get_flag("pods") };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, 1),
    };
    match runtime.block_on(node::cleanup(config, options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, error.exit_code()),
    }
}

/// One line: what failed and why.
fn fail(error: &dyn std::error::Error, code: u8) -> ExitCode {
    let mut text = format!("fairway-agent: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    eprintln!("{text}");
    ExitCode::from(code)
}
