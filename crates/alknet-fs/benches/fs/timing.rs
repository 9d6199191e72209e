//! How long something took.

use std::time::Instant;

/// Milliseconds that `body` took, and its answer.
pub fn ms<T>(body: impl FnOnce() -> T) -> (f64, T) {
    let begun = Instant::now();
    let answer = body();
    (begun.elapsed().as_secs_f64() * 1e3, answer)
}

/// Milliseconds that `body` took, run after run.
pub fn runs(count: usize, mut body: impl FnMut(usize)) -> Vec<f64> {
    (0..count).map(|run| ms(|| body(run)).0).collect()
}
