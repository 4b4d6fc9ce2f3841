//! The gate, as it is asked here.

use secplane_rego::{capabilities::OpaVersion, gate};

use crate::set::Set;

pub(crate) struct Gate {
    gate: gate::Gate,
}

impl Gate {
    pub(crate) fn new(version: OpaVersion) -> Self {
        Self { gate: gate::Gate::new(version) }
    }

    /// What the gate says against the set.
    pub(crate) fn refusals(&self, set: &Set) -> Vec<String> {
        let (mut modules, mut refusals) = (Vec::new(), Vec::new());
        for module in &set.modules {
            match self.gate.parse(&module.file, module.text.as_bytes()) {
                Ok(module) => modules.push(module),
                Err(refused) => refusals.extend(refused),
            }
        }
        if refusals.is_empty() {
            refusals = self.gate.check(&modules);
        }
        refusals.iter().map(|refusal| format!("{}: {}", refusal.code, refusal.message)).collect()
    }
}
