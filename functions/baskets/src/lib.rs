//! The baskets context.
