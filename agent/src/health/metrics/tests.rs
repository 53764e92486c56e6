//! The text that is scraped.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// A line that is not a comment.
#[derive(Debug)]
struct Sample {
    name: String,
    /// As written, without `le`.
    labels: String,
    le: Option<f64>,
    value: f64,
}

/// A metric family: its type and its samples, in the order of the text.
#[derive(Debug)]
struct Family {
    kind: String,
    samples: Vec<Sample>,
}

fn valid_name(name: &str) -> bool {
    let mut characters = name.chars();
    characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && characters.all(|character| character.is_ascii_alphanumeric() || character == '_')
}

fn number(text: &str) -> f64 {
    text.parse().unwrap_or_else(|_| panic!("`{text}` is not a number"))
}

fn sample(line: &str) -> Sample {
    let (head, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) = match head.split_once('{') {
        Some((name, rest)) => (name, rest.strip_suffix('}').unwrap()),
        None => (head, ""),
    };
    assert!(valid_name(name), "{line}");
    let (mut others, mut le) = (Vec::new(), None);
    // No label's value has a comma or an escape in it.
    for label in labels.split(',').filter(|label| !label.is_empty()) {
        let (key, quoted) = label.split_once('=').unwrap();
        let text = quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap();
        assert!(valid_name(key) && !text.contains(['"', '\\']), "{line}");
        if key == "le" { le = Some(number(text)) } else { others.push(label) }
    }
    Sample { name: name.into(), labels: others.join(","), le, value: number(value) }
}

/// Reads the text as OpenMetrics asks for: HELP and TYPE first, families together and once, EOF last.
fn parse(text: &str) -> BTreeMap<String, Family> {
    let body = text.strip_suffix("# EOF\n").expect("EOF is last");
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let (mut helped, mut current) = (String::new(), String::new());
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(!help.is_empty() && !help.contains('\\'), "{line}");
            helped = name.into();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(valid_name(name) && name == helped, "{line}");
            let family = Family { kind: kind.into(), samples: vec![] };
            assert!(families.insert(name.into(), family).is_none(), "twice: {line}");
            current = name.into();
        } else {
            let sample = sample(line);
            let family = families.get_mut(&current).unwrap();
            let suffixes: &[&str] = match family.kind.as_str() {
                "counter" => &["_total"],
                "gauge" => &[""],
                "histogram" => &["_bucket", "_sum", "_count"],
                other => panic!("{other}"),
            };
            let rest = sample.name.strip_prefix(&current);
            assert!(rest.is_some_and(|rest| suffixes.contains(&rest)), "{line} in {current}");
            family.samples.push(sample);
        }
    }
    families
}

/// Counters are not negative, no sample stands there twice, and histograms add up.
fn check(name: &str, family: &Family) {
    let mut seen = BTreeSet::new();
    for sample in &family.samples {
        let key = format!("{}{{{}}}{:?}", sample.name, sample.labels, sample.le);
        assert!(seen.insert(key.clone()), "twice: {key}");
        assert!(sample.value >= 0.0, "{key}: {}", sample.value);
        assert_eq!(sample.le.is_some(), sample.name.ends_with("_bucket"), "{key}");
    }
    if family.kind == "histogram" {
        let buckets: Vec<(f64, f64)> =
            family.samples.iter().filter_map(|sample| Some((sample.le?, sample.value))).collect();
        assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{name}: {buckets:?}");
        let count = family.samples.iter().find(|sample| sample.name.ends_with("_count")).unwrap().value;
        assert_eq!(buckets.last(), Some(&(f64::INFINITY, count)), "{name}");
        assert!(family.samples.iter().any(|sample| sample.name.ends_with("_sum")), "{name}");
    }
}

