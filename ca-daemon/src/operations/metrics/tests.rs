use std::{collections::BTreeSet, fs, path::Path};

use super::*;

fn used() -> Metrics {
    let metrics = Metrics::new();
    metrics.issued("x509-svid", IssueResult::Issued);
    metrics.signed("x509-svid", Duration::from_micros(60));
    metrics.committed(7, Duration::from_millis(1));
    metrics.database_failed();
    metrics.called("/spire.api.server.svid.v1.SVID/MintX509SVID", tonic::Code::Ok, Instant::now());
    metrics.denied(DenialReason::Revoked);
    metrics.set_entries(3);
    metrics.set_agents(2);
    metrics.set_refused_rows("entries", 1);
    metrics.set_authorities([("root", "active", 100), ("issuing", "old", 60), ("issuing", "old", 50)]);
    metrics.set_bundle_sequence(4);
    metrics.set_audit_log(9, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(5)));
    metrics.set_server_expiry(SystemTime::UNIX_EPOCH + Duration::from_secs(6));
    metrics.set_limits_reached(&ReachedLimits::default());
    drop(metrics.connected(Listener::Grpc));
    metrics
}

#[test]
fn says_what_was_counted() {
    let text = used().encode().unwrap();
    for line in [
        r#"secplane_ca_certificates_total{kind="x509-svid",result="issued"} 1"#,
        r#"secplane_ca_grpc_calls_total{method="/spire.api.server.svid.v1.SVID/MintX509SVID",code="OK"} 1"#,
        r#"secplane_ca_authority_expiry_timestamp_seconds{kind="issuing",state="old"} 50"#,
        r#"secplane_ca_denied_calls_total{reason="revoked"} 1"#,
        r#"secplane_ca_connections{listener="grpc"} 0"#,
        r#"secplane_ca_connection_limits_reached_total{limit="anonymous_of_one_address"} 0"#,
        r#"secplane_ca_refused_rows{table="entries"} 1"#,
        "secplane_ca_database_commit_changes_sum 7.0",
        "secplane_ca_audit_log_entries 9",
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "no `{line}` in\n{text}");
    }
    assert!(text.contains("process_cpu_seconds_total ") && text.contains("process_resident_memory_bytes "));
}

#[test]
fn forgets_authorities_that_are_gone() {
    let metrics = used();
    metrics.set_authorities([("root", "active", 100)]);
    let text = metrics.encode().unwrap();
    assert!(text.contains(r#"{kind="root",state="active"} 100"#));
    assert!(!text.contains(r#"kind="issuing""#), "{text}");
}

/// A label that a caller could choose would let them fill the memory of every Prometheus that scrapes this.
#[test]
fn takes_no_label_from_a_caller() {
    let metrics = Metrics::new();
    for n in 0..1000 {
        metrics.called(&format!("/made.up.Service/M{n}"), tonic::Code::Unimplemented, Instant::now());
        metrics.issued(&format!("kind {n}"), IssueResult::Issued);
    }
    let text = metrics.encode().unwrap();
    assert!(!text.contains("made.up") && !text.contains("kind 1"), "{text}");
    assert!(text.contains(r#"secplane_ca_grpc_calls_total{method="other",code="UNIMPLEMENTED"} 1000"#));
}

#[test]
fn lists_the_methods_in_order() {
    assert!(secplane_proto::METHODS.is_sorted());
    assert!(secplane_proto::METHODS.len() > 40);
}

/// docs/operations.md names exactly the metrics that there are.
#[test]
fn is_documented() {
    let text = used().encode().unwrap();
    let registered: BTreeSet<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split_once(' '))
        .map(|(name, kind)| match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        })
        .collect();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let page = fs::read_to_string(page).unwrap();
    let documented: BTreeSet<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| line.split_once('`'))
        .map(|(name, _)| name.to_owned())
        .filter(|name| name.starts_with("secplane_ca_") || name.starts_with("process_"))
        .collect();
    assert_eq!(registered, documented);
}
