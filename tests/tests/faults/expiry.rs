//! Certificates expire while clients ask.

use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use fairway_control::expiry::when;
use fairway_tests::eventually_within;
use fairway_tests::trial::Trial;

use crate::secured::{Of, Secured, from_now};
use crate::world::{PATIENCE, World};

pub(crate) const TRIALS: &[Trial<World>] = &[
    // S104
    ("an_agents_certificate_that_expires_costs_no_connection", |world| Box::pin(expires(world, Of::Agent))),
    // S104
    ("a_control_planes_certificate_that_expires_costs_no_connection", |world| {
        Box::pin(expires(world, Of::ControlPlane))
    }),
    // S104
    ("a_ca_that_expires_costs_no_connection", |world| Box::pin(expires(world, Of::Ca))),
];

/// A year.
const LONG: Duration = Duration::from_secs(365 * 24 * 60 * 60);

async fn expires(world: &World, of: Of) -> anyhow::Result<()> {
    let mut secured = Secured::start(world, &format!("tls-{of:?}"), Default::default()).await?;
    let done = world.unnoticed(expires_inside(&mut secured, of)).await;
    secured.end().await?;
    done
}

async fn expires_inside(secured: &mut Secured<'_>, of: Of) -> anyhow::Result<()> {
    let end = connected_with_a_short_one(secured, of).await?;
    let now = async || SystemTime::now();
    let over = end + Duration::from_secs(2);
    eventually_within(PATIENCE, "the certificate has expired", now, |now| *now > over).await?;
    secured.change_arrives().await.context("the open stream lives on")?;
    secured.control.restart().await?;
    let ended = format!(
        "has expired at {}",
        when(end.duration_since(SystemTime::UNIX_EPOCH)?.as_secs().cast_signed())
    );
    let (own, ca) = (secured.files.path("node-node1.pem"), secured.files.path("ca.pem"));
    match of {
        Of::Agent => {
            secured
                .control_plane_says(&["refused: ", "CN=system:node:node1", &ended, "put a new one"])
                .await?;
            secured.agent_says(&[&own, &ended, "put a new one there, no restart is needed"]).await?;
        }
        Of::ControlPlane => {
            secured.control_plane_says(&["the peer refuses this server's certificate"]).await?;
            secured
                .control_plane_says(&[&secured.files.path("server.pem"), &ended, "put a new one there"])
                .await?;
            secured.agent_says(&["the control plane's certificate", &ended, "put a new one"]).await?;
        }
        Of::Ca => {
            secured.control_plane_says(&[&ca, "CN=Fairway CA", &ended]).await?;
            secured.agent_says(&[&ca, "CN=Fairway CA", &ended, "connected"]).await?;
        }
    }
    secured.world.a_while().await?;
    secured.files.renew(of, from_now(LONG)?)?;
    secured.change_arrives().await.context("the new certificate counts")
}

/// Connects with a certificate that ends in a few seconds, and returns when; a slow machine gets more.
async fn connected_with_a_short_one(secured: &mut Secured<'_>, of: Of) -> anyhow::Result<SystemTime> {
    for seconds in [5, 20, 60].map(Duration::from_secs) {
        let end = from_now(seconds)?;
        secured.files.renew(of, end)?;
        // What comes after this comes over a new connection.
        secured.control.restart().await?;
        if let Ok(done) = tokio::time::timeout(seconds, secured.change_arrives()).await {
            return done.map(|()| end);
        }
    }
    bail!("no connection before the certificate ended")
}
