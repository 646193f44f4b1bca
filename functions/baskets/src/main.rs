//! baskets
fn main() {}
