//! Answers the lab's socket.

use std::io;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::kubelet::Kubelet;
use super::lock;
use super::processes::Processes;
use crate::lab::{Answer, Request, State, Status};

type Broken = Arc<Mutex<Vec<String>>>;

/// Serves until the process ends.
pub(super) async fn serve(
    state: Arc<State>,
    processes: Arc<Processes>,
    kubelet: Arc<Kubelet>,
    broken: Broken,
) -> io::Result<()> {
    let listener = UnixListener::bind(state.socket())?;
    loop {
        let (stream, _) = listener.accept().await?;
        let (processes, kubelet, broken) = (processes.clone(), kubelet.clone(), broken.clone());
        tokio::spawn(async move { answer(stream, &processes, &kubelet, &broken).await });
    }
}

async fn answer(
    mut stream: UnixStream,
    processes: &Processes,
    kubelet: &Kubelet,
    broken: &Broken,
) -> io::Result<()> {
    let mut line = String::new();
    BufReader::new(&mut stream).read_line(&mut line).await?;
    let done = match serde_json::from_str(&line)? {
        Request::Status => {
            let broken = lock(broken).clone();
            Ok(Answer::Status(Status { processes: processes.states(), pods: kubelet.states(), broken }))
        }
        Request::Stop { process, kill } => processes.stop(&process, kill).await.map(|()| Answer::Done),
        Request::Start { process } => processes.start(&process).map(|()| Answer::Done),
    };
    let answer = done.unwrap_or_else(|error| Answer::Failed(error.to_string()));
    stream.write_all((serde_json::to_string(&answer)? + "\n").as_bytes()).await
}