/// Metrics of an agent that has done a little of everything.
fn used() -> Metrics {
    let metrics = Metrics::default();
    metrics.queued();
    metrics.changed(3, 5);
    metrics.pending(1, 2);
    for full in [true, false, false] {
        let (duration, latency) = (Duration::from_millis(3), Duration::from_millis(70));
        metrics.synced(Synced { duration, latency, writes: 4, resolved: 1, planned: 2, full });
    }
    metrics.programmed(SystemTime::now() - Duration::from_millis(400));
    metrics.healthz(200);
    metrics.healthz(503);
    metrics.livez(200);
    metrics.conntrack_collected(Duration::from_millis(2), Forgotten { v4: 7, v6: 0 });
    metrics
}

fn value(families: &BTreeMap<String, Family>, name: &str, labels: &str) -> f64 {
    let all = families.values().flat_map(|family| &family.samples);
    let mut found = all.filter(|sample| sample.name == name && sample.labels == labels);
    found.next().unwrap_or_else(|| panic!("no {name}{{{labels}}}")).value
}

#[test]
fn what_is_scraped_is_well_formed() {
    for text in [write(&used(), Snapshot::default()), write(&Metrics::default(), Snapshot::default())] {
        let families = parse(&text);
        families.iter().for_each(|(name, family)| check(name, family));
    }
}

#[test]
fn the_metrics_of_kube_proxy_are_there_by_name() {
    let mut snapshot = Snapshot::default();
    snapshot.no_local = (1, 2);
    let families = parse(&write(&used(), snapshot));
    let of = |name: &str, labels: &str| value(&families, &format!("kubeproxy_{name}"), labels);
    assert_eq!(of("sync_proxy_rules_duration_seconds_count", ""), 3.0);
    assert_eq!(of("sync_full_proxy_rules_duration_seconds_count", ""), 1.0);
    assert_eq!(of("sync_partial_proxy_rules_duration_seconds_count", ""), 2.0);
    assert!(of("sync_proxy_rules_last_timestamp_seconds", "") > 1.7e9);
    assert!(of("sync_proxy_rules_last_queued_timestamp_seconds", "") > 1.7e9);
    assert_eq!(of("network_programming_duration_seconds_count", ""), 1.0);
    assert!(of("network_programming_duration_seconds_sum", "") >= 0.4);
    assert_eq!(of("sync_proxy_rules_service_changes_total", ""), 3.0);
    assert_eq!(of("sync_proxy_rules_service_changes_pending", ""), 1.0);
    assert_eq!(of("sync_proxy_rules_endpoint_changes_total", ""), 5.0);
    assert_eq!(of("sync_proxy_rules_endpoint_changes_pending", ""), 2.0);
    assert_eq!(of("sync_proxy_rules_no_local_endpoints_total", "traffic_policy=\"internal\""), 1.0);
    assert_eq!(of("sync_proxy_rules_no_local_endpoints_total", "traffic_policy=\"external\""), 2.0);
    assert_eq!(of("proxy_healthz_total", "code=\"200\""), 1.0);
    assert_eq!(of("proxy_healthz_total", "code=\"503\""), 1.0);
    assert_eq!(of("proxy_livez_total", "code=\"200\""), 1.0);
    assert_eq!(of("conntrack_reconciler_sync_duration_seconds_count", ""), 1.0);
    assert_eq!(of("conntrack_reconciler_deleted_entries_total", "ip_family=\"IPv4\""), 7.0);
    assert_eq!(of("conntrack_reconciler_deleted_entries_total", "ip_family=\"IPv6\""), 0.0);
}

#[test]
fn the_programming_time_has_the_buckets_of_kube_proxy() {
    let families = parse(&write(&used(), Snapshot::default()));
    let samples = &families["kubeproxy_network_programming_duration_seconds"].samples;
    let bounds: Vec<f64> = samples.iter().filter_map(|sample| sample.le).collect();
    assert_eq!(bounds[..4], [0.25, 0.5, 1.0, 2.0]);
    assert_eq!(bounds[60..63], [59.0, 60.0, 65.0]);
    assert_eq!(bounds[bounds.len() - 3..], [270.0, 300.0, f64::INFINITY]);
}
