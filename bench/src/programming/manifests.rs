//! The cluster that is served: many Services that nobody asks for, and the one that is measured.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

/// The address of the Service that is measured, below those of the others.
pub(crate) const MEASURED: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
/// Its port.
pub(crate) const PORT: u16 = 80;
/// The port of its backends.
pub(crate) const TARGET: u16 = 8080;

/// Services in one file.
const IN_A_FILE: u32 = 100;
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 96, 1, 0);
const FIRST_ENDPOINT: Ipv4Addr = Ipv4Addr::new(10, 128, 0, 0);

/// The pods between which connections are made.
pub(crate) const PODS: [&str; 3] = ["client", "a", "b"];

/// A pod on the node for each name.
pub(crate) fn pods() -> String {
    PODS.map(|name| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  nodeName: node1\n  \
             terminationGracePeriodSeconds: 1\n  containers:\n  - name: {name}\n    image: fairway-lab\n    \
             command: [fairway-lab, serve, --tcp, \"7\"]\n"
        )
    })
    .join("---\n")
}

/// Writes a file as a whole: nobody sees a part of it.
pub(crate) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let new = beside(path);
    fs::write(&new, text)?;
    fs::rename(new, path)
}

/// A name that is no manifest's.
pub(crate) fn beside(path: &Path) -> PathBuf {
    path.with_extension("new")
}

/// Makes so many Services be declared, beside the one that is measured.
pub(crate) fn fill(directory: &Path, services: u32, endpoints: u32) -> io::Result<()> {
    for file in 0..services.div_ceil(IN_A_FILE) {
        let mut text = String::new();
        for number in file * IN_A_FILE..services.min((file + 1) * IN_A_FILE) {
            let address = Ipv4Addr::from(u32::from(FIRST) + number);
            let places: Vec<_> = (0..endpoints)
                .map(|it| IpAddr::V4(Ipv4Addr::from(u32::from(FIRST_ENDPOINT) + number * endpoints + it)))
                .collect();
            // Writing into a String does not fail.
            let _ = write!(
                text,
                "{}{}",
                service(&format!("s{number}"), address),
                slice(&format!("s{number}"), &places)
            );
        }
        replace(&directory.join(format!("services-{file:04}.yaml")), &text)?;
    }
    Ok(())
}

/// A Service of one port.
pub(crate) fn service(name: &str, address: Ipv4Addr) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  clusterIP: {address}\n  \
         ports: [{{name: http, port: {PORT}, targetPort: {TARGET}}}]\n"
    )
}

/// The endpoints of a Service.
pub(crate) fn slice(service: &str, endpoints: &[IpAddr]) -> String {
    let mut text = format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {service}-1\n  \
         labels: {{kubernetes.io/service-name: {service}}}\naddressType: IPv4\nports: [{{name: http, port: {TARGET}}}]\n\
         endpoints:\n"
    );
    for address in endpoints {
        // As above.
        let _ = writeln!(text, "- {{addresses: [\"{address}\"], conditions: {{ready: true}}}}");
    }
    text
}
