use fairway_datapath::*;
use std::path::PathBuf;
#[test]
fn loads() {
    let pins = PathBuf::from(format!("/sys/fs/bpf/fwtest-{}", std::process::id()));
    let mut o = Options {
        pins: pins.clone(),
        node_addresses: vec!["192.168.50.1".parse().unwrap(), "fd00:50::1".parse().unwrap()],
        nat_ports: (1024, 29999),
        sockets_of: None,
        trace: false,
    };
    let r = Datapath::open(o.clone());
    match r {
        Ok(d) => {
            for p in d.programs().unwrap() {
                println!("{} {} {}", p.name, p.verified_instructions, p.memory);
            }
        }
        Err(e) => {
            let mut s: Option<&dyn std::error::Error> = Some(&e);
            while let Some(x) = s {
                let t = x.to_string();
                let l: Vec<&str> = t.lines().collect();
                let n = l.len();
                println!("{}", l[n.saturating_sub(60)..].join("\n"));
                s = x.source();
            }
            Datapath::remove(&pins).ok();
            panic!()
        }
    }
    o.trace = true;
    let r = Datapath::open(o.clone());
    match r {
        Ok(d) => {
            for p in d.programs().unwrap() {
                println!("{} {} {}", p.name, p.verified_instructions, p.memory);
            }
        }
        Err(e) => {
            let mut s: Option<&dyn std::error::Error> = Some(&e);
            while let Some(x) = s {
                let t = x.to_string();
                let l: Vec<&str> = t.lines().collect();
                let n = l.len();
                println!("{}", l[n.saturating_sub(60)..].join("\n"));
                s = x.source();
            }
            Datapath::remove(&pins).ok();
            panic!()
        }
    }
    Datapath::remove(&pins).unwrap();
}
