//! Commands on a lab as a whole.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{IsTerminal, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use fairway_tests::lab::{Lab, Object, State, clean_stale, down as take_down, labs, up as bring_up};

use super::UpArguments;

/// The lab that the command line means.
pub(super) fn find(id: Option<&str>) -> anyhow::Result<Lab> {
    let all = labs();
    let names = || all.iter().map(|lab| lab.id.as_str()).collect::<Vec<_>>().join(", ");
    let state = match (id, all.as_slice()) {
        (Some(id), _) => all.iter().find(|lab| lab.id == id).with_context(|| format!("no lab `{id}`"))?,
        (None, [one]) => one,
        (None, []) => bail!("no lab is up: `fairway-lab up DIR` builds one"),
        (None, _) => bail!("several labs are up, choose one with --id: {}", names()),
    };
    if !state.alive() {
        bail!("lab `{}` is dead: remove it with `fairway-lab down --id {}`", state.id, state.id);
    }
    Ok(Lab::new(state.clone()))
}

pub(super) fn up(id: Option<&str>, arguments: &UpArguments) -> anyhow::Result<()> {
    let source = arguments.directory.canonicalize();
    let source = source.with_context(|| format!("`{}`", arguments.directory.display()))?;
    let id = id.map_or_else(|| id_of(&source), str::to_owned);
    let mut state = State::new(&id, &source, arguments.nodes, arguments.family, arguments.socket_lb);
    state.runtime = arguments.runtime;
    state.settings.extend(arguments.settings.iter().cloned());
    let start = Instant::now();
    let lab = bring_up(state, &mut progress())?;
    let pods = lab.status()?.pods.len();
    println!("lab `{id}`: {} nodes, {pods} pods ready in {:.1?}", arguments.nodes, start.elapsed());
    println!("its manifests are a copy, {}: change them with", lab.state.manifests().display());
    println!("`fairway-lab apply FILE` and `delete FILE`; `{}` is not touched", source.display());
    Ok(())
}

/// An id that is the same whenever the same directory is meant.
fn id_of(source: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    source.hash(&mut hasher);
    format!("{:08x}", hasher.finish() & 0xffff_ffff)
}

/// Shows what is waited for, once that takes long.
pub(crate) fn progress() -> impl FnMut(&str) {
    let start = Instant::now();
    let mut shown = Instant::now();
    move |missing| {
        if start.elapsed() > Duration::from_secs(2) && shown.elapsed() > Duration::from_secs(1) {
            shown = Instant::now();
            let colon = if std::io::stderr().is_terminal() { "…" } else { "..." };
            eprintln!("waiting{colon} {missing}");
        }
    }
}

/// Becomes the command; returns only when that fails.
pub(super) fn exec(id: Option<&str>, target: &str, command: &[String]) -> anyhow::Error {
    let prepared = find(id).and_then(|lab| {
        let (program, arguments) = command.split_first().context("no command")?;
        let mut command = lab.command(target, program)?;
        command.args(arguments);
        Ok(command)
    });
    match prepared {
        Ok(mut command) => command.exec().into(),
        Err(error) => error,
    }
}

pub(super) fn apply(id: Option<&str>, file: &Path) -> anyhow::Result<()> {
    let applied = find(id)?.manifests().apply(file)?;
    report(&applied, "applied");
    Ok(())
}

pub(super) fn delete(id: Option<&str>, file: &Path) -> anyhow::Result<()> {
    let deleted = find(id)?.manifests().delete(file)?;
    report(&deleted, "deleted");
    Ok(())
}

fn report(objects: &[Object], what: &str) {
    let mut out = std::io::stdout().lock();
    for object in objects {
        // A closed pipe is the reader's wish.
        writeln!(out, "{} {} {what}", object.kind().to_lowercase(), object.name()).ok();
    }
}

pub(super) fn restart(id: Option<&str>, process: &str, kill: bool) -> anyhow::Result<()> {
    let lab = find(id)?;
    lab.stop(process, kill)?;
    lab.start(process)?;
    println!("{process} restarted{}", if kill { " after SIGKILL" } else { "" });
    Ok(())
}

pub(super) fn down(id: Option<&str>) -> anyhow::Result<()> {
    let all = labs();
    let meant = match (id, all.as_slice()) {
        (Some(id), _) => all.iter().find(|lab| lab.id == id),
        (None, [one]) => Some(one),
        (None, []) => None,
        (None, _) => {
            all.iter().find(|lab| lab.alive()).filter(|_| all.iter().filter(|l| l.alive()).count() == 1)
        }
    };
    for (id, problem) in clean_stale() {
        eprintln!("fairway-lab: clean-up of dead lab `{id}`: {problem}");
    }
    match meant {
        Some(lab) => {
            take_down(lab)?;
            println!("lab `{}` is down", lab.id);
        }
        None if all.is_empty() || id.is_some() => println!("there is no such lab: nothing to do"),
        None => bail!("several labs are up, choose one with --id: {}", {
            all.iter().map(|lab| lab.id.as_str()).collect::<Vec<_>>().join(", ")
        }),
    }
    Ok(())
}
