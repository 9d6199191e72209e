//! One node, one binary.
fn main() {}
