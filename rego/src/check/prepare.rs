//! The engine's own preparation: it schedules every body, which finds variables that no order makes safe.

use regorus::Engine;

use super::Together;
use crate::{
    Code, Refusal,
    isolate::isolated,
    read::{parser_limits, refusal_of},
};

pub(super) fn check(together: &Together<'_>) -> Option<Refusal> {
    let first = together.modules.first()?;
    let message = match isolated(|| prepare(together)) {
        Ok(Ok(())) => return None,
        Ok(Err(message)) => message,
        Err(reason) => {
            let message = format!("the engine failed on these modules: {reason}");
            return Some(first.refuse((0, 0), Code::ParserFailure, message));
        }
    };
    let named = |module: &&&crate::Module| message.contains(&format!("--> {}:", module.name));
    let module = together.modules.iter().find(named).unwrap_or(first);
    Some(refusal_of(&module.name, &module.text, &message, Code::Compile))
}

fn prepare(together: &Together<'_>) -> Result<(), String> {
    let mut engine = Engine::new();
    engine.set_policy_length_config(parser_limits());
    for module in together.modules {
        let added = engine.add_policy(module.name.to_string(), module.text.to_string());
        added.map_err(|error| error.to_string())?;
    }
    // A query that needs no rule: all are prepared, none is evaluated.
    engine.eval_query("true".to_owned(), false).map(drop).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use crate::{Code, check::tests::codes};

    #[test]
    fn refuses_what_no_order_makes_safe() {
        assert_eq!(codes(&["package a\np if { not x; x = y; y = x }"]), [Code::Compile]);
    }
}
