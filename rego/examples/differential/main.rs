//! Holds the gate against OPA's own compiler: on a corpus, on mutations of it, and on modules out of a grammar and
//! out of the words of YAML.
//!
//! ```sh
//! (cd tests/interop/go && go build -o /tmp/opaoracle ./opaoracle)
//! cargo run --release -p secplane-rego --example differential -- \
//!     --oracle /tmp/opaoracle --corpus rego/tests --count 1000000
//! ```
//!
//! Equal seeds give equal modules. It ends with success when every disagreement is known, and none is
//! more frequent than is known.
#![expect(clippy::print_stdout, reason = "a command's findings go to its standard output")]

mod corpus;
mod disagreement;
mod gate;
mod grammar;
mod metadata;
mod mutate;
mod oracle;
mod random;
mod set;

use std::{collections::VecDeque, io, path::PathBuf, process::ExitCode, time::Instant};

use clap::Parser;
use secplane_rego::capabilities::{Capabilities, OpaVersion};

use crate::{
    disagreement::{Disagreements, Kind},
    oracle::{IN_FLIGHT, Oracle},
    random::Random,
    set::Set,
};

/// Holds the gate against OPA's own compiler.
#[derive(Parser)]
struct Arguments {
    /// The program built from tests/interop/go/opaoracle.
    #[arg(long)]
    oracle: PathBuf,
    /// Folders of modules, or files of `opaoracle corpus`. They are checked as they are, and mutated.
    #[arg(long, required = true)]
    corpus: Vec<PathBuf>,
    /// How many mutated and generated sets follow the corpus.
    #[arg(long, default_value_t = 0)]
    count: u64,
    /// Where the numbers begin.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Whose capabilities count.
    #[arg(long, default_value = "1.18")]
    opa: OpaVersion,
    /// Disagreements that are known: lines such as `strictness 1.18-1.20 most:60 TEXT`.
    #[arg(long)]
    known: Option<PathBuf>,
    /// Leave the corpus out, and check only what is made of it.
    #[arg(long)]
    made_only: bool,
    /// Show no modules.
    #[arg(long)]
    quiet: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("differential: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<bool> {
    let mut corpus = Vec::new();
    for path in &arguments.corpus {
        corpus::read(path, &mut corpus)?;
    }
    let gate = gate::Gate::new(arguments.opa);
    let valid: Vec<Set> = corpus.iter().filter(|set| gate.refusals(set).is_empty()).cloned().collect();
    let capabilities = Capabilities::for_version(arguments.opa);
    let made = (0..arguments.count).map(|number| {
        let mut random = Random::new(arguments.seed, number);
        match (number % 4, number % 32) {
            (_, 8) => metadata::generated(number, &mut random),
            (0, _) => grammar::generated(capabilities, number, &mut random),
            _ => mutate::mutated(&corpus, &valid, number, &mut random),
        }
    });
    let plain = if arguments.made_only { &[] } else { corpus.as_slice() };
    let mut comparison = Comparison {
        oracle: Oracle::start(&arguments.oracle, &arguments.opa.to_string())?,
        asked: VecDeque::new(),
        disagreements: Disagreements::with_known(arguments.known.as_deref(), arguments.opa)?,
        gate,
        refused: 0,
        compared: 0,
    };
    let started = Instant::now();
    for set in plain.iter().cloned().chain(made) {
        comparison.ask(set)?;
        if comparison.compared % 50_000 == 49_999 && comparison.asked.len() == IN_FLIGHT {
            println!("{} sets after {} s", comparison.compared + 1, started.elapsed().as_secs());
        }
    }
    while !comparison.asked.is_empty() {
        comparison.settle()?;
    }
    let Comparison { oracle, disagreements, refused, compared, .. } = comparison;
    oracle.end()?;
    let (report, is_new) = disagreements.report(compared, !arguments.quiet);
    println!("{report}{compared} sets, {refused} of them refused by OPA, seed {}", arguments.seed);
    Ok(!is_new)
}

struct Comparison {
    oracle: Oracle,
    asked: VecDeque<Set>,
    disagreements: Disagreements,
    gate: gate::Gate,
    refused: u64,
    compared: u64,
}

impl Comparison {
    fn ask(&mut self, set: Set) -> io::Result<()> {
        self.oracle.ask(&set)?;
        self.asked.push_back(set);
        if self.asked.len() > IN_FLIGHT { self.settle() } else { Ok(()) }
    }

    /// Compares the oldest question.
    fn settle(&mut self) -> io::Result<()> {
        let Some(set) = self.asked.pop_front() else { return Ok(()) };
        let theirs = self.oracle.answer()?.verdict.map(|verdict| verdict.errors).unwrap_or_default();
        let ours = self.gate.refusals(&set);
        self.compared += 1;
        self.refused += u64::from(!theirs.is_empty());
        match (ours.first(), theirs.first()) {
            (None, Some(finding)) => {
                let message = format!("{}: {}", finding.code, finding.message);
                self.disagreements.add(Kind::Leak, &message, set);
            }
            (Some(refusal), None) => self.disagreements.add(Kind::Strictness, refusal, set),
            _ => {}
        }
        Ok(())
    }
}
