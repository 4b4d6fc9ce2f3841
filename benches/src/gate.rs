//! What the gate takes for texts that are hard to compile, by their size.

use std::time::{Duration, Instant};

use secplane_rego::{Gate, shapes::SHAPES};
use serde_json::json;
use tokio::task::spawn_blocking;

use crate::figures::figure;

/// The sizes, each four times the one before.
const KIBIBYTES: [usize; 4] = [16, 64, 256, 1_024];
/// How often each text is read and checked; the fastest counts.
const ROUNDS: usize = 3;

/// Microseconds for each KiB, of each shape at each size: what is linear stays the same.
pub(crate) async fn by_size(name: &str) {
    for shape in SHAPES {
        let mut before: Option<f64> = None;
        for size in KIBIBYTES {
            let text = shape.text(size * 1_024);
            let length = text.len();
            let fastest =
                spawn_blocking(move || (0..ROUNDS).map(|_| once(&text)).min()).await.unwrap().unwrap();
            let each = fastest.as_secs_f64() * 1e6 / (length as f64 / 1_024.0);
            let growth = before.map(|before| (each / before * 100.0).round() / 100.0);
            let more = json!({"bytes": length, "growth": growth});
            figure(&format!("{name}_{}_{size}k", shape.name), (each * 10.0).round() / 10.0, "us/KiB", more);
            before = Some(each);
        }
    }
}

/// Reading and checking a text, whatever comes of it.
fn once(text: &str) -> Duration {
    let gate = Gate::default();
    let begun = Instant::now();
    if let Ok(module) = gate.parse("a.rego", text.as_bytes()) {
        std::hint::black_box(gate.check(&[module]));
    }
    begun.elapsed()
}
