//! The corpus of bad cards in `corpus/`: one file for each way in which a signature is known to be bad, with the class
//! that it must be refused with, and good ones to hold them against.
//!
//! The files are made by [`generator`]: `UPDATE_CORPUS=1 cargo test -p secplane-agent-card --test corpus` writes them
//! anew. Keys and signatures are different each time, so what is compared is the list, and what each card is refused for.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod generator;

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use secplane_agent_card::{CheckStatus, KnownRevocations, Verification, VerifyOptions, verify_bytes};
use secplane_identity::{Revocations, TrustBundle, TrustBundleSet, TrustDomain, revocation::RevocationList};
use serde::{Deserialize, Serialize};

use self::generator::{AT, Case, Corpus};

/// Of a trust domain whose workloads did not sign any of the cards, and which is trusted as well.
const PARTNER_BUNDLE: &str = "bundle-of-partner.json";

/// What `manifest.json` says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    /// As of when the cards are verified, in RFC 3339.
    at: String,
    /// Of whose trust domain the bundle is.
    trust_domain: String,
    /// By file name.
    cards: BTreeMap<String, Expectation>,
}

/// How a card must be judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Expectation {
    class: String,
    /// The first check that fails; none for a card whose signatures are not even looked at, and for a good one.
    check: Option<String>,
    what: String,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn read(name: &str) -> Vec<u8> {
    fs::read(folder().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn manifest() -> Manifest {
    serde_json::from_slice(&read("manifest.json")).unwrap()
}

fn manifest_of(corpus: &Corpus) -> Manifest {
    let expectation = |case: &Case| Expectation {
        class: case.class.to_owned(),
        check: case.check.map(str::to_owned),
        what: case.what.to_owned(),
    };
    Manifest {
        at: AT.to_owned(),
        trust_domain: generator::TRUST_DOMAIN.to_owned(),
        cards: corpus.cases.iter().map(|case| (format!("{}.json", case.name), expectation(case))).collect(),
    }
}

/// Verifies a card as the manifest says.
fn judge(card: &[u8], [bundle, partner_bundle]: [&str; 2], list: &[u8]) -> Verification {
    let mut bundles = TrustBundleSet::default();
    for (name, document) in [(generator::TRUST_DOMAIN, bundle), (generator::PARTNER, partner_bundle)] {
        let trust_domain = TrustDomain::parse(name).unwrap();
        bundles.insert(TrustBundle::from_spiffe_json(trust_domain, document).unwrap());
    }
    let mut revocations = Revocations::default();
    let pem = pem_contents(list);
    revocations.take_lists([Arc::new(RevocationList::parse(&pem).unwrap())], SystemTime::now());
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(generator::AT_UNIX);
    let options = VerifyOptions {
        revocations: KnownRevocations::Lists(&revocations),
        ..VerifyOptions::new(&bundles, at)
    };
    verify_bytes(card, &options)
}

fn pem_contents(text: &[u8]) -> Vec<u8> {
    use base64::Engine;

    let text = std::str::from_utf8(text).unwrap();
    let body: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    base64::prelude::BASE64_STANDARD.decode(body).unwrap()
}

fn first_failed(verification: &Verification) -> Option<String> {
    let checks = &verification.signatures.first()?.checks;
    checks.iter().find(|check| check.status == CheckStatus::Failed).map(|check| check.name.to_string())
}

#[test]
fn every_card_is_refused_with_its_class() {
    let manifest = manifest();
    let [bundle, partner_bundle, list] =
        ["bundle.json", PARTNER_BUNDLE, "crl.pem"].map(|name| String::from_utf8(read(name)).unwrap());
    let wrong: Vec<_> = manifest
        .cards
        .iter()
        .filter_map(|(name, expected)| {
            let verification = judge(&read(name), [&bundle, &partner_bundle], list.as_bytes());
            let found = (verification.outcome.to_string(), first_failed(&verification));
            (found != (expected.class.clone(), expected.check.clone()))
                .then(|| format!("{name}: {found:?} instead of {expected:?}: {}", verification.reason))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(manifest.cards.len() > 80, "the corpus has shrunk");
}

#[test]
fn the_generator_makes_the_same_corpus() {
    let corpus = Corpus::generate();
    if env::var_os("UPDATE_CORPUS").is_some() {
        write(&corpus);
    }
    assert_eq!(manifest(), manifest_of(&corpus), "write it anew: UPDATE_CORPUS=1");
    let mut files: Vec<_> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let mut expected: Vec<_> = manifest().cards.into_keys().collect();
    expected
        .extend(["README.md", "bundle.json", PARTNER_BUNDLE, "crl.pem", "manifest.json"].map(str::to_owned));
    expected.sort();
    assert_eq!(files, expected);
    for case in &corpus.cases {
        let verification =
            judge(&case.card, [&corpus.bundle, &corpus.partner_bundle], corpus.list.as_bytes());
        assert_eq!(verification.outcome.as_str(), case.class, "{}: {}", case.name, verification.reason);
        assert_eq!(first_failed(&verification).as_deref(), case.check, "{}", case.name);
    }
}

fn write(corpus: &Corpus) {
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| name != "README.md") {
            fs::remove_file(path).unwrap();
        }
    }
    let write = |name: &str, contents: &[u8]| fs::write(folder().join(name), contents).unwrap();
    write(
        "manifest.json",
        format!("{}\n", serde_json::to_string_pretty(&manifest_of(corpus)).unwrap()).as_bytes(),
    );
    write("bundle.json", corpus.bundle.as_bytes());
    write(PARTNER_BUNDLE, corpus.partner_bundle.as_bytes());
    write("crl.pem", corpus.list.as_bytes());
    for case in &corpus.cases {
        write(&format!("{}.json", case.name), &case.card);
    }
}
