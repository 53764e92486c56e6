//! The unix socket for the CLI and the CNI plugin.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tracing::error;

use super::{Error, Shared};
use crate::{api, pods};

/// Takes the socket's path; one that a dead agent left is replaced. Only root may connect.
pub(super) fn bind(path: &Path) -> Result<UnixListener, Error> {
    let failed = |source| Error::File { what: "cannot listen on the socket", path: path.to_owned(), source };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => {
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                return Err(Error::SocketTaken { path: path.to_owned() });
            }
            std::fs::remove_file(path).map_err(failed)?;
        }
        Ok(_) => return Err(failed(io::Error::other("something that is not a socket is there"))),
        Err(_) => {}
    }
    // Bound under the directory's protection first: nobody can connect before the mode is set.
    let dir = tempfile::Builder::new()
        .prefix(".fairway")
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(path.parent().unwrap_or(Path::new("/")))
        .map_err(failed)?;
    let inside = dir.path().join("socket");
    let listener = UnixListener::bind(&inside).map_err(failed)?;
    std::fs::set_permissions(&inside, Permissions::from_mode(0o600)).map_err(failed)?;
    std::fs::rename(&inside, path).map_err(failed)?;
    Ok(listener)
}

/// Serves until `stop`, then for as long as calls run; streams are cut.
pub(super) async fn serve(listener: UnixListener, shared: Arc<Shared>, stop: CancellationToken) {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("", tonic_health::ServingStatus::Serving).await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(fairway_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1();
    let reflection = match reflection {
        Ok(reflection) => reflection,
        Err(error) => return error!("gRPC reflection: {error}"),
    };
    let path = shared.config.socket.clone();
    let serving = Server::builder()
        .add_service(health)
        .add_service(reflection)
        .add_service(pods::service(shared.pods.clone(), shared.state.subscribe()))
        .add_service(api::service(shared))
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop.clone().cancelled_owned());
    let cut = async {
        stop.cancelled().await;
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    };
    tokio::select! {
        result = serving => if let Err(error) = result {
            error!("serving `{}` failed: {error}", path.display());
            stop.cancel();
        },
        () = cut => {}
    }
}
