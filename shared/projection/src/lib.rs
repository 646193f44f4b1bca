//! Views that are exactly as new as they say: version-gated rows, gap healing, read repair.
