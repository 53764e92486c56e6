//! `ipam`.

use fairway_proto::node;
use serde::Serialize;

use crate::args::{self, Format, Global, IpamCommand};
use crate::error::{Error, exit};
use crate::list::{AddressRange, AllocatedAddress};
use crate::output::{Object, Output, text};
use crate::run::select;
use crate::source::Agent;

/// Runs a verb of `ipam`; returns the exit code.
pub(crate) async fn run(global: &Global, command: &IpamCommand, output: &Output) -> Result<u8, Error> {
    if global.from == args::From::Kernel {
        return Err(Error::NeedsAgent("ipam"));
    }
    let mut agent = Agent::connect(&global.socket).await?;
    match command {
        IpamCommand::List => list(global, output, agent.addresses().await?)?,
        IpamCommand::Check => {
            let differences = select(global, agent.check_addresses().await?);
            let found = !differences.is_empty();
            output.write(&output.list(&differences)?)?;
            return Ok(if found { exit::NEGATIVE } else { 0 });
        }
        IpamCommand::Release { address, force } => {
            let request = node::ReleaseAddressRequest { address: address.to_string(), force: *force };
            let released = agent.release_address(request).await?;
            output.write(&shown(output, Released::new(address.to_string(), released))?)?;
        }
    }
    Ok(0)
}

/// Both lists in one document.
#[derive(Serialize)]
struct Addresses {
    ranges: Vec<AddressRange>,
    items: Vec<AllocatedAddress>,
}

fn list(global: &Global, output: &Output, answer: node::ListAddressesResponse) -> Result<(), Error> {
    let ranges: Vec<AddressRange> = answer.ranges.into_iter().map(AddressRange::from).collect();
    let items = select(global, answer.addresses.into_iter().map(AllocatedAddress::from).collect());
    let text = match output.format {
        Format::Table | Format::Wide => {
            let (ranges, items) = (output.table(&ranges), output.table(&items));
            text(ranges.lines()) + "\n" + &text(items.lines())
        }
        Format::Json | Format::Yaml => {
            output.document(&Object::new("AddressList", &Addresses { ranges, items }))?
        }
    };
    output.write(&text)?;
    Ok(())
}

/// An address that is free now.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Released {
    address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container_id: Option<String>,
}

impl Released {
    fn new(address: String, answer: node::ReleaseAddressResponse) -> Self {
        let pod = (!answer.name.is_empty()).then(|| format!("{}/{}", answer.namespace, answer.name));
        let container_id = (!answer.container_id.is_empty()).then_some(answer.container_id);
        Self { address, pod, container_id }
    }
}

fn shown(output: &Output, released: Released) -> Result<String, Error> {
    if matches!(output.format, Format::Json | Format::Yaml) {
        return output.document(&Object::new("AddressRelease", &released));
    }
    let owner = match (&released.pod, &released.container_id) {
        (Some(pod), _) => format!("pod {pod}"),
        (None, Some(container)) => format!("container {container}"),
        (None, None) => "a pod that is not known".to_owned(),
    };
    Ok(format!("{} of {owner} is free\n", released.address))
}
