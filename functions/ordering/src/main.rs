//! ordering
fn main() {}
