//! Tests of the whole: architecture, templates, contracts, end to end.
